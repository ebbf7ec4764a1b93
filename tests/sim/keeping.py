"""A world in which all pools are atomic, generations are kept and people roll back; with rules of its own.

- After each step the serving workers of a pool are of one generation.
- A new worker is told to serve when all old ones have said that they accept no more, or a quarter of
  a second after they were told.
- Nobody is spawned into a generation that is kept; what is restored is what was kept; what was kept is
  released, or adopted again, and its workers go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.policy import PoolPolicy
from tests.sim.books import Unsafe
from tests.sim.mishaps import FAULTS, Faults
from tests.sim.world import World
from tests.support.core_story import rests

SWITCH_S = 0.25
CALM_TURNS_MAX = 4000


class KeepingWorld(World):
    def __init__(self, seed: int, faults: Faults = FAULTS) -> None:
        super().__init__(seed, faults)
        self.observer: Any = self
        self._upgrades: Any = self
        self.serving: dict[int, tuple[str, int]] = {}
        self.spawned: dict[int, tuple[str, int]] = {}
        self.released_at: dict[int, float] = {}
        self.kept = 0
        self.generations = dict.fromkeys(self.policies, 1)
        """In force, by pool."""
        self.kept_generations: dict[str, int] = {}
        self._prepared = {1: self.policies}
        self._at(5.0, self._ask_rollback, None)

    def _policy(self, name: str) -> PoolPolicy:
        return replace(super()._policy(name), atomic=True, preload=False)

    def _ask_restart(self, mean: float) -> None:
        """Seldom: nothing is kept then."""
        super()._ask_restart(mean) if self.rng.random() < 0.2 else self._at(mean, self._ask_restart, mean)

    def _ask_rollback(self, _nothing: None) -> None:
        if self.asking:
            self._read(ev.RollbackAsked(self._request(), "gwctl rollback"))
            self._at(self.rng.expovariate(1 / 8), self._ask_rollback, None)

    def _prepare(self, generation: int, pools: Sequence[str]) -> None:
        self._disk_broken = self.rng.random() < self.faults.generation_broken
        self._prepared[generation] = self._taken(self._new_policies(), pools) or self.policies
        keep_s = self.rng.choice((0.0, 5.0, 20.0))
        lost = tuple(self.policies.keys() - self._prepared[generation].keys())
        changed = self._prepared[generation] != self.policies
        prepared = ev.Prepared(generation, self._prepared[generation], (), keep_s, lost, changed=changed)
        self._news(0.0, prepared)

    def _perform(self, action: act.Action) -> None:
        match action:
            case act.ReleaseClients(worker=worker) | act.Serve(worker=worker):
                process, serving = self._processes.get(worker), isinstance(action, act.Serve)
                if process is not None and not process.channel_closed and self.rng.random() < 0.95:
                    self._news(0.1, ev.Obeyed(worker, serving))
            case act.Restore(generation=generation):
                self._restore(generation)
            case act.Adopt(generation=generation):
                self.policies = self._prepared[generation]
                self.seen["Adopt"] += 1
                return
            case _:
                pass
        super()._perform(action)

    def _restore(self, generation: int) -> None:
        if generation != self.kept:
            raise Unsafe(f"restored generation {generation}, and {self.kept} is kept")
        lost = tuple(self.policies.keys() - self._prepared[generation].keys())
        self._news(0.0, ev.Prepared(generation, self._prepared[generation], (), 20.0, lost))

    # ---- what is judged (it stands in for the observer)

    ask = None

    def saw(self, *seen: Any) -> None:
        if len(seen) == 2:  # as `Upgrades` is told
            return
        batch: Sequence[ev.Event] = seen[1]
        for event in batch:
            if isinstance(event, ev.Exited | ev.ChannelClosed | ev.DrainStarted):
                self._gone(event.worker)
            elif isinstance(event, ev.Obeyed) and not event.serving:
                self.released_at.pop(event.worker, None)
        for action in seen[2]:
            self._judge(action)
        for pool in self.policies:
            generations = {generation for name, generation in self.serving.values() if name == pool}
            if len(generations) > 1:
                raise Unsafe(f"generations {generations} of {pool} serve side by side")

    def _gone(self, worker: int) -> None:
        self.serving.pop(worker, None)
        self.released_at.pop(worker, None)

    def _judge(self, action: act.Action) -> None:
        match action:
            case act.Spawn():
                self.spawned[action.worker] = (action.pool, action.generation)
                if self.kept and action.generation == self._kept_in(action.pool):
                    raise Unsafe(f"spawned into generation {action.generation}, which is kept")
            case act.Serve(worker=worker):
                self._judge_serve(worker)
            case act.ReleaseClients(worker=worker):
                self._gone(worker)
                self.released_at[worker] = self.now
            case act.Park() | act.Drain() | act.Quit() | act.Dump() | act.Kill():
                self._gone(action.worker)
            case act.Adopt():
                self._adopted(action)
            case act.Release(generation=generation):
                if generation != self.kept:
                    raise Unsafe(f"released generation {generation}, and {self.kept} is kept")
                self.kept = 0
            case _:
                pass

    def _kept_in(self, pool: str) -> int:
        """The generation whose workers are kept in ``pool``; 0: it has nothing to go back."""
        generation = self.kept_generations.get(pool, 0)
        return 0 if generation == self.generations.get(pool) else generation

    def _adopted(self, action: act.Adopt) -> None:
        before = self.generations
        if action.generation == self.kept:
            self.generations = self.kept_generations
        else:
            touched = action.pools or self._prepared[action.generation].keys()
            self.generations = {
                name: action.generation if name in touched else before[name]
                for name in self._prepared[action.generation]
            }
        self.kept, self.kept_generations = action.kept, before

    def _judge_serve(self, worker: int) -> None:
        pool, generation = self.serving[worker] = self.spawned[worker]
        self.released_at.pop(worker, None)
        if self.fleet.state.reload is None:
            return
        for other, at in self.released_at.items():
            name, of = self.spawned[other]
            if (
                name == pool
                and of not in {generation, self._kept_in(pool)}
                and self.now < at + SWITCH_S - 1e-6
            ):
                raise Unsafe(f"{worker} of {pool} serves before {other} has said that it is parked")


def keeping_episode(seed: int, faults: Faults = FAULTS) -> KeepingWorld:
    """Trouble, calm, and rest: then everybody serves who should, and nothing is kept any more."""
    world = KeepingWorld(seed, faults)
    turns = world.rng.randrange(20, 400)
    while turns and world.finish is None:
        world.turn()
        turns -= 1
    world.calm()
    for _ in range(CALM_TURNS_MAX):
        world.turn()
        if world.finish is not None or (not world.busy and rests(world.fleet)):
            break
    else:
        raise Unsafe(f"seed {seed}: no rest")
    if world.finish is None:
        _judge_rest(world)
    return world


def _judge_rest(world: KeepingWorld) -> None:
    fleet = world.fleet
    if world.kept or fleet.state.kept is not None:
        raise Unsafe(f"generation {world.kept} is kept for ever")
    for pool in fleet.state.pools.values():
        if not pool.ready or (not pool.rolled_back and pool.ready != pool.size):
            raise Unsafe(f"{pool.name}: {pool.ready} of {pool.size} serve")
    if len(world.alive) != sum(pool.ready for pool in fleet.state.pools.values()):
        raise Unsafe(f"{len(world.alive)} processes")
