"""Durations of requests as a histogram, whose buckets are each twice as wide as the one before. Pure.

Bucket i counts requests that took less than ``2**i * 0.1`` ms, the last one all longer ones too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_BUCKET_MS: Final = 0.1


def bound_s(index: int) -> float:
    """Where bucket ``index`` ends, in seconds: the nearest there is to the decimal number, as 0.0128."""
    return (1 << index) / 10_000


def percentile_ms(latency: Sequence[int], part: float) -> float | None:
    """The duration that ``part`` of the requests stayed below, by interpolation; None without requests."""
    wanted = sum(latency) * part
    if not wanted:
        return None
    seen = 0
    for index, count in enumerate(latency):
        if count and seen + count >= wanted:
            high = _BUCKET_MS * (1 << index)
            low = high / 2 if index else 0.0
            return round(low + (high - low) * (wanted - seen) / count, 3)
        seen += count
    return None
