"""How many threads are woken for the requests that wait: a decision without threads, and without a clock.

A thread that is woken beside one that works takes the interpreter from it and from the loop, and gives it
back a few microseconds later. Where calls are fast, one thread and the loop serve as much as the processor
allows, and eight serve a fifth less. Where calls wait for something, each thread that sleeps while requests
wait is time lost. What tells the two apart is how calls behave:

- their time, on average. Where they are slow, each request wakes a thread;
- a call that has lasted for `HELD_S` holds its thread, whatever the average says. Where all threads that are
  awake are held, those that wait need another.

So where calls have been fast, at most those requests wait that have come in the first `HELD_S` of one that
is not, until the next check (`gwctl.workers.runners.request_queue`).
"""

from __future__ import annotations

from typing import Final

SLOW_S: Final = 0.0001
"""Calls that take so long on average are slow: to wake a thread costs less than a tenth of one."""
HELD_S: Final = 0.0005
"""A call that has lasted so long holds its thread."""
WEIGHT: Final = 64
"""How many calls the average remembers: each new one is that part of it."""
FIRST_S: Final = 0.001
"""The average before the first call: slow, as long as nobody knows."""


class WakePolicy:
    """Of one worker.

    Attributes:
        average_s: How long calls have lately taken.
        slow: Each request wakes a thread.
        held: Threads held by their call, as of the last check.
    """

    def __init__(self) -> None:
        self.average_s = FIRST_S
        self.slow = True
        self.held = 0
        self._calls = 0
        self._seconds = 0.0

    def learn(self, calls: int, seconds: float) -> None:
        """Take note of the calls that have ended so far, and of the seconds that they took together."""
        new = calls - self._calls
        if new <= 0:
            return  # sums of several threads, read while they count
        took_s = max(0.0, seconds - self._seconds)
        self._calls, self._seconds = calls, seconds
        self.average_s = (self.average_s * WEIGHT + took_s) / (WEIGHT + new)
        self.slow = self.average_s >= SLOW_S

    def wakes(self, awake: int) -> bool:
        """Tell whether a request that has come wakes a thread, beside ``awake`` that work."""
        return self.slow or awake <= self.held

    def check(self, waiting: int, idle: int, awake: int, held: int) -> int:
        """Return how many of ``idle`` threads to wake. Of those ``awake``, ``held`` ones are held."""
        self.held = held
        if awake <= held:
            return min(waiting, idle)
        return 1 if self.slow else 0  # it wakes the next
