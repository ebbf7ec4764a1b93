"""One reload or rollback: a transaction over all pools, or over some.

Phases
    validate   the shell reads the settings and binds what is new; nothing else has changed
    boot       one new worker in each pool, the canary, in slot 0; or several (``canaries``)
    settle     the canaries live for a quarter of ``settle_s``, so that one that dies of itself dies
               without a client, and then serve beside the old workers for the rest; that of an
               atomic pool only lives for so long
    watch      pools with ``watch_s``: their requests are compared with those of the old generation
               for so long (`watch`)
    roll       when every pool's canary passed, and not before: the rest, pool by pool in
               parallel; one old worker is parked for each new one that serves. In an atomic
               pool the new ones get ready and wait
    switch     when that is done everywhere, the atomic pools change over together: their old
               workers release their clients, and when all of those have said that they accept no more, or
               after `SWITCH_S`, their new ones serve
    commit     all new workers serve and all old ones are parked: they must hold for
               ``settle_s`` once more, and are watched again (``watch-all``), then the generation is adopted

A rollback goes back to the kept generation: its workers are there, so that it begins with the
switch, in all pools, atomic or not. It has as many workers as live; none is begun. They must
say that they serve within `CONFIRM_S`.

A `Reload` holds where the transaction stands and what is wanted of each pool for it; `advance`
compares that with the pools and moves on. It never undoes anything itself: the fleet drops it,
and what is then wanted of the pools (the current generation, nothing else) does the rest.

A reload of some pools leaves the others as they are: their workers stay those of an older generation, and
nothing is held back in them meanwhile. A rollback leaves those alone in which it would change nothing.

A restart is a reload without overlap. When the settings are valid, what is left of its phases is
    drain      all workers of before end, and their templates, in all its pools; clients wait in the backlog
    start      all new ones are begun, and serve as soon as they can. It is committed when they do
There is nothing then that could serve instead. If a new worker fails, the restart goes back to the settings
of before, if those were others and a pool is not served yet; again without overlap, and with the code that is
on disk. Otherwise the new generation is adopted all the same, and the worker tried again as after any crash.

A pool that only the new settings have takes part like the others. One that they no longer
have serves until the commit, and is drained then: parked, it would let its clients wait in
the backlog with nobody to answer them.

Every phase is bounded by the deadlines of the workers it waits for. What remains (no room for
parking, say) is bounded by a deadline of the reload itself, moved on by every progress; it is
the deadline of parked workers, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from math import inf
from typing import Final, assert_never

from msgspec import Struct, field

from gwctl.records.reloads import NewWorkerFailed
from gwctl.supervisor.core import wording
from gwctl.supervisor.core.actions import Measure, Progress
from gwctl.supervisor.core.events import Measured, Prepared
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.pool import Pool, View, Wanted
from gwctl.supervisor.core.restart import Restart
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.watches import Watches
from gwctl.supervisor.core.worker import DRAIN_MARGIN_S, LINK_GRACE_S, Failure, Order, State, Worker
from gwctl.watched import Watched
from gwctl.wording import seconds

SLACK_S = 5.0
"""Added to the sum of all that a reload may have to wait for before it counts as stuck."""


SWITCH_S = 0.25
"""So long a switch waits for old workers to say that they accept no more: one in a call of a sync application
can't. Nobody accepts meanwhile, connections wait in the backlog."""

ALONE = 0.25
"""The part of ``settle_s`` in which a canary does not serve yet."""

CONFIRM_S = 5.0
"""A worker that was parked for long shall say that it serves within this time."""


WATCH: Final = "watch"
"""The kind of a failure that a watch has found."""


class Stage(Enum):
    VALIDATE = "validate"
    BOOT = "boot"
    SETTLE = "settle"
    WATCH = "watch"
    ROLL = "roll"
    SWITCH = "switch"
    COMMIT = "commit"
    DRAIN = "drain"
    START = "start"


WATCH_ALL: Final = "watch-all"
"""The phase of a pool that is watched again in the stage of the commit."""


