"""What a worker counts, and how it reaches the scoreboard.

Each thread that finishes requests notes them in a list of its own, so that nothing is lost
between threads and nothing needs a lock; the loop adds them up when it flushes. Only the loop's
thread writes the record.
"""

from __future__ import annotations

from array import array
from collections import Counter
from math import inf
from operator import itemgetter
from typing import Final, Protocol

from gwctl.ipc.scoreboard import (
    ANSWER_WORDS,
    ANSWERS,
    BYTES_OUT,
    ERRORS,
    LATENCY,
    LATENCY_BUCKETS,
    METHODS,
    REQUESTS,
    SECONDS,
    STATUS_CLASSES,
    WAITED_S,
    Record,
)

_LAST: Final = LATENCY_BUCKETS - 1
_OTHER: Final = len(METHODS) - 1
_PLACES: Final = {method: place for place, method in enumerate(METHODS)}
_CLASSES: Final = len(STATUS_CLASSES)
_HUNDREDS: Final = 10
"""Of a status, 0 to 999; those from 500 on are one class."""


SlowRequest = tuple[str, str, int, float]
"""Method, target, status and seconds."""
_Noted = tuple[str, str, int, int, float]
"""Method, target, status, size and seconds."""

_kind: Final = itemgetter(0, 2)
_size: Final = itemgetter(3)
_seconds: Final = itemgetter(4)


class Request(Protocol):
    """What is counted by."""

    method: str
    target: str


class Counters:
    """Of one thread. What it notes is added up for many at once, which costs half of one after the other.

    Attributes:
        waited_s: How long requests stood in a queue before their call, together.
        slow_s: From how long on a request is put into ``slow``, until somebody takes it from there.
    """

    __slots__ = (
        "_added_up",
        "_noted",
        "bytes_out",
        "latency",
        "rows",
        "seconds",
        "slow",
        "slow_s",
        "waited_s",
    )

    def __init__(self) -> None:
        self._noted: list[_Noted] = []
        self._added_up = 0
        self.bytes_out = 0
        self.seconds = 0.0
        self.waited_s = 0.0
        self.slow_s = inf
        self.slow: list[SlowRequest] = []
        self.latency = [0] * LATENCY_BUCKETS
        self.rows: dict[int, list[int]] = {}
        """For each method, by its place in `METHODS`: by the hundreds of their status."""

    @property
    def requests(self) -> int:
        """How many there were, up to this moment."""
        return self._added_up + len(self._noted)

    def add(self, request: Request, status: int, size: int, seconds: float) -> None:
        """Count one finished response."""
        self._noted.append((request.method, request.target, status, size, seconds))

    def add_up(self) -> int:
        """Add up what has been noted so far, while the thread may go on noting; return how many all are."""
        noted = self._noted[:]
        if not noted:
            return self._added_up
        del self._noted[: len(noted)]
        self._added_up += len(noted)
        self.bytes_out += sum(map(_size, noted))
        self.seconds += sum(map(_seconds, noted))
        for (method, status), count in Counter(map(_kind, noted)).items():
            place = _PLACES.get(method, _OTHER)
            row = self.rows.get(place)
            if row is None:
                self.rows[place] = row = [0] * _HUNDREDS
            row[status // 100] += count
        # Of what takes less than 0.1 ms it is 0.
        lengths = Counter([int(one[4] * 10000).bit_length() for one in noted])
        for length, count in lengths.items():
            self.latency[min(length, _LAST)] += count
        if self.slow_s < inf:
            self.slow += [
                (method, target, status, seconds)
                for method, target, status, _, seconds in noted
                if seconds >= self.slow_s
            ]
        return self._added_up


def flush(counters: list[Counters], record: Record) -> None:
    """Write the sums to ``record``."""
    requests = 0
    for one in counters:
        requests += one.add_up()
    words = record.words
    if words[REQUESTS] == requests:
        return
    answers = _answers(counters)
    words[REQUESTS] = requests
    words[ERRORS] = sum(answers[_CLASSES - 1 :: _CLASSES])
    words[BYTES_OUT] = sum([one.bytes_out for one in counters])
    words[ANSWERS : ANSWERS + ANSWER_WORDS] = memoryview(answers)
    record.floats[SECONDS] = sum([one.seconds for one in counters])
    record.floats[WAITED_S] = sum([one.waited_s for one in counters])
    if len(counters) == 1:
        words[LATENCY : LATENCY + LATENCY_BUCKETS] = memoryview(array("Q", counters[0].latency))
        return
    for bucket in range(LATENCY_BUCKETS):
        words[LATENCY + bucket] = sum([one.latency[bucket] for one in counters])


def _answers(counters: list[Counters]) -> array[int]:
    """Add up the requests by method and class of status."""
    answers = array("Q", bytes(8 * ANSWER_WORDS))
    for one in counters:
        for place, row in one.rows.items():
            at = place * _CLASSES
            for hundreds in range(_CLASSES - 1):
                answers[at + hundreds] += row[hundreds]
            answers[at + _CLASSES - 1] += sum(row[_CLASSES - 1 :])
    return answers
