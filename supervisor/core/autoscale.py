"""How many workers a pool needs, by what those it has were seen to do: `processes = { min, max }`.

Nothing here knows of workers, reloads or clocks. `Scaling.observe` takes one sample in, `Scaling.decide`
says what size follows from all of them; `scaling` is where the fleet uses both. Any figures give a size
within the bounds: they come from the application's own processes, which may say anything.

Need
    Busy    workers in use, on average over the last `BUSY_S`. A worker in half of whose time something runs
            is half a worker. What that is for each worker class, the shell measures (`children.load`).
    Waits   what stands in queues, as the workers that would serve it within `CLEAR_S`: a request that waits
            counts by how long requests take, up to one worker. It counts if it waits at two samples in a row.
    Need    so many workers that ``policy.busy`` of them would be in use. Workers that are all in use while
            requests wait do not show how much there is to do: then it is `OVERFULL` times as many at least.

Rules
    - Up at once, to what is needed, but at most to twice as many: a boot costs processor time which those
      that serve need, too. Then not again until all of them serve.
    - Not up while workers of the pool keep failing (more of them helps nobody), while the pool already uses
      the processors that it may (`SATURATED`; more workers would only take turns), and where memory has no
      room for one more worker besides (`ROOM_TO_SPARE`). Then `Held` says so, once for each of these.
    - Down by one, when fewer were enough at all samples of the last ``shrink_after_s``, with room to spare
      (`SPARE`), and as long after the last growth. The next ones follow after a sixth of that time each.
    - Whoever has shrunk grows within `HOLD_S` only if requests wait, or all its workers were in use at two
      samples in a row: an event loop has no queue that could be seen. If it has to grow again within
      ``shrink_after_s``, it was wrong to shrink: it waits twice as long the next time, up to `PATIENCE_MAX`
      times as long, until a shrinking lasts.
    So between growing and shrinking there is at least ``shrink_after_s``: a pool changes its direction once
    in that time, and back only for those who wait or find no free worker.
"""

from __future__ import annotations

from math import ceil, exp, inf
from typing import Final

from msgspec import Struct, field

from gwctl.config.model.types import WORKERS_MAX
from gwctl.records.scaling import Cause, Obstacle
from gwctl.supervisor.core.events import LoadObserved
from gwctl.supervisor.core.policy import ScalePolicy

BUSY_S: Final = 3.0
"""The time constant of the average: a sample of this age counts for a third."""

CLEAR_S: Final = 1.0
"""Within this time what waits shall have been served."""

HOLD_S: Final = 10.0
"""So long a pool that has shrunk does not grow for being busy, unless it is full."""

SATURATED: Final = 0.9
"""Of the processors: whoever uses this much of them has no use for more workers."""

ROOM_TO_SPARE: Final = 1
"""So many workers' memory stays free: those that are there may yet grow."""

SPARE: Final = 0.8
"""A pool shrinks only if those that stay are less in use than this part of ``policy.busy``."""

PACE: Final = 6
"""One worker after the other goes in this part of ``shrink_after_s``."""

PATIENCE_MAX: Final = 8

SAMPLE_S: Final = 1.0
"""Between two samples, unless the pool rests (`Scaling.rests`)."""

FULL: Final = 0.9
"""Workers in use by so much are full: while requests wait, they show no more of what there is to do."""

PERSISTS: Final = 2
"""At so many samples in a row it is no chance."""

OVERFULL: Final = 1.5
"""Then so many times as many are needed, or more if what waits says so."""

_TINY: Final = 1e-9
"""0.7 busy of one worker at 0.7 is one worker, whatever floats make of it."""


class Changed(Struct, frozen=True):
    """The pool is to have this size."""

    size: int
    cause: Cause


class Held(Struct, frozen=True):
    """The pool needs more workers and does not get them."""

    obstacle: Obstacle


class Standing(Struct, frozen=True):
    """How the pool stands when it is decided about."""

    size: int
    ready: int
    """How many serve."""
    fails: bool = False
    """Workers of it keep failing."""


