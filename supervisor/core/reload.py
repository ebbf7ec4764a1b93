"""One reload: a transaction over all pools, rolling.

Phases
    validate   the shell reads the settings and binds what is new; nothing else has changed
    boot       one new worker in each pool, the canary, in slot 0
    settle     the canaries serve beside the old workers for ``settle_s``
    roll       when every pool's canary passed, and not before: the rest, pool by pool in
               parallel; one old worker is parked for each new one that serves
    commit     all new workers serve and all old ones are parked: they must hold for
               ``settle_s`` once more, then the generation is adopted

A `Reload` holds where the transaction stands and what is wanted of each pool for it; `advance`
compares that with the pools and moves on. It never undoes anything itself: the fleet drops it,
and what is then wanted of the pools (the current generation, nothing else) does the rest.

A pool that only the new settings have takes part like the others. One that they no longer
have serves until the commit, and is drained then: parked, it would let its clients wait in
the backlog with nobody to answer them.

Every phase is bounded by the deadlines of the workers it waits for. What remains (no room for
parking, say) is bounded by a deadline of the reload itself, moved on by every progress; it is
the deadline of parked workers, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from gwctl.supervisor.core.actions import Progress
from gwctl.supervisor.core.desk import Desk
from gwctl.supervisor.core.life import DRAIN_MARGIN_S, LINK_GRACE_S, State, Worker
from gwctl.supervisor.core.notes import seconds
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.pool import Pool, Wanted

SLACK_S = 5.0
"""Added to the sum of all that a reload may have to wait for before it counts as stuck."""


class Stage(Enum):
    VALIDATE = "validate"
    BOOT = "boot"
    SETTLE = "settle"
    ROLL = "roll"
    COMMIT = "commit"


@dataclass(slots=True, eq=False)
class Reload:
    """Where the transaction stands. `Fleet.reload` shows it; only the core changes it."""

    generation: int
    source: str
    requests: list[int]
    """Who is answered; without the signals."""
    started_at: float
    stall_s: float
    stage: Stage = Stage.VALIDATE
    warnings: tuple[str, ...] = ()
    policies: Mapping[str, PoolPolicy] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Wanted workers of each pool in the new generation."""
    canary_until: dict[str, float] = field(default_factory=dict)
    """Pools whose canary serves, and when it has passed."""
    settled_at: float | None = None
    """When the complete generation has held for long enough; None while it is not complete."""
    stall_at: float = 0.0
    rolled: dict[str, int] = field(default_factory=dict)
    """New workers that serve, by pool, as last told."""
    preface: str = ""
    """What the answer begins with."""

    def __post_init__(self) -> None:
        self.stall_at = self.started_at + self.stall_s

    # ---- what is wanted

    def prepared(self, policies: Mapping[str, PoolPolicy], pools: Mapping[str, Pool], desk: Desk) -> None:
        """The settings are valid. A pool's size set by hand stays unless the settings' own changed."""
        self.policies = policies
        for name, policy in policies.items():
            pool = pools.get(name)
            scaled = pool is not None and pool.size > 0 and pool.policy.size == policy.size
            self.sizes[name] = pool.size if pool is not None and scaled else policy.size
            self.rolled[name] = 0
        self.stall_s = max((patience(policy) for policy in policies.values()), default=self.stall_s)
        self._move(Stage.BOOT, desk)
        for name in policies:
            self.tell(desk, name, "validate", "ok")
            self.tell(desk, name, "boot", "")

    def wanted(self, pool: Pool, generation: int) -> Wanted:
        policy = self.policies.get(pool.name)
        if policy is None:
            return Wanted(generation, self.generation)
        size = self.sizes[pool.name]
        replace = self.stage in _ROLLING
        new = size if replace else 1
        return Wanted(generation, self.generation, policy, new, size, replace)

    # ---- what is

    def phase_of(self, pool: str) -> str:
        """The phase as seen from one pool: its canary may be ahead of the others."""
        if self.stage is Stage.BOOT and pool in self.canary_until:
            return Stage.SETTLE.value
        return self.stage.value

    def next_deadline(self, now: float) -> float:
        waits = [self.stall_at]
        if self.stage is Stage.SETTLE:
            waits.append(max(self.canary_until.values()))
        if self.settled_at is not None:
            waits.append(self.settled_at)
        return min(at for at in waits if at > now)

    def advance(self, pools: Mapping[str, Pool], desk: Desk) -> bool:
        """Move on if the pools allow it; true when something changed for them."""
        match self.stage:
            case Stage.VALIDATE:
                return False
            case Stage.BOOT | Stage.SETTLE:
                return self._watch_canaries(pools, desk)
            case Stage.ROLL | Stage.COMMIT:
                return self._watch_roll(pools, desk)

    def committable(self, now: float) -> bool:
        return self.settled_at is not None and now >= self.settled_at

    def _watch_canaries(self, pools: Mapping[str, Pool], desk: Desk) -> bool:
        for name, worker in self._serving(pools):
            if name not in self.canary_until:
                self.canary_until[name] = desk.now + self.policies[name].settle_s
                self._progressed(desk)
                self.tell(desk, name, "boot", "ok", seconds(desk.now - worker.born_at))
                self.tell(desk, name, "settle", "")
        if len(self.canary_until) < len(self.policies):
            return False
        if self.stage is Stage.BOOT:
            self._move(Stage.SETTLE, desk)
        alive = {name for name, _ in self._serving(pools)}
        if len(alive) < len(self.policies) or desk.now < max(self.canary_until.values(), default=0.0):
            return False
        for name, policy in self.policies.items():
            self.tell(desk, name, "settle", "ok", seconds(policy.settle_s))
        self._move(Stage.ROLL, desk)
        return True

    def _watch_roll(self, pools: Mapping[str, Pool], desk: Desk) -> bool:
        self._count(pools, desk)
        complete = all(self._complete(pools[name], size) for name, size in self.sizes.items())
        if complete and self.settled_at is None:
            self.settled_at = desk.now + max((p.settle_s for p in self.policies.values()), default=0.0)
            self._move(Stage.COMMIT, desk)
            for name in self.policies:
                self.tell(desk, name, "commit", "")
        elif not complete and self.settled_at is not None:  # a pool was scaled up meanwhile
            self.settled_at = None
            self._move(Stage.ROLL, desk)
        return False

    def _count(self, pools: Mapping[str, Pool], desk: Desk) -> None:
        counted = dict.fromkeys(self.policies, 0)
        for name, _ in self._serving(pools):
            counted[name] += 1
        for name, count in counted.items():
            if count != self.rolled[name]:
                self.rolled[name] = count
                size = self.sizes[name]
                self._progressed(desk)
                self.tell(desk, name, "roll", "ok" if count >= size else "", f"{count}/{size}")

    def _complete(self, pool: Pool, size: int) -> bool:
        """All new ones serve, and no other worker accepts."""
        new = 0
        for worker in pool.members.values():
            if worker.leaving:
                continue
            if worker.generation != self.generation:
                if worker.state is State.READY:
                    return False
            elif worker.serving and worker.slot < size:
                new += 1
            else:
                return False
        return new >= size

    def _serving(self, pools: Mapping[str, Pool]) -> Iterator[tuple[str, Worker]]:
        for name in self.policies:
            for worker in pools[name].members.values():
                if worker.generation == self.generation and worker.serving and not worker.leaving:
                    yield name, worker

    def _move(self, stage: Stage, desk: Desk) -> None:
        self.stage = stage
        self._progressed(desk)

    def _progressed(self, desk: Desk) -> None:
        self.stall_at = desk.now + self.stall_s

    # ---- the world outside

    def tell(self, desk: Desk, pool: str, phase: str, outcome: str, detail: str = "") -> None:
        """Tell whoever waits."""
        desk.actions.extend(Progress(request, pool, phase, outcome, detail) for request in self.requests)

    def shift(self, late_s: float) -> None:
        """All deadlines move."""
        self.stall_at += late_s
        self.canary_until = {name: at + late_s for name, at in self.canary_until.items()}
        if self.settled_at is not None:
            self.settled_at += late_s


_ROLLING = frozenset({Stage.ROLL, Stage.COMMIT})


def patience(policy: PoolPolicy) -> float:
    """The longest that one bit of progress can take, by the deadlines of the workers involved."""
    end_s = DRAIN_MARGIN_S + LINK_GRACE_S + policy.dump_grace_s + policy.quit_grace_s
    return policy.boot_timeout_s + policy.drain_timeout_s + policy.settle_s + end_s + SLACK_S
