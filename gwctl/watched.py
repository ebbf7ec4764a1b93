"""What a reload that watches has seen of both generations: the figures, and how they are said.

The core makes them; records, answers and the status carry them; commands show them.
"""

from __future__ import annotations

from msgspec import Struct

from gwctl.wording import duration, requests, span


class Served(Struct, frozen=True):
    """What the workers of one generation answered while they were watched."""

    generation: int
    requests: int = 0
    errors: int = 0
    """Those answered with 5xx, and those that a worker which died did not finish."""
    p95_s: float | None = None
    """The 95th percentile of how long they took; None: not known."""


class Watched(Struct, frozen=True):
    """How the requests of a new generation fared beside those of the old one."""

    pool: str
    phase: str
    """``watch`` or ``watch-all``."""
    for_s: float
    old: Served
    new: Served
    errors_max: float
    """How many times as often the new one's may fail; 0: any number."""
    latency_max: float
    """How many times as long they may take; 0: any."""
    requests_min: int
    enough: bool = True
    """Both have served ``requests_min``."""
    worse: str = ""
    """In what it is worse than allowed, beyond chance: ``errors`` or ``latency``."""


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


def beside(watched: Watched) -> str:
    """Both generations in a few words: ``5xx 0.02 % -> 4.8 %, p95 38 ms -> 41 ms``."""
    old, new = watched.old, watched.new
    shares = [percent(each.errors, each.requests) for each in (old, new)]
    times = ["-" if each.p95_s is None else duration(each.p95_s) for each in (old, new)]
    return f"5xx {' -> '.join(shares)}, p95 {' -> '.join(times)}"
