"""The machine of an episode: processors and memory that are given and taken away, and the control group's limit.

It has luck of its own, so that what else happens in an episode is not changed by it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.scaling import differs
from tests.sim.mishaps import MIB

if TYPE_CHECKING:
    from tests.sim.world import World

CHANGES_S = 40.0
MASTER_MIB = 20


class Machine:
    """What it allows, and what the group holds."""

    def __init__(self, luck: random.Random) -> None:
        self._luck = luck
        self._until = 0.0
        self._others_mib = 0
        self._limit_mib: int | None = None
        self._allow()

    def minds(self, policy: PoolPolicy) -> PoolPolicy:
        """The policy of a pool, of which some go by what is allowed, and some by what the group holds."""
        auto = policy.scale is None and self._luck.random() < 0.4
        percent = self._luck.choice((0, 90, 90))
        recycle = replace(policy.recycle, memory_group_percent=percent)
        return replace(policy, by_capacity=auto, recycle=recycle)

    def observed(self, world: World) -> Iterator[ev.Event]:
        """What the shell says beside the scoreboard."""
        idle = min(world.now, world.idle_from)
        held_mib = sum(each.memory_bytes(idle) for each in world.alive.values()) // MIB + self._others_mib
        if world.asking and world.now >= self._until:
            self._until = world.now + self._luck.expovariate(1 / CHANGES_S)
            self._allow()
            self._limit(held_mib)
        if differs(world.fleet.state, self.allows):
            yield self.allows
        if self._limit_mib is not None:
            used_mib = min(held_mib, self._limit_mib)
            yield ev.GroupMemoryObserved(self._limit_mib * MIB, used_mib * MIB)

    def _allow(self) -> None:
        luck = self._luck
        processes = luck.randrange(1, 6)
        memory_mib = luck.choice((0, 200, 400, 600, 1000))
        why = f"{processes} CPUs"
        self.allows = ev.CapacityMeasured(
            processes, float(processes), why, memory_mib * MIB, MASTER_MIB * MIB
        )

    def _limit(self, held_mib: int) -> None:
        """As near as it happens to be to what is held."""
        times = self._luck.choice((None, 1.1, 1.2, 1.3, 1.4))
        self._limit_mib = None if times is None else max(100, int(held_mib * times))
        self._others_mib = self._luck.choice((0, 0, 0, 100))
