"""What a watch has seen, in words."""

from __future__ import annotations

from gwctl.records.reloads import Served, Watched
from gwctl.wording import requests, span


def failed_of(side: Served) -> str:
    """``31 of 600 requests failed (5.2 %)``."""
    return f"{side.errors:,} of {requests(side.requests)} failed ({percent(side.errors, side.requests)})"


def percent(part: int, whole: int) -> str:
    """``5.2 %``, ``0.02 %``, ``0 %``: two digits that say something, as long as there are any."""
    share = 100 * part / whole if whole else 0.0
    digits = 0 if not share or share >= 99.5 else 1 if share >= 0.95 else 2
    return f"{share:.{digits}f} %"


def too_few(watched: Watched) -> str:
    """Why a watch that has found nothing says little."""
    old, new = watched.old, watched.new
    return (
        f"{watched.pool} was watched for {span(watched.for_s)} and served too little to be sure: "
        f"{requests(new.requests)} by generation {new.generation}, {old.requests:,} by {old.generation} "
        f"(requests_min {watched.requests_min})"
    )