class Scaling(Struct, eq=False):
    """What is remembered of one pool from sample to sample."""

    by_hand: str = ""
    """Who fixed its size, so that nothing here changes it; empty: nobody."""
    since: float | None = None
    """The first sample; None: there was none yet."""
    busy: float = 0.0
    """Workers in use, on average."""
    waits: float = 0.0
    """What waited at the last sample, in workers."""
    full: int = 0
    """At how many samples in a row, up to the last one, all workers were in use."""
    need: int = 0
    """Workers, at the last sample."""
    peaks: list[tuple[float, int]] = field(default_factory=list)
    """How many workers were enough with room to spare (`SPARE`), and when: those samples alone after which
    less was enough. So the numbers fall, and there are few of them."""
    grown_at: float | None = None
    shrunk_at: float | None = None
    patience: int = 1
    held: str = ""
    """The `Obstacle` that was last in the way; empty: it has had enough since, for ``shrink_after_s``."""
    held_at: float = 0.0
    """When it was."""
    told: tuple[Obstacle, ...] = ()
    """Those that were told of, until it has had enough for so long."""

    def begin_anew(self) -> None:
        """Forget all samples: they are of another time."""
        self.since, self.peaks = None, []
        self.busy = self.waits = 0.0
        self.need = self.full = 0

    def shift(self, seconds: float) -> None:
        """Nobody ran for so long: it does not count."""
        self.peaks = [(at + seconds, need) for at, need in self.peaks]
        self.since = None if self.since is None else self.since + seconds
        self.grown_at = None if self.grown_at is None else self.grown_at + seconds
        self.shrunk_at = None if self.shrunk_at is None else self.shrunk_at + seconds
        self.held_at += seconds

    # ---- what is seen

    def observe(self, load: LoadObserved, policy: ScalePolicy, now: float) -> bool:
        """Take a sample in; False when it says nothing, as of a pool without a worker that serves."""
        if load.workers < 1 or not load.seconds > 0.0:
            return False
        if self.since is None:
            self.since = now
            weight = 1.0
        else:
            weight = 1.0 - exp(-load.seconds / BUSY_S)
        self.busy += (_between(0.0, load.busy, load.workers) - self.busy) * weight
        waits = _between(0.0, load.waiting * _between(0.0, load.request_s / CLEAR_S, 1.0), WORKERS_MAX)
        persists, self.waits = min(waits, self.waits), waits
        used = self.busy + persists
        self.full = self.full + 1 if load.busy >= FULL * load.workers else 0
        if persists and self.full:
            used = max(used, load.workers * policy.busy * OVERFULL)
        self.need = _workers(used / policy.busy)
        enough = _workers(used / (policy.busy * SPARE))
        while self.peaks and self.peaks[-1][1] <= enough:
            self.peaks.pop()
        self.peaks.append((now, enough))
        self._forget(now - policy.shrink_after_s * PATIENCE_MAX)
        return True

    def _forget(self, before: float) -> None:
        while self.peaks and self.peaks[0][0] < before:
            self.peaks.pop(0)

    def peak(self, since: float) -> int:
        """How many workers were enough at all samples since then."""
        return next((enough for at, enough in self.peaks if at >= since), self.need)

    def rests(self, policy: ScalePolicy, size: int) -> bool:
        """It is as small as can be, and far from growing: it need not be looked at so often."""
        return size <= policy.min and not self.waits and self.busy <= policy.busy * size / 2

    # ---- what follows

    def decide(
        self, standing: Standing, load: LoadObserved, policy: ScalePolicy, now: float
    ) -> Changed | Held | None:
        """Say what size the pool shall have after a sample that was taken in; None: that which it has."""
        size = standing.size
        if (within := policy.clamp(size)) != size:
            return Changed(within, "bounds")
        if self.need > size:
            return self._grow(standing, load, policy, now)
        if size > policy.min and self._is_quiet(size, policy, now):
            return Changed(size - 1, "quiet")
        return None

    def _grow(
        self, standing: Standing, load: LoadObserved, policy: ScalePolicy, now: float
    ) -> Changed | Held | None:
        size = standing.size
        if size >= policy.max:
            return Held("max")
        if standing.fails:
            return Held("fails")
        if standing.ready < size:
            return None
        waits = load.waiting > 0
        holds = self.shrunk_at is not None and now - self.shrunk_at < HOLD_S
        if holds and not waits and self.full < PERSISTS:
            return None
        if policy.cpus > 0 and load.cpus >= SATURATED * policy.cpus:
            return Held("cpu")
        room = _room(load)
        if room < 1:
            return Held("memory")
        return Changed(min(self.need, policy.max, 2 * size, size + room), "waits" if waits else "busy")

    def _is_quiet(self, size: int, policy: ScalePolicy, now: float) -> bool:
        """Fewer were enough for long."""
        after_s = policy.shrink_after_s * self.patience
        began = max(at for at in (self.since, self.grown_at, -inf) if at is not None)
        if now - began < after_s or self.peak(now - after_s) >= size:
            return False
        return self.shrunk_at is None or now - self.shrunk_at >= policy.shrink_after_s / PACE

    def tells(self, found: Changed | Held | None, policy: ScalePolicy, now: float) -> bool:
        """Whether it is news that a pool does not get what it needs."""
        if not isinstance(found, Held):
            if self.held and now - self.held_at >= policy.shrink_after_s:
                self.held, self.told = "", ()
            return False
        self.held, self.held_at = found.obstacle, now
        if found.obstacle in self.told:
            return False
        self.told = (*self.told, found.obstacle)
        return True

    def changed(self, was: int, size: int, policy: ScalePolicy, now: float) -> None:
        """The pool was given another size."""
        if size > was:
            if self.shrunk_at is not None:
                soon = now - self.shrunk_at < policy.shrink_after_s
                self.patience = min(PATIENCE_MAX, 2 * self.patience) if soon else 1
            self.grown_at, self.shrunk_at = now, None
        elif size < was:
            self.shrunk_at = now


def _between(least: float, value: float, most: float) -> float:
    """``value`` within bounds; what is no number is the least."""
    return min(most, value) if value > least else least


def _workers(need: float) -> int:
    return max(1, min(WORKERS_MAX, ceil(need - _TINY)))


def _room(load: LoadObserved) -> int:
    """How many more workers there is memory for."""
    if load.free_bytes is None or load.worker_bytes <= 0:
        return WORKERS_MAX
    return max(0, load.free_bytes // load.worker_bytes - ROOM_TO_SPARE)
