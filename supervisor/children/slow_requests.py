"""Requests that run for longer than ``slow_request_s``: seen while they run, told of once, with their stack.

The scoreboard says which worker has one; the worker says the rest, as for ``gwctl dump``, also where the
request holds its loop. Where many run at once the scoreboard has the longest alone: then the worker is asked
now and then for the others. Of their ends the workers tell.

Rules
    - Nothing is done to the request, nor to the worker but that it is asked.
    - At most `A_MINUTE_MAX` are told of each worker.
    - Where nothing is to be watched, nobody wakes up for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Final, NamedTuple

from gwctl.config.model.request_limits import RequestLimits
from gwctl.config.model.worker_class import WORKER_CLASSES
from gwctl.ipc import scoreboard
from gwctl.records.workers import SlowRequest
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.children import Children
from gwctl.supervisor.core.events import WorkerId
from gwctl.supervisor.recorder import Recorder

CHECK_MIN_S: Final = 0.25
CHECK_MAX_S: Final = 1.0
AGAIN_S: Final = 5.0
"""After that a worker is asked again whose longest request was told of."""
HELD_S: Final = 2.0
"""A loop that has not turned for so long is held by something: it turns once a second at least."""
A_MINUTE_MAX: Final = 10
SAME_S: Final = 0.5
"""Two that began so close to each other, and are called alike, are one."""
_MINUTE_S: Final = 60.0

Ask = Callable[[Child, float, Callable[[Child, float], None]], None]


class _Found(NamedTuple):
    what: str
    age_s: float
    frames: tuple[str, ...] = ()


class _Watched:
    """What is known of one worker. ``told``: by name and beginning."""

    def __init__(self, child: Child) -> None:
        timeouts, root_path = child.settings.timeouts, child.settings.root_path
        assert child.ready is not None
        self.limits = RequestLimits(timeouts, WORKER_CLASSES[child.ready.worker_class], root_path)
        self.told: list[tuple[str, float]] = []
        self.asked = False
        self.longest_since = 0.0
        self.ask_again_at = 0.0
        self.minute_at = -inf
        self.count = 0

    def is_told(self, what: str, began_at: float) -> bool:
        return any(name == what and abs(began_at - at) < SAME_S for name, at in self.told)

    def may_tell(self, now: float) -> bool:
        if now - self.minute_at >= _MINUTE_S:
            self.minute_at, self.count = now, 0
        self.count += 1
        return self.count <= A_MINUTE_MAX


class SlowRequests:
    """Of one master. ``ask`` has a worker say what it is at."""

    def __init__(self, children: Children, recorder: Recorder, ask: Ask) -> None:
        self._children = children
        self._recorder = recorder
        self._ask = ask
        self._watched: dict[WorkerId, _Watched] = {}
        self._checked_at = -inf

    @property
    def next_at(self) -> float:
        """When `turn` has something to do: monotonic seconds, or infinite."""
        limits = [limit_s for child in self._children if (limit_s := _limit_s(child))]
        if not limits:
            return inf
        return self._checked_at + min(max(min(limits) / 2, CHECK_MIN_S), CHECK_MAX_S)

    def turn(self, now: float, *, asks: bool) -> None:
        """See who is slow, and ask them; not ``asks``: somebody waits until all that is asked is answered."""
        if now < self.next_at:
            return
        self._checked_at = now
        if not asks:
            return
        living: dict[WorkerId, _Watched] = {}
        for child in list(self._children):
            limit_s = _limit_s(child)
            if limit_s:
                watched = self._watched.get(child.worker) or _Watched(child)
                living[child.worker] = watched
                self._see(child, watched, limit_s, now)
        self._watched = living

    def _see(self, child: Child, watched: _Watched, limit_s: float, now: float) -> None:
        since = _longest_since(child, child.trusted_record(now), now)
        if not since or now - since < limit_s or watched.asked:
            return
        if since == watched.longest_since and (not child.serves_many or now < watched.ask_again_at):
            return
        watched.asked, watched.longest_since, watched.ask_again_at = True, since, now + AGAIN_S
        self._ask(child, now, self._seen)

    def _seen(self, child: Child, now: float) -> None:
        """A worker has said what it is at, or all that will be known of that."""
        watched, limit_s = self._watched.get(child.worker), _limit_s(child)
        if watched is None or not limit_s:
            return
        watched.asked = False
        found = list(_requests_of(child, now))
        watched.told = [(what, at) for what, at in watched.told if any(each.what == what for each in found)]
        for each in found:
            began_at = now - each.age_s
            if each.age_s < limit_s or watched.is_told(each.what, began_at):
                continue
            if watched.limits.may_last(each.what.partition(" ")[2]):
                continue
            watched.told.append((each.what, began_at))
            if watched.may_tell(now):
                self._recorder.write(
                    SlowRequest(
                        process=child.process,
                        request=each.what,
                        age_s=each.age_s,
                        limit_s=limit_s,
                        frames=each.frames,
                    )
                )


def _limit_s(child: Child) -> float:
    """0: it is not watched."""
    if child.ready is None or child.template or child.channel.closed:
        return 0.0
    return child.settings.timeouts.slow_request_s


def _longest_since(child: Child, record: scoreboard.Record, now: float) -> float:
    """0.0: it serves nothing, as far as the scoreboard knows. A loop that is held does not say what by."""
    floats = record.floats
    if not child.serves_many:
        return floats[scoreboard.BUSY_SINCE]
    since, turned_at = floats[scoreboard.LONGEST_SINCE], floats[scoreboard.HEARTBEAT_AT]
    if now - turned_at > HELD_S:
        return min(filter(None, (since, turned_at)), default=0.0)
    return since


def _requests_of(child: Child, now: float) -> Iterator[_Found]:
    """What it serves, the longest first, with the stacks of those that have one."""
    report = child.inspection_report(now)
    if report is None:
        return
    frames = {each.request: each.frames for each in reversed(report.threads) if each.request}
    frames |= {each.request: each.frames for each in reversed(report.tasks) if each.request}
    # A task that runs at this moment has no stack of its own: it holds the loop's thread.
    held = next((each.frames for each in report.threads if each.main and not each.request), ())
    for request in child.under_way(now)[0]:
        yield _Found(request.what, request.age_s, frames.get(request.what) or held)
