"""Durations of requests as a histogram that tells twice as slow from three times as slow. Pure.

How it works
    A duration is counted in tenths of a millisecond. Under `FINEST` of them each has a place of its own.
    From there on each doubling is cut into `STEPS` places of the same width: none is wider than a quarter of
    where it begins. What takes twice as long is `STEPS` places further, so that "twice" is never rounded. The
    last place has all that takes longer.

`gwctl.control.latency` is about the coarse histogram that metrics show, one bucket a doubling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

STEPS: Final = 4
FINEST: Final = 8
_DOUBLINGS: Final = 19
"""Cut into places: from 0.8 ms to 419 s."""
PLACES: Final = FINEST + STEPS * _DOUBLINGS + 1
PER_S: Final = 10_000
"""Tenths of a millisecond."""
_FIRST_BITS: Final = FINEST.bit_length()
_COARSE: Final = 24


def place_of(tenths: int) -> int:
    """Where a duration of so many tenths of a millisecond is counted, rounded down."""
    if tenths < FINEST:
        return max(0, tenths)
    bits = tenths.bit_length()
    step = (tenths >> (bits - _FIRST_BITS + 1)) & (STEPS - 1)
    return min(FINEST + (bits - _FIRST_BITS) * STEPS + step, PLACES - 1)


def begin_s(place: int) -> float:
    """The shortest duration that is counted at ``place``, in seconds."""
    if place < FINEST:
        return place / PER_S
    doubling, step = divmod(place - FINEST, STEPS)
    return ((STEPS + step) << (doubling + 1)) / PER_S


def place_from(seconds: float) -> int:
    """The first place where nothing is counted that took less than ``seconds``; `PLACES`: there is none."""
    low, high = 0, PLACES
    while low < high:
        middle = (low + high) // 2
        if begin_s(middle) < seconds:
            low = middle + 1
        else:
            high = middle
    return low


def quantile_place(counts: Sequence[int], part: float) -> int:
    """The first place at or behind which at most ``1 - part`` of them took; 0 without any."""
    allowed, behind = (1 - part) * sum(counts), 0
    for place in range(len(counts) - 1, -1, -1):
        behind += counts[place]
        if behind > allowed:
            return place + 1
    return 0


def quantile_s(counts: Sequence[int], part: float) -> float | None:
    """The duration that ``part`` of them stayed below, by interpolation; None without any."""
    wanted, seen = sum(counts) * part, 0
    for place, count in enumerate(counts):
        if count and seen + count >= wanted:
            begin = begin_s(place)
            end = begin_s(place + 1) if place < PLACES - 1 else 2 * begin
            return begin + (end - begin) * (wanted - seen) / count
        seen += count
    return None


def doublings(counts: Sequence[int]) -> list[int]:
    """The same requests in buckets each of which is twice as wide as the one before."""
    coarse = [counts[0], counts[1], counts[2] + counts[3], sum(counts[4:FINEST])]
    coarse += [sum(counts[at : at + STEPS]) for at in range(FINEST, PLACES, STEPS)]
    return coarse[:_COARSE]