class Reload(Struct, eq=False):
    """Where the transaction stands. `FleetState.reload` shows it; only the core changes it."""

    generation: int
    previous: int
    """The one in force."""
    source: str
    requests: list[int]
    """Who is answered; without the signals."""
    started_at: float
    stall_s: float
    rollback: bool = False
    """It goes back to the kept generation."""
    stage: Stage = Stage.VALIDATE
    keep_s: float = 0.0
    """How long the generation before is kept if this one is adopted; 0: not at all."""
    lost: tuple[str, ...] = ()
    """Why it cannot be: what only that one serves."""
    warnings: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    """Those that it was asked for; empty: all."""
    untouched: frozenset[str] = frozenset()
    """Of a rollback, pools in which it would change nothing."""
    candidates: dict[str, int] = field(default_factory=dict)
    """Of a rollback, the generation that each pool goes back to."""
    left: tuple[str, ...] = ()
    """What differs in the settings and is not applied, as it is not of those pools; in words."""
    restart: Restart | None = None
    """It is one without overlap."""
    policies: Mapping[str, PoolPolicy] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Wanted workers of each pool in the new generation."""
    canary_until: dict[str, float] = field(default_factory=dict)
    """Pools whose canary could serve, and when it has passed."""
    opened: set[str] = field(default_factory=set)
    """Pools whose canary shall serve."""
    settled_at: float | None = None
    """When the complete generation has held for long enough; None while it is not complete."""
    stall_at: float = 0.0
    rolled: dict[str, int] = field(default_factory=dict)
    """New workers that serve (in an atomic pool: that could), by pool, as last told."""
    preface: str = ""
    """What the answer begins with."""
    switch_by: float | None = None
    """When the new workers of atomic pools serve at the latest; None: the switch has not begun."""
    switched: bool = False
    """They were told to."""
    confirm_by: float | None = None
    """When those of a rollback must have said that they do."""
    watches: Watches = field(default_factory=Watches)
    """Of the pools that are watched, from the first time on."""

    def __post_init__(self) -> None:
        self.stall_at = self.started_at + self.stall_s

    # ---- what is wanted

    def prepared(self, event: Prepared, pools: Mapping[str, Pool], turn: Turn) -> None:
        """The settings are valid. A pool's size set by hand stays unless the settings' own changed."""
        self.policies = {name: policy for name, policy in event.policies.items() if self.touches(name)}
        self.keep_s, self.lost = event.keep_s, event.lost
        self.warnings, self.left = event.warnings, event.left
        for name, policy in self.policies.items():
            pool = pools.get(name)
            self.sizes[name] = pool.size_after(policy) if pool is not None else policy.size
            self.rolled[name] = 0
        who = [*self.policies.values(), *self._ending_first(pools)]
        self.stall_s = max(map(patience, who), default=self.stall_s)
        first = Stage.ROLL if self.rollback else Stage.BOOT
        if self.restart is not None:
            first, self.keep_s = Stage.DRAIN, 0.0
            served = (name for name in self.policies if name in pools and pools[name].size)
            self.restart.begin(served, turn.now, changed=event.changed)
        for name in self.policies:
            self.tell(turn, name, "validate", "ok")
            if not self.rollback:
                self.tell(turn, name, first.value, "")
        self._move(first, turn)

    def wanted(self, pool: Pool, kept: int = 0) -> Wanted:
        """What this transaction wants of a pool that it touches, while generation ``kept`` is kept there."""
        policy = self.policies.get(pool.name)
        if self.stage in _APART:
            size = self.sizes.get(pool.name, 0)
            new = size if self.stage is Stage.START and self.failed is None else 0
            candidate = self.candidate_of(pool.name)
            return Wanted(pool.generation, candidate, policy, new=new, new_in_the_end=size, alone=True)
        if policy is None and self.rollback:
            return Wanted(pool.generation, kept=kept, hold=True)
        if policy is None:
            return Wanted(pool.generation, self.generation, kept=kept)
        size = self.sizes[pool.name]
        rolling, atomic = self.replacing, self.is_atomic(pool.name)
        return Wanted(
            pool.generation,
            self.candidate_of(pool.name),
            policy,
            new=0 if self.rollback else size if rolling else policy.canaries_of(size),
            new_in_the_end=size,
            replace=rolling and (not atomic or self.switch_by is not None),
            atomic=atomic,
            release_clients=self.watches.has(pool.name),
            serve_new=self.serves_new(pool.name),
            kept=0 if self.rollback else kept,
        )

    def touches(self, pool: str) -> bool:
        """Its workers are to be replaced, or it is to come or go."""
        return pool in self.pools if self.pools else pool not in self.untouched

    def candidate_of(self, pool: str) -> int:
        """The generation that is tried in a pool; 0: none."""
        return self.candidates.get(pool, self.generation) if self.touches(pool) else 0

    def serves_new(self, pool: str) -> bool:
        """Its new workers shall serve as soon as they can."""
        if self.is_atomic(pool):
            return self.switched
        return self.replacing or pool in self.opened

    @property
    def replacing(self) -> bool:
        """The canaries have passed, or there are none: others make room."""
        return self.stage in _ROLLING

    def is_atomic(self, pool: str) -> bool:
        return self.rollback or (self.restart is None and self.policies[pool].atomic)

    # ---- what is

    def phase_of(self, pool: str) -> str:
        """The phase as seen from one pool: its canary may be ahead of the others."""
        if self.stage is Stage.BOOT and pool in self.canary_until:
            return Stage.SETTLE.value
        if self.stage is Stage.COMMIT and self.watches.is_under_way(pool):
            return WATCH_ALL
        return self.stage.value

    def next_deadline(self, now: float) -> float:
        waits = [self.stall_at]
        if self.stage in _TRYING:
            waits += map(self._opens_at, self._closed())
            waits += self.canary_until.values()
        if self.stage in _WATCHING:
            waits.append(self.watches.next_at)
        waits += [at for at in (self.settled_at, self.switch_by, self.confirm_by) if at is not None]
        return min((at for at in waits if at > now), default=inf)

    def advance(self, pools: Mapping[str, Pool], turn: Turn) -> bool:
        """Move on if the pools allow it; true when something changed for them."""
        match self.stage:
            case Stage.VALIDATE:
                return False
            case Stage.BOOT | Stage.SETTLE:
                return self._watch_canaries(pools, turn)
            case Stage.WATCH:
                self._measure(turn)
                return self._end_watch(pools, turn)
            case Stage.ROLL:
                self._count(pools, turn)
                if self.switched or not any(map(self.is_atomic, self.policies)):
                    return self._watch_end(pools, turn)
                return self._begin_switch(pools, turn)
            case Stage.SWITCH:
                return self._watch_switch(pools, turn)
            case Stage.COMMIT:
                self._count(pools, turn)
                self._measure(turn)
                return self._watch_end(pools, turn)
            case Stage.DRAIN:
                return self.restart is not None and self._watch_drain(self.restart, pools, turn)
            case Stage.START:
                if self.restart is not None:
                    self._watch_start(self.restart, pools, turn)
                return False
            case _:
                assert_never(self.stage)

    def trouble(self, pools: Mapping[str, Pool], now: float) -> tuple[str, Failure] | None:
        """Why it is to be given up although no worker has failed: the pool, or empty, and what it is."""
        if self.confirm_by is not None and now >= self.confirm_by:
            for name, worker in self._serving(pools):
                if not worker.confirmed:
                    text = wording.not_confirmed(worker.slot, worker.pid, CONFIRM_S)
                    return name, Failure("stall", text)
        if name := self.watches.found:
            watched, raised = self.watched(name), self.watches.raised_in(name)
            return name, Failure(WATCH, wording.worse(watched, raised), wording.tracebacks(watched, raised))
        if now >= self.stall_at:
            return "", Failure("stall", wording.no_progress(self.stall_s, self.stage.value))
        return None

    def committable(self, now: float) -> bool:
        held = self.settled_at is not None and now >= self.settled_at
        return held and self.watches.over

    def _watch_canaries(self, pools: Mapping[str, Pool], turn: Turn) -> bool:
        alive = self._alive_canaries(pools)
        for name, canaries in alive.items():
            if name not in self.canary_until:
                self.canary_until[name] = turn.now + self.policies[name].settle_s
                self._progressed(turn)
                took_s = turn.now - min(worker.requested_at for worker in canaries)
                self.tell(turn, name, "boot", "ok", seconds(took_s))
                self.tell(turn, name, "settle", "")
            if name not in self.opened:  # where the size has changed, a younger one may be left
                youngest = max(worker.ready_at or 0.0 for worker in canaries)
                self.canary_until[name] = max(
                    self.canary_until[name], youngest + self.policies[name].settle_s
                )
        due = [name for name in self._closed() if name in alive and self._opens_at(name) <= turn.now]
        for name in due:
            self.opened.add(name)
            served_s = (1 - ALONE) * self.policies[name].settle_s
            self.canary_until[name] = max(self.canary_until[name], turn.now + served_s)
        if due:
            return True
        if len(self.canary_until) < len(self.policies):
            return False
        if self.stage is Stage.BOOT:
            self._move(Stage.SETTLE, turn)
        if len(alive) < len(self.policies) or turn.now < max(self.canary_until.values(), default=0.0):
            return False
        for name, policy in self.policies.items():
            self.tell(turn, name, "settle", "ok", seconds(policy.settle_s))
            if self.watches.begin(pools[name], policy.watch, turn.now):
                self.tell(turn, name, "watch", "")
        self._move(Stage.WATCH if self.watches.any else Stage.ROLL, turn)
        return True

    def _alive_canaries(self, pools: Mapping[str, Pool]) -> dict[str, list[Worker]]:
        """By pool, where there are as many as wanted."""
        alive: dict[str, list[Worker]] = {name: [] for name in self.policies}
        for name, worker in self._standing(pools):
            alive[name].append(worker)
        wanted = {name: policy.canaries_of(self.sizes[name]) for name, policy in self.policies.items()}
        return {name: canaries for name, canaries in alive.items() if len(canaries) >= wanted[name]}

    def _closed(self) -> list[str]:
        """Pools whose canary lives and does not serve yet."""
        return [name for name in self.canary_until if name not in self.opened and not self.is_atomic(name)]

    def _opens_at(self, pool: str) -> float:
        """When the canary of a pool that is not atomic begins to serve."""
        return self.canary_until[pool] - (1 - ALONE) * self.policies[pool].settle_s

    def _begin_switch(self, pools: Mapping[str, Pool], turn: Turn) -> bool:
        """When the rolling pools have rolled; in the others all new ones wait, and old ones can be parked."""
        for name in self.policies:
            done = self._waiting if self.is_atomic(name) else self._complete
            if not done(pools[name]):
                return False
        self._move(Stage.SWITCH, turn)
        self.switch_by = turn.now + SWITCH_S
        for name in filter(self.is_atomic, self.policies):
            self.tell(turn, name, "switch", "")
        return True

    def _waiting(self, pool: Pool) -> bool:
        """As many new workers could serve as are needed, and there is room for the old ones."""
        size = self.sizes[pool.name]
        new = [worker for worker in self._new(pool) if worker.slot < size]
        if len(new) < self._needed(pool) or any(worker.state not in _COULD_SERVE for worker in new):
            return False
        view = View(pool, self.wanted(pool))
        return self.rollback or view.room >= len(view.to_release())  # they change places with the kept ones

    def _needed(self, pool: Pool) -> int:
        """How many new workers are to serve: as many as wanted; in a rollback, all that there are."""
        size = self.sizes[pool.name]
        if not self.rollback:
            return size
        return max(1, sum(worker.slot < size for worker in self._new(pool)))

    def _new(self, pool: Pool) -> list[Worker]:
        return pool.of_generation(self.candidate_of(pool.name))

    def _watch_switch(self, pools: Mapping[str, Pool], turn: Turn) -> bool:
        """Have the new ones serve when the old ones accept no more."""
        if self.switch_by is None:
            return False
        late = sum(
            1
            for name in filter(self.is_atomic, self.policies)
            for worker in pools[name].members.values()
            if worker.state is State.PARKED
            and worker.told is Order.RELEASE_CLIENTS
            and not worker.confirmed
            and worker.generation == pools[name].generation
        )
        if late and turn.now < self.switch_by:
            return False
        self.switched = True
        self._move(Stage.ROLL, turn)
        took = seconds(turn.now - (self.switch_by - SWITCH_S))
        for name in filter(self.is_atomic, self.policies):
            self.tell(turn, name, "switch", "ok", f"{took}, {late} late" if late else took)
        self.switch_by = turn.now
        if self.rollback:
            self.confirm_by = turn.now + CONFIRM_S
        return True

    def _watch_end(self, pools: Mapping[str, Pool], turn: Turn) -> bool:
        complete = all(self._complete(pools[name]) for name in self.policies)
        if complete and self.settled_at is None:
            self.settled_at = turn.now + max((p.settle_s for p in self.policies.values()), default=0.0)
            self._move(Stage.COMMIT, turn)
            self.watches.begin_again(pools, turn.now)
            self._measure(turn)
            for name in self.policies:
                self.tell(turn, name, WATCH_ALL if self.watches.has(name) else "commit", "")
        elif not complete and self.settled_at is not None:  # a pool was scaled up meanwhile
            self.settled_at = None
            self._move(Stage.ROLL, turn)
        return False

    # ---- what was let in

    def _measure(self, turn: Turn) -> None:
        """Have the scoreboard read for the watches whose next check is due."""
        if due := self.watches.due(turn.now):
            turn.actions.append(Measure(due))
        for name in self.watches.given_up(turn.now):
            self._tell_watch(turn, name)

    def measured(self, event: Measured, pools: Mapping[str, Pool], turn: Turn) -> None:
        """Take in what the workers have counted. News of a check that nobody waits for change nothing."""
        if self.stage not in _WATCHING:
            return
        for name in self.watches.take(event, pools, self.generation, turn.now):
            self._progressed(turn)
            self._tell_watch(turn, name)

    def _end_watch(self, pools: Mapping[str, Pool], turn: Turn) -> bool:
        """Roll, when all first watches have passed and all canaries live."""
        if not self.watches.over or len(self._alive_canaries(pools)) < len(self.policies):
            return False
        self._move(Stage.ROLL, turn)
        return True

    def _tell_watch(self, turn: Turn, name: str) -> None:
        """How far it is; when it is over, that it has passed."""
        watched, limit = self.watched(name), seconds(self.policies[name].watch.watch_s)
        under_way = self.watches.is_under_way(name)
        outcome, detail = ("", f"{watched.for_s:.0f} of {limit}") if under_way else ("ok", limit)
        turn.actions.extend(
            Progress(request, name, watched.phase, outcome, detail, watched) for request in self.requests
        )
        if not under_way and self.stage is Stage.COMMIT:
            self.tell(turn, name, "commit", "")

    @property
    def watching(self) -> tuple[str, ...]:
        """Pools that are watched, or will be."""
        if self.rollback or self.restart is not None:
            return ()
        return tuple(name for name, policy in self.policies.items() if policy.watch.watch_s)

    def watched(self, pool: str) -> Watched:
        """What the watch of ``pool`` has seen."""
        return self.watches.report(pool, self.generation)

    # ---- a restart

    def _ending_first(self, pools: Mapping[str, Pool]) -> Iterator[PoolPolicy]:
        """By what those live whom a restart waits for: the settings of before, or older ones."""
        for name, pool in pools.items():
            if self.restart is not None and self.touches(name):
                yield from (life.policy for life in (*pool.members.values(), *pool.templates.values()))

    def _watch_drain(self, restart: Restart, pools: Mapping[str, Pool], turn: Turn) -> bool:
        """Begin the new ones when nobody of before is left, in no pool."""
        touched = (pool for name, pool in pools.items() if self.touches(name))
        if any(pool.has_others(self.generation) for pool in touched):
            return False
        for name in self.policies:
            self.tell(turn, name, "drain", "ok", seconds(turn.now - restart.began_at))
            self.tell(turn, name, "start", "", f"0/{self.sizes[name]}")
        self._move(Stage.START, turn)
        return True

    def _watch_start(self, restart: Restart, pools: Mapping[str, Pool], turn: Turn) -> None:
        """It is over when all new ones serve, or when one has failed and it goes on nevertheless."""
        self._count(pools, turn)
        restart.serve({name for name, _ in self._serving(pools)}, turn.now)
        if restart.failed is not None or all(self.rolled[n] >= self.sizes[n] for n in self.policies):
            self.settled_at = turn.now

    def goes_on(self, pools: Mapping[str, Pool], pool: str, failure: Failure) -> bool:
        """A new worker of ``pool`` has failed, and a restart does not for it."""
        if self.restart is None:
            return False
        served = {name for name, _ in self._serving(pools)}
        return self.restart.goes_on(self.policies, served, pool, failure)

    @property
    def failed(self) -> NewWorkerFailed | None:
        """Of a restart that goes on nevertheless."""
        return self.restart.failed if self.restart is not None else None

    def _count(self, pools: Mapping[str, Pool], turn: Turn) -> None:
        if self.rollback:
            return
        counted = dict.fromkeys(self.policies, 0)
        for name, _ in self._standing(pools):
            counted[name] += 1
        for name, count in counted.items():
            if count != self.rolled[name]:
                self.rolled[name] = count
                size = self.sizes[name]
                phase = "start" if self.restart is not None or self.is_atomic(name) else "roll"
                self._progressed(turn)
                self.tell(turn, name, phase, "ok" if count >= size else "", f"{count}/{size}")

    def _complete(self, pool: Pool) -> bool:
        """All new ones serve, and no other worker accepts."""
        new, size, candidate = 0, self.sizes[pool.name], self.candidate_of(pool.name)
        for worker in pool.members.values():
            if worker.leaving:
                continue
            if worker.generation != candidate:
                if worker.state is State.READY:
                    return False
            elif worker.serving and worker.slot < size and (worker.confirmed or not self.rollback):
                new += 1
            else:
                return False
        return new >= self._needed(pool)

    def _standing(self, pools: Mapping[str, Pool]) -> Iterator[tuple[str, Worker]]:
        """New workers that serve; those that could in an atomic pool, and before its canary shall."""
        for name in self.policies:
            waits = self.is_atomic(name) or not self.serves_new(name)
            for worker in self._new(pools[name]):
                if worker.serving or (waits and worker.state is State.READY):
                    yield name, worker

    def _serving(self, pools: Mapping[str, Pool]) -> Iterator[tuple[str, Worker]]:
        for name in self.policies:
            for worker in self._new(pools[name]):
                if worker.serving:
                    yield name, worker

    def _move(self, stage: Stage, turn: Turn) -> None:
        self.stage = stage
        self._progressed(turn)

    def _progressed(self, turn: Turn) -> None:
        self.stall_at = turn.now + self.stall_s

    # ---- the world outside

    def tell(self, turn: Turn, pool: str, phase: str, outcome: str, detail: str = "") -> None:
        """Tell whoever waits."""
        turn.actions.extend(Progress(request, pool, phase, outcome, detail) for request in self.requests)

    def shift(self, late_s: float) -> None:
        """All deadlines move."""
        self.stall_at += late_s
        self.canary_until = {name: at + late_s for name, at in self.canary_until.items()}
        self.watches.shift(late_s)
        if self.settled_at is not None:
            self.settled_at += late_s
        if self.switch_by is not None:
            self.switch_by += late_s
        if self.confirm_by is not None:
            self.confirm_by += late_s


_TRYING = frozenset({Stage.BOOT, Stage.SETTLE})
_WATCHING = frozenset({Stage.WATCH, Stage.COMMIT})
_APART = frozenset({Stage.DRAIN, Stage.START})
_ROLLING = frozenset({Stage.ROLL, Stage.SWITCH, Stage.COMMIT}) | _APART
_COULD_SERVE = frozenset({State.READY, State.PARKED})


def patience(policy: PoolPolicy) -> float:
    """The longest that one bit of progress can take, by the deadlines of the workers involved."""
    end_s = DRAIN_MARGIN_S + LINK_GRACE_S + policy.dump_grace_s + policy.quit_grace_s
    watched_s = policy.watch.watch_s
    return policy.boot_timeout_s + policy.drain_timeout_s + policy.settle_s + watched_s + end_s + SLACK_S
