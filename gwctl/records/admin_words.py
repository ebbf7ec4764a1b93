"""Why the admin process is killed, in words."""

from __future__ import annotations

from typing import assert_never

from gwctl.records.admin import AdminKilled
from gwctl.wording import seconds


def why_killed(record: AdminKilled) -> str:
    match record.fault:
        case "boot":
            return f"it was not ready within {seconds(record.after_s)}"
        case "silent":
            return f"its loop has not turned for {seconds(record.after_s)}"
        case "term":
            return f"it has not ended {seconds(record.after_s)} after SIGTERM"
        case "protocol":
            return f"it does not keep to the protocol: {record.detail}"
        case "unwatched":
            return f"it cannot be watched: {record.detail}"
        case _:
            assert_never(record.fault)
