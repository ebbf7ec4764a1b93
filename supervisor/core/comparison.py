"""Whether one generation's requests are worse than another's by more than is allowed, and beyond chance.

How it works
    Of ``n`` requests so many were ``bad``: they failed, or took too long. Of the old generation's, too. It
    is supposed that the new one is exactly as bad as it may be. How surprising is then what was seen?
    `surprise` says it as the negative logarithm of a probability, by the bound of Chernoff: what is seen is
    never likelier than that, for any numbers, and it takes no sum over thousands of terms. `excess`
    supposes it in two ways, and takes the lesser surprise:

      - The new share of bad ones is `ratio` times the old one, and both were seen in samples. Given how many
        are bad in both together, those of the new generation are a binomial sample of them, with the
        part ``ratio n_new / (ratio n_new + n_old)``. So few requests of the old generation make a weak
        case against the new one.
      - The new share is the floor, under which nothing counts as worse.

    How often the old generation fails is known better than from this span alone: it has lived before. So
    errors refuse, too, when they are too many by all that it has served in its life; in the span it is
    then enough that they are surprising at `HINT`. (What fails in both, as a database is away, does so in the
    span.)

    Latency is about the requests that took longer than ``latency_max`` times the old 95th percentile. If the
    new generation is slower by exactly so much, their share is that of the old ones beyond the percentile.
    Durations are known by the places of `gwctl.durations`; thresholds are rounded up to where one begins.

What is bounded, for whom, and how well it finds what is worse: docs/adr/0037-watching-reloads.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Final, Literal

from msgspec import Struct

from gwctl import durations

Kind = Literal["errors", "latency"]

ERRORS_FLOOR: Final = 0.005
"""A generation of whose requests no more than this share fails is not refused for it."""
HINT: Final = 3.0
"""The least surprise in the span, 1 in 20, where the old generation's whole life speaks against it, too."""
LATENCY_PART: Final = 0.95
LATENCY_FLOOR_S: Final = 0.005
"""Nothing that takes less is too slow, whatever it took before."""


class Counted(Struct):
    """What was counted of some requests. ``durations`` by the places of `gwctl.durations`."""

    requests: int = 0
    errors: int = 0
    durations: list[int] = []

    def add(self, more: Counted) -> None:
        self.requests += more.requests
        self.errors += more.errors
        if any(more.durations):
            mine = self.durations or [0] * durations.PLACES
            self.durations = [a + b for a, b in zip(mine, more.durations, strict=True)]

    @property
    def p95_s(self) -> float | None:
        """The 95th percentile, in seconds; None: no duration is known."""
        return durations.quantile_s(self.durations, LATENCY_PART) if self.durations else None

    @property
    def timed(self) -> int:
        """Of how many requests the duration is known."""
        return sum(self.durations)

    def slower(self, place: int) -> int:
        """How many were counted at ``place`` or behind it."""
        return sum(self.durations[place:])


def since(before: Counted, now: Counted) -> Counted:
    """What was counted in between. Counters that ran backwards have counted nothing."""
    requests = max(0, now.requests - before.requests)
    old = before.durations or [0] * durations.PLACES
    new = now.durations or [0] * durations.PLACES
    return Counted(
        requests,
        min(requests, max(0, now.errors - before.errors)),
        [max(0, a - b) for a, b in zip(new, old, strict=True)],
    )


class Allowed(Struct, frozen=True):
    """How many times as bad the new generation may be; 0.0: that is not asked."""

    errors: float
    latency: float
    requests_min: int
    """Latency is judged from so many requests of either generation on."""


def judge(
    old: Counted, life: Counted, spans: Sequence[Counted], allowed: Allowed, needed: float
) -> Kind | None:
    """In what the new generation is worse than allowed, beyond chance; None: in nothing.

    Args:
        old: What the old generation served in the span.
        life: What it served before.
        spans: What the new one did, from check to check. The span with most of what is bad counts for
            nothing, so that no single moment refuses a reload: a pause of the machine, say.
        allowed: What it may be.
        needed: The least surprise that refuses, as of `surprise`.
    """
    if allowed.errors:
        bad = [(span.errors, span.requests) for span in spans]
        found = _excess((old.errors, old.requests), bad, allowed.errors, ERRORS_FLOOR)
        if HINT <= found < needed:
            whole = (old.errors + life.errors, old.requests + life.requests)
            found = _excess(whole, bad, allowed.errors, ERRORS_FLOOR)
        if found >= needed:
            return "errors"
    if allowed.latency and old.timed >= allowed.requests_min:
        place = too_slow_from(old, allowed.latency)
        beyond = old.slower(durations.quantile_place(old.durations, LATENCY_PART))
        bad = [(span.slower(place), span.timed) for span in spans]
        enough = sum(count for _, count in bad) >= allowed.requests_min
        if enough and _excess((beyond, old.timed), bad, 1.0, 1 - LATENCY_PART) >= needed:
            return "latency"
    return None


def too_slow_from(old: Counted, times: float) -> int:
    """The place from which on a duration is more than ``times`` the old generation's 95th percentile."""
    begin_s = durations.begin_s(
        min(durations.quantile_place(old.durations, LATENCY_PART), durations.PLACES - 1)
    )
    return durations.place_from(max(times * begin_s, LATENCY_FLOOR_S))


def _excess(old: tuple[int, int], spans: Sequence[tuple[int, int]], ratio: float, floor: float) -> float:
    """As `excess`, without the worst of ``spans``; each is how many were bad, of how many."""
    worst = max(spans, default=(0, 0))
    bad = sum(count for count, _ in spans) - worst[0]
    total = sum(count for _, count in spans) - worst[1]
    return excess(old, (bad, total), ratio, floor)


def excess(old: tuple[int, int], new: tuple[int, int], ratio: float, floor: float) -> float:
    """The surprise that ``new`` would be if it were as bad as it may be: see the head of this module."""
    (old_bad, old_total), (bad, total) = old, new
    if not total or not old_total:
        return 0.0
    part = ratio * total / (ratio * total + old_total)
    return min(surprise(bad, total, floor), surprise(bad, bad + old_bad, part))


def surprise(bad: int, total: int, share: float) -> float:
    """At least so much is ``-log P(X >= bad)`` for a binomial X of ``total`` trials with chance ``share``."""
    if not total or bad <= share * total or share >= 1.0:
        return 0.0
    seen = bad / total
    found = seen * log(seen / share)
    if seen < 1.0:  # which is not the same as bad < total: beyond 2**53 it may be rounded up
        found += (1 - seen) * log((1 - seen) / (1 - share))
    return total * found
