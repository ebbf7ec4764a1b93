"""Who sets the number of workers: gwctl's own decision, uWSGI's cheaper algorithms, and fixed sizes.

gwctl's is the code that runs in the master (`gwctl.supervisor.core.autoscale`). uWSGI's are models, made
from its documentation and nothing else: https://uwsgi-docs.readthedocs.io/en/latest/Cheaper.html, sections
"backlog cheaper algorithm" and "busyness cheaper algorithm". They have the defaults that it gives, but for
``cheaper-overload`` of busyness, of which it says that "it's best to use higher value (10-30)".
"""

from __future__ import annotations

from typing import Final

from benchmarks.autoscale.site import Second
from gwctl.supervisor.core.autoscale import SAMPLE_S, Changed, Scaling, Standing
from gwctl.supervisor.core.deadlines import SAMPLE_S as REST_S
from gwctl.supervisor.core.events import LoadObserved
from gwctl.supervisor.core.policy import ScalePolicy

CYCLE_S: Final = 1.0
"""Of uWSGI's master."""


class Fixed:
    """Always as many."""

    def __init__(self, size: int) -> None:
        self.size = size

    def look(self, now: float, seen: Second) -> float:  # noqa: ARG002 - as the others
        return 60.0


class Gwctl:
    """As `supervisor.core.scaling` uses it, for a pool of sync workers that no reload disturbs."""

    def __init__(self, least: int, most: int) -> None:
        self._policy = ScalePolicy(least, most)
        self._scaling = Scaling()
        self.size = least

    def look(self, now: float, seen: Second) -> float:
        ready = max(1, seen.ready)
        per_request = seen.busy / max(1, seen.served, round(seen.busy / seen.seconds))
        busy = seen.busy / seen.seconds
        load = LoadObserved("web", seen.seconds, ready, busy, seen.waiting, per_request)
        self._scaling.observe(load, self._policy, now)
        found = self._scaling.decide(Standing(self.size, seen.ready), load, self._policy, now)
        if isinstance(found, Changed):
            self._scaling.changed(self.size, found.size, self._policy, now)
            self.size = found.size
        return REST_S if self._scaling.rests(self._policy, self.size) else SAMPLE_S


class UwsgiBacklog:
    """More than ``overload`` requests in the listen queue: one worker more. Fewer: one less."""

    def __init__(self, least: int, most: int, overload: int = 3) -> None:
        self._least, self._most, self._overload = least, most, overload
        self.size = least

    def look(self, now: float, seen: Second) -> float:  # noqa: ARG002 - as the others
        if seen.waiting > self._overload:
            self.size = min(self._most, self.size + 1)
        elif seen.waiting < self._overload:
            self.size = max(self._least, self.size - 1)
        return CYCLE_S


class UwsgiBusyness:
    """Busyness of the last ``overload`` seconds above ``most_busy``: a worker more; idle cycles: one less."""

    def __init__(self, least: int, most: int, overload: int = 10) -> None:
        self._least, self._most, self._overload_s = least, most, overload
        self._most_busy, self._least_busy = 0.50, 0.25
        self._multiplier, self._penalty = 10, 1
        self._backlog_alert, self._backlog_multiplier, self._nonzero_s = 33, 3, 60
        self.size = least
        self._seconds = self._busy_s = self._room_s = 0.0
        self._idle = self._not_idle = 0
        self._emergency = 0
        self._emergency_idle = 0
        self._spawned_at = float("-inf")
        self._stopped_at = float("-inf")
        self._waiting_since: float | None = None

    def look(self, now: float, seen: Second) -> float:
        self._seconds += seen.seconds
        self._busy_s += seen.busy
        self._room_s += seen.seconds * max(1, seen.ready)
        self._watch_backlog(now, seen.waiting)
        if self._seconds >= self._overload_s:
            self._cycle(now, self._busy_s / self._room_s)
            self._seconds = self._busy_s = self._room_s = 0.0
        return CYCLE_S

    def _watch_backlog(self, now: float, waiting: int) -> None:
        if not waiting:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        alert = waiting > self._backlog_alert
        long = self._waiting_since is not None and now - self._waiting_since > self._nonzero_s
        if (alert or long) and self.size < self._most:
            self.size += 1
            self._emergency += 1
            self._emergency_idle = 0
            if long:
                self._waiting_since = now

    def _cycle(self, now: float, busy: float) -> None:
        if busy > self._most_busy:
            self._idle = self._not_idle = self._emergency_idle = 0
            if self.size < self._most:
                if (
                    now - self._spawned_at < self._multiplier * self._overload_s
                    and self._stopped_at > self._spawned_at
                ):
                    self._multiplier += self._penalty
                self._spawned_at = now
                self.size += 1
        elif busy < self._least_busy:
            self._not_idle = 0
            self._idle += 1
            self._emergency_idle += 1
            if self._emergency and self._emergency_idle >= self._backlog_multiplier:
                self._emergency -= 1
                self._stop(now)
            elif self._idle >= self._multiplier:
                self._stop(now)
        else:
            self._not_idle += 1
            self._idle = max(0, self._idle - 1)
            if self._not_idle >= 3:
                self._idle = self._not_idle = 0

    def _stop(self, now: float) -> None:
        self._idle = self._emergency_idle = 0
        if self.size > self._least:
            self.size -= 1
            self._stopped_at = now
