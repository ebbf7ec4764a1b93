"""A site in a simulation: a queue, workers that serve a request at a time, and who sets their number.

A request waits in the queue until a worker is free, first come, first served. A worker that is asked for
serves after `BOOT_S`; one that is let go finishes its request first. Time is simulated.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

from msgspec import Struct, field

BOOT_S: Final = 3.0
"""From the decision to the first request: a fork, imports, an application of some size."""

DELAYED_S: Final = 0.1
"""A request that waits for longer was delayed."""


class Second(Struct, frozen=True):
    """What was seen of the site since the last look. ``busy``: worker-seconds in which somebody served."""

    seconds: float
    size: int
    ready: int
    busy: float
    waiting: int
    served: int


class Scaler(Protocol):
    """Whoever sets the number of workers. ``next_s``: when to look again."""

    size: int

    def look(self, now: float, seen: Second) -> float: ...


class Report(Struct):
    """What came of it."""

    requests: int = 0
    delayed: int = 0
    waited: list[float] = field(default_factory=list)
    worker_s: float = 0.0
    changes: int = 0
    turns: int = 0
    """Changes from growing to shrinking, or back."""
    largest: int = 0

    @property
    def delayed_share(self) -> float:
        return self.delayed / max(1, self.requests)

    def wait(self, share: float) -> float:
        """How long all but a part of the requests waited at most."""
        ordered = sorted(self.waited)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Site:
    """One run of one load with one scaler."""

    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler
        self._size = scaler.size
        self._ready = scaler.size
        self._booting: list[float] = []
        self._ends: list[float] = []
        """When each request under way is done."""
        self._queue: deque[tuple[float, float]] = deque()
        self._busy_s = self._worker_s = 0.0
        self._served = 0
        self._now = 0.0
        self._direction = 0
        self.report = Report()

    def run(self, requests: Iterable[tuple[float, float]], seconds: float) -> Report:
        """Play all of it."""
        looked = 0.0
        look_at = 1.0
        arriving = iter([*requests, (float("inf"), 0.0)])
        at, takes = next(arriving)
        while True:
            now = min(at, look_at, self._ends[0] if self._ends else float("inf"), *self._booting)
            if now > seconds:
                self._pass(seconds)
                break
            self._pass(now)
            while self._booting and self._booting[0] <= now:
                self._booting.pop(0)
                self._ready += 1
            while self._ends and self._ends[0] <= now:
                heapq.heappop(self._ends)
                self._served += 1
            if at <= now:
                self._queue.append((at, takes))
                self.report.requests += 1
                at, takes = next(arriving)
            self._leave()
            self._begin()
            if look_at <= now:
                look_at = now + self._look(now - looked)
                looked = now
        self.report.worker_s = self._worker_s
        return self.report

    def _pass(self, now: float) -> None:
        gone = now - self._now
        self._busy_s += gone * len(self._ends)
        self._worker_s += gone * (self._ready + len(self._booting))
        self._now = now

    def _leave(self) -> None:
        """Free workers beyond the size go."""
        surplus = self._ready + len(self._booting) - self._size
        while surplus > 0 and self._booting:
            self._booting.pop()
            surplus -= 1
        self._ready -= max(0, min(surplus, self._ready - len(self._ends)))

    def _begin(self) -> None:
        while self._queue and len(self._ends) < self._ready:
            came, takes = self._queue.popleft()
            waited = self._now - came
            self.report.waited.append(waited)
            self.report.delayed += waited > DELAYED_S
            heapq.heappush(self._ends, self._now + takes)

    def _look(self, seconds: float) -> float:
        ready = min(self._ready, self._size)
        seen = Second(seconds, self._size, ready, self._busy_s, len(self._queue), self._served)
        self._busy_s, self._served = 0.0, 0
        next_s = self._scaler.look(self._now, seen)
        if (size := self._scaler.size) != self._size:
            direction = 1 if size > self._size else -1
            self.report.changes += 1
            self.report.turns += direction == -self._direction
            self._direction = direction
            self._booting += [self._now + BOOT_S] * (size - self._ready - len(self._booting))
            self._size = size
        self.report.largest = max(self.report.largest, self._size)
        return next_s
