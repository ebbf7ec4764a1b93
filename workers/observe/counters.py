"""What a worker counts, and how it reaches the scoreboard.

Each thread that finishes requests has counters of its own, so that no increment is lost
between threads and none needs a lock; the loop adds them up when it flushes. Only the loop's
thread writes the record.
"""

from __future__ import annotations

from array import array
from math import inf
from time import time
from typing import Final

from gwctl.durations import PER_S, PLACES, doublings, place_of
from gwctl.ipc.exemplars import Exemplar
from gwctl.ipc.exemplars import place_of as place_of_exemplar
from gwctl.ipc.scoreboard import (
    ANSWER_WORDS,
    ANSWERS,
    BYTES_OUT,
    DURATIONS,
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

_OTHER: Final = METHODS[-1]
_CLASSES: Final = len(STATUS_CLASSES)
_KNOWN: Final = 4096
_PLACE_OF: Final = bytes([place_of(tenths) for tenths in range(_KNOWN)])
"""Of the durations that most requests have: quicker than to work it out."""


SLOW_MAX: Final = 20
"""Noted at once of one thread."""

SlowRequest = tuple[str, str, int, float]
"""Method, target, status and seconds."""

Row = tuple[str, int, list[int]]
"""Method, class of status (its place in `STATUS_CLASSES`), and how many requests by duration."""


class Counters:
    """Of one thread.

    There is one place to count at for each request, in ``rows``. What else is wanted of them is added up when
    it is asked for.

    Attributes:
        rows: What is counted so far; any thread.
        waited_s: How long requests stood in a queue before their call, together.
        slow_s: From how long on a request is noted in ``slow``, until somebody takes it from there.
        exemplars: Slow requests with their ids, by their place (`gwctl.ipc.exemplars`), likewise.
    """

    __slots__ = (
        "_by_method",
        "bytes_out",
        "exemplars",
        "rows",
        "seconds",
        "slow",
        "slow_s",
        "waited_s",
    )

    def __init__(self) -> None:
        self.bytes_out = 0
        self.seconds = 0.0
        self.waited_s = 0.0
        self.slow_s = inf
        self.slow: list[SlowRequest] = []
        self.exemplars: dict[int, Exemplar] = {}
        self.rows: list[Row] = []
        self._by_method: dict[str, dict[int, list[int]]] = {method: {} for method in METHODS}
        """What ``rows`` has, by method and status: those of a class share a row."""

    @property
    def requests(self) -> int:
        """How many are finished; any thread."""
        return sum([sum(row) for _, _, row in self.rows])

    def add(self, method: str, target: str, status: int, size: int, seconds: float) -> None:
        """Count one finished response."""
        self.bytes_out += size
        self.seconds += seconds
        place = 0
        if seconds >= 0.0001:
            tenths = int(seconds * PER_S)
            place = _PLACE_OF[tenths] if tenths < _KNOWN else place_of(tenths)
            if seconds >= self.slow_s and len(self.slow) < SLOW_MAX:
                self.slow.append((method, target, status, seconds))
        try:
            row = self._by_method[method][status]
        except KeyError:
            row = self._new_row(method, status)
        row[place] += 1  # last: whoever has read it finds the others at least as far

    def remember(self, seconds: float, request_id: object) -> None:
        """Note a request that took `EXEMPLAR_S` or longer. What is no text is no id."""
        if type(request_id) is str:
            self.exemplars[place_of_exemplar(seconds)] = Exemplar(seconds, time(), request_id)

    def _new_row(self, method: str, status: int) -> list[int]:
        """Statuses are the application's to choose, or its client's: so there are rows of classes only."""
        method = method if method in self._by_method else _OTHER
        by_status = self._by_method[method]
        if status in by_status:
            return by_status[status]
        kind = min(status // 100, _CLASSES - 1)
        row = next((row for known, of, row in self.rows if of == kind and known == method), None)
        if row is None:
            row = [0] * PLACES
            self.rows.append((method, kind, row))  # first: an exception from another thread may come now
        by_status[status] = row
        return row


def flush(counters: list[Counters], record: Record) -> None:
    """Write the sums to ``record``."""
    rows = [row for one in counters for row in one.rows]
    answers = _answers(rows)
    words = record.words
    words[REQUESTS] = sum(answers)
    words[ERRORS] = sum(answers[_CLASSES - 1 :: _CLASSES])
    words[BYTES_OUT] = sum([one.bytes_out for one in counters])
    words[ANSWERS : ANSWERS + ANSWER_WORDS] = memoryview(answers)
    record.floats[SECONDS] = sum([one.seconds for one in counters])
    record.floats[WAITED_S] = sum([one.waited_s for one in counters])
    counts = durations(rows)
    words[DURATIONS : DURATIONS + PLACES] = memoryview(array("Q", counts))
    words[LATENCY : LATENCY + LATENCY_BUCKETS] = memoryview(array("Q", doublings(counts)))


def durations(rows: list[Row]) -> list[int]:
    """Add up the requests of ``rows`` by duration."""
    if not rows:
        return [0] * PLACES
    return list(map(sum, zip(*[row for _, _, row in rows], strict=True)))


def _answers(rows: list[Row]) -> array[int]:
    """Add up the requests by method and class of status."""
    answers = array("Q", bytes(8 * ANSWER_WORDS))
    for method, kind, row in rows:
        answers[METHODS.index(method) * _CLASSES + kind] += sum(row)
    return answers
