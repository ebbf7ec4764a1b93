"""What the log says of profiles."""

from __future__ import annotations

from gwctl.records.workers import ProfileBegun
from gwctl.wording import seconds


def profile_begun(record: ProfileBegun) -> str:
    """Which one, for how long, and who asked."""
    what = "allocations are noted, which slows it down," if record.memory else "stacks are sampled"
    by = f" by {record.by}" if record.by else ""
    return f"pid {record.process.pid}: {what} for {seconds(record.seconds)} (gwctl profile{by})"
