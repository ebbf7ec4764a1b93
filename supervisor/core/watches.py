"""The watches of one reload, by pool: each is a `Watch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final

from msgspec import Struct, field

from gwctl.supervisor.core.comparison import Counted
from gwctl.supervisor.core.events import Measured, Raised
from gwctl.supervisor.core.policy import WatchPolicy
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.watch import Watch, begin
from gwctl.supervisor.core.worker import Worker
from gwctl.watched import Watched

RAISED_MAX: Final = 3
"""So many exceptions of a pool's new generation are shown."""


class Watches(Struct, eq=False):
    """Empty while nothing is watched."""

    by_pool: dict[str, Watch] = field(default_factory=dict)
    raised: dict[str, list[Raised]] = field(default_factory=dict)
    """By pool, the first exceptions of new workers: each of another type, or raised at another place."""

    @property
    def any(self) -> bool:
        """Some pool is watched, or was."""
        return bool(self.by_pool)

    @property
    def over(self) -> bool:
        """None is under way."""
        return all(each.over for each in self.by_pool.values())

    @property
    def next_at(self) -> float:
        """When there is something to do without news."""
        return min((each.next_at for each in self.by_pool.values()), default=inf)

    @property
    def found(self) -> str:
        """A pool whose new generation is worse than allowed; empty: there is none."""
        return next((name for name, each in self.by_pool.items() if each.found is not None), "")

    def has(self, pool: str) -> bool:
        return pool in self.by_pool

    def is_under_way(self, pool: str) -> bool:
        return pool in self.by_pool and not self.by_pool[pool].over

    def begin(self, pool: Pool, policy: WatchPolicy, now: float) -> bool:
        """Watch a pool, if that is wanted and there is an old generation to compare with."""
        if not policy.watch_s or not pool.size:
            return False
        self.by_pool[pool.name] = begin(policy, pool.generation, now)
        return True

    def begin_again(self, pools: Mapping[str, Pool], now: float) -> None:
        """Watch all new workers."""
        for name, each in self.by_pool.items():
            each.begin_again(now, {worker.id for worker in pools[name].of_generation(each.previous)})

    def due(self, now: float) -> tuple[str, ...]:
        """Pools whose figures are to be read now: they are not due again before the next check."""
        return tuple(name for name, each in self.by_pool.items() if each.begin_check(now))

    def given_up(self, now: float) -> list[str]:
        """Pools whose watch is over, as nothing was measured for too long."""
        return [name for name, each in self.by_pool.items() if each.give_up(now)]

    def take(self, event: Measured, pools: Mapping[str, Pool], generation: int, now: float) -> list[str]:
        """Take in what the workers have counted, and judge; returns the pools for which that was awaited."""
        checked = []
        for name, figures in event.pools.items():
            if not self.is_under_way(name):
                continue
            each, members, sums = self.by_pool[name], pools[name].members, Counted()
            for number, counted in figures.items():
                worker = members.get(number)
                if worker is not None and worker.generation in {generation, each.previous}:
                    each.take(number, counted, new=worker.generation == generation, sums=sums)
            each.check(sums, now)
            checked.append(name)
        return checked

    def note_raised(self, pool: str, found: Raised) -> None:
        """A new worker has told of an exception, perhaps before it is watched."""
        known = self.raised.setdefault(pool, [])
        if len(known) < RAISED_MAX and all((found.kind, found.where) != (e.kind, e.where) for e in known):
            known.append(found)

    def raised_in(self, pool: str) -> Sequence[Raised]:
        """What its new workers told of."""
        return self.raised.get(pool, ())

    def cut_short(self, worker: Worker, requests: int) -> None:
        """It has died, unplanned, and left so many requests undone."""
        each = self.by_pool.get(worker.pool)
        if each is not None and worker.generation == each.previous:
            each.cut_short(requests)

    def report(self, pool: str, generation: int) -> Watched:
        """What the watch of ``pool`` has seen."""
        return self.by_pool[pool].report(pool, generation)

    def shift(self, late_s: float) -> None:
        """All times move."""
        for each in self.by_pool.values():
            each.shift(late_s)
