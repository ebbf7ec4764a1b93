"""What a worker counts, and how it reaches the scoreboard.

Each thread that finishes requests has counters of its own, so that no increment is lost
between threads and none needs a lock; the loop adds them up when it flushes. Only the loop's
thread writes the record.
"""

from __future__ import annotations

from array import array
from math import inf
from time import time
from typing import Final, Protocol

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

_OTHER: Final = len(METHODS) - 1
_PLACES: Final = {method: place for place, method in enumerate(METHODS)}
_CLASSES: Final = len(STATUS_CLASSES)
_STATUSES: Final = 1000
_KNOWN: Final = 4096
_PLACE_OF: Final = bytes([place_of(tenths) for tenths in range(_KNOWN)])
"""Of the durations that most requests have: quicker than to work it out."""


SLOW_MAX: Final = 20
"""Noted at once of one thread."""

SlowRequest = tuple[str, str, int, float]
"""Method, target, status and seconds."""


class Request(Protocol):
    """What is counted by."""

    method: str
    target: str


class Counters:
    """Of one thread.

    Attributes:
        requests: Set last: whoever has read it finds the others at least as far.
        waited_s: How long requests stood in a queue before their call, together.
        slow_s: From how long on a request is noted in ``slow``, until somebody takes it from there.
        exemplars: Slow requests with their ids, by their place (`gwctl.ipc.exemplars`), likewise.
    """

    __slots__ = (
        "bytes_out",
        "durations",
        "exemplars",
        "gets",
        "requests",
        "rows",
        "seconds",
        "slow",
        "slow_s",
        "waited_s",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.bytes_out = 0
        self.seconds = 0.0
        self.waited_s = 0.0
        self.slow_s = inf
        self.slow: list[SlowRequest] = []
        self.exemplars: dict[int, Exemplar] = {}
        self.durations = [0] * PLACES
        self.gets = [0] * _STATUSES
        """By their status."""
        self.rows = {0: self.gets}
        """The same for each method, by its place in `METHODS`."""

    def add(self, request: Request, status: int, size: int, seconds: float) -> None:
        """Count one finished response."""
        self.bytes_out += size
        self.seconds += seconds
        place = 0
        if seconds >= 0.0001:
            tenths = int(seconds * PER_S)
            place = _PLACE_OF[tenths] if tenths < _KNOWN else place_of(tenths)
            if seconds >= self.slow_s and len(self.slow) < SLOW_MAX:
                self.slow.append((request.method, request.target, status, seconds))
        self.durations[place] += 1
        if request.method == "GET":
            self.gets[status] += 1
        else:
            self._add(_PLACES.get(request.method, _OTHER), status)
        self.requests += 1

    def remember(self, seconds: float, request_id: object) -> None:
        """Note a request that took `EXEMPLAR_S` or longer. What is no text is no id."""
        if type(request_id) is str:
            self.exemplars[place_of_exemplar(seconds)] = Exemplar(seconds, time(), request_id)

    def _add(self, place: int, status: int) -> None:
        row = self.rows.get(place)
        if row is None:
            self.rows[place] = row = [0] * _STATUSES
        row[status] += 1


def flush(counters: list[Counters], record: Record) -> None:
    """Write the sums to ``record``."""
    requests = 0
    for one in counters:
        requests += one.requests
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
    durations = counters[0].durations
    if len(counters) > 1:
        durations = [
            sum(at_one_place) for at_one_place in zip(*[one.durations for one in counters], strict=True)
        ]
    words[DURATIONS : DURATIONS + PLACES] = memoryview(array("Q", durations))
    words[LATENCY : LATENCY + LATENCY_BUCKETS] = memoryview(array("Q", doublings(durations)))


def _answers(counters: list[Counters]) -> array[int]:
    """Add up the requests by method and class of status."""
    answers = array("Q", bytes(8 * ANSWER_WORDS))
    for one in counters:
        for place, row in list(one.rows.items()):  # its thread may meet another method meanwhile
            at = place * _CLASSES
            for hundreds in range(_CLASSES - 1):
                answers[at + hundreds] += sum(row[hundreds * 100 : hundreds * 100 + 100])
            answers[at + _CLASSES - 1] += sum(row[500:])
    return answers
