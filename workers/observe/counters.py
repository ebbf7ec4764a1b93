"""What a worker counts, and how it reaches the scoreboard.

Each thread that finishes requests has counters of its own, so that no increment is lost
between threads and none needs a lock; the loop adds them up when it flushes. Only the loop's
thread writes the record.
"""

from __future__ import annotations

from array import array
from typing import Final

from gwctl.ipc.scoreboard import BYTES_OUT, ERRORS, LATENCY, LATENCY_BUCKETS, REQUESTS, Record

_LAST: Final = LATENCY_BUCKETS - 1


class Counters:
    """Of one thread."""

    __slots__ = ("bytes_out", "errors", "latency", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.bytes_out = 0
        self.latency = [0] * LATENCY_BUCKETS

    def add(self, status: int, size: int, seconds: float) -> None:
        """Count one finished response."""
        self.requests += 1
        self.bytes_out += size
        bucket = 0
        if seconds >= 0.0001:
            bucket = min(int(seconds * 10000).bit_length(), _LAST)
        self.latency[bucket] += 1
        if status >= 500:
            self.errors += 1


def flush(counters: list[Counters], record: Record) -> None:
    """Write the sums to ``record``."""
    requests = errors = size = 0
    for one in counters:
        requests += one.requests
        errors += one.errors
        size += one.bytes_out
    words = record.words
    if words[REQUESTS] == requests:
        return
    words[REQUESTS] = requests
    words[ERRORS] = errors
    words[BYTES_OUT] = size
    if len(counters) == 1:
        words[LATENCY : LATENCY + LATENCY_BUCKETS] = memoryview(array("Q", counters[0].latency))
        return
    for bucket in range(LATENCY_BUCKETS):
        words[LATENCY + bucket] = sum([one.latency[bucket] for one in counters])
