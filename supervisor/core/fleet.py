"""All pools of a master: takes events, returns actions, and decides everything.

How it works
    `Fleet.step` applies the events to the workers they name (`core.worker_events`), fires deadlines that are
    due, then settles: each pool that something happened to is compared with what is wanted of
    it (`pool.reconcile`), the transaction or the end under way moves on (`reload`, `ending`),
    and so forth until nothing changes any more. Nothing is done in reaction to an event
    alone, so that news in any order and failed actions come right by themselves.

Rules
    - First start: until any worker was ever ready, a worker that cannot boot ends the fleet,
      with the exit status that says why. (A fork that fails does not: that is the machine.)
    - Otherwise a failure costs its own slot a backoff and touches no sibling; a worker of the
      generation that a reload tries ends that reload.
    - Deadlines and observed facts are judged after the events of the same step; deadlines never
      in a turn that came late: if the master did not run, everyone is given that time again.
    - `check` runs after every step. When it fails, spawning and retiring stop for good,
      reaping and stopping go on, and the actions of that step are left in `salvaged`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from math import inf
from typing import Final

from gwctl.errors import InvariantViolation
from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import commands, deadlines, stopping, upgrade, worker_events
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core import kept as keep
from gwctl.supervisor.core.ending import Ending
from gwctl.supervisor.core.invariants import broken_rule
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.pool import Pool, reconcile
from gwctl.supervisor.core.reload import Reload
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.upgrade import Upgrade
from gwctl.supervisor.core.view import Wanted
from gwctl.supervisor.core.wording import DEGRADED
from gwctl.supervisor.core.worker import Failure, Worker

BROKEN_STEP_S: Final = 1.0
"""Between steps of a fleet whose invariants failed: its deadlines are not to be trusted."""


class Phase(Enum):
    STARTING = "starting"
    SERVING = "serving"
    RELOADING = "reloading"
    UPGRADING = "upgrading"
    STOPPING = "stopping"


class Fleet:
    """The policy of one master.

    Attributes:
        pools: By name; also those that a reload tries, and those removed whose workers drain.
        generation: The one in force.
        look_at: When the shell shall read the scoreboard next. Bring it forward with `look_by`.
        away: The last times when the master came late, and how late.
        ever_ready: Some worker was.
        rolled_back: The generation from which it was gone back to the one in force; 0: it was not.
        kept: The generation that a rollback goes back to.
        not_kept: Why there is none, when there was one.
        last_reload: How the last reload or rollback ended, in a line; empty before the first.
        last_reload_at: When that was.
        refused_at: When a reload was first refused since one was adopted; None: none was.
        reload: The reload or rollback under way.
        upgrade: The upgrade that was asked for.
        ending: The end under way.
        finished: Finish was returned; nothing more will be.
        broken: The invariant that failed; empty as it should be.
        salvaged: The actions of the step that broke it. Their intent is recorded: perform them.
    """

    def __init__(self, pools: Mapping[str, PoolPolicy], generation: int = 1) -> None:
        self.pools = {name: Pool(name, policy, policy.size) for name, policy in pools.items()}
        self.generation = generation
        self.rolled_back = 0
        self.kept: keep.Kept | None = None
        self.not_kept = ""
        self.last_reload = ""
        self.last_reload_at = 0.0
        self.refused_at: float | None = None
        self.reload: Reload | None = None
        self.upgrade: Upgrade | None = None
        self.ending: Ending | None = None
        self.finished = False
        self.broken = ""
        self.salvaged: list[act.Action] = []
        self._turn = Turn()
        self._queue = commands.Queue()
        self._numbered = generation  # the highest generation number given to any worker
        self.look_at = inf
        self.away: deque[tuple[float, float]] = deque(maxlen=64)
        self.ever_ready = False
        self._began_at = 0.0
        self._begun = False
        self._served = False
        self._dirty: set[str] = set()
        self._next: float | None = None

    # ---- reading

    @property
    def phase(self) -> Phase:
        if self.ending is not None:
            return Phase.STOPPING
        if not self._served:
            return Phase.STARTING
        if self.reload is not None:
            return Phase.RELOADING
        return Phase.SERVING if self.upgrade is None else Phase.UPGRADING

    @property
    def executing(self) -> bool:
        """The new program is to be executed now."""
        return self.upgrade is not None and self.upgrade.stage is upgrade.Stage.EXECUTE

    def accepts_for(self, now: float) -> float | None:
        """For how many seconds a fleet that stops still accepts; None: it does not stop, or not any more."""
        if self.ending is None or not self.ending.accepting:
            return None
        return max(0.0, self.ending.accept_until - now)

    @property
    def disk_differs(self) -> bool:
        """A reload was refused: what is on disk is not what runs."""
        return any(pool.differs_since is not None for pool in self.pools.values())

    @property
    def degraded(self) -> str:
        """Why what runs is not what a respawn would run; empty when it is."""
        back = f" (rolled back from generation {self.rolled_back})" if self.rolled_back else ""
        return DEGRADED + back if any(pool.degraded(self.generation) for pool in self.pools.values()) else ""

    @property
    def reload_waits(self) -> bool:
        """Another reload was asked for while one is under way."""
        return self._queue.waiting

    def next_deadline(self) -> float | None:
        """When to step even without news; None: not before there are any."""
        return self._next

    def size_of(self, pool: str, generation: int) -> int:
        """How many workers ``pool`` shall have in ``generation``."""
        if self.reload is not None and generation == self.reload.generation:
            return self.reload.sizes[pool]
        return self.pools[pool].size

    def away_since(self, since: float) -> float:
        """Return for how long since then this master itself did not run."""
        return sum(late_s for at, late_s in self.away if at > since)

    def look_by(self, at: float) -> None:
        """Have the scoreboard read at ``at`` at the latest; by itself it is every `timers.LOOK_S`."""
        self.look_at = min(self.look_at, max(at, self._turn.now + deadlines.LOOK_MIN_S))

    def wanted(self, pool: Pool) -> Wanted:
        """What is wanted of a pool now."""
        kept = self.kept.generation if self.kept is not None else 0
        if self.reload is not None:
            return self.reload.wanted(pool, kept)
        degraded = pool.degraded(self.generation)
        recycle, hold = not degraded and self.ending is None, degraded and self.rolled_back > 0
        return Wanted(self.generation, recycle=recycle, kept=kept, hold=hold)

    # ---- stepping

    def step(self, now: float, events: Sequence[ev.Event]) -> list[act.Action]:
        """Apply ``events``, then return the actions that move the fleet towards what is wanted.

        Intent is recorded before it is returned: a second call with no events and the same
        ``now`` returns nothing.

        Args:
            now: Monotonic seconds; never earlier than in the previous call.
            events: What happened since then, in the order observed.

        Raises:
            InvariantViolation: A bug here, never bad input. Once; see ``salvaged``.
        """
        turn = self._turn
        turn.now = now
        turn.actions = []
        if not self.finished:
            try:
                self._take_turn(now, events)
                self.check()
            except InvariantViolation as violation:
                self._next = now + BROKEN_STEP_S
                if not self.broken:
                    self.broken = str(violation)
                    self.salvaged = turn.actions
                    raise
        return turn.actions

    def _take_turn(self, now: float, events: Sequence[ev.Event]) -> None:
        if not self._begun:
            self._begun = True
            self._began_at = now
            self.look_at = now + deadlines.LOOK_S
            self._dirty.update(self.pools)
        elif self._next is not None and now > self._next + deadlines.LATE_S:
            self._next = deadlines.forgive(self, self._turn, now - self._next)
        for event in events:
            self._apply(event)
        self._dirty |= worker_events.judge_observed(self, events, self._turn)
        if self._next is not None and now >= self._next:
            self._fire()
            self._settle()
        elif events or self._dirty:
            self._settle()

    def check(self) -> None:
        """Verify what must hold after every step.

        Raises:
            InvariantViolation: It does not.
        """
        if rule := broken_rule(self, self._turn, self._next):
            raise InvariantViolation(rule)

    def _settle(self) -> None:
        """Reconcile and move on until nothing changes."""
        while True:
            if self.ending is not None and not self.ending.accepting:
                self.ending.enforce(self._turn.workers.values(), self._turn)
                self._dirty.clear()
                break
            if not self.broken:
                for name in sorted(self._dirty):
                    pool = self.pools[name]
                    reconcile(pool, self.wanted(pool), self._turn)
            self._dirty.clear()
            if not self._advance():
                break
            self._dirty.update(self.pools)
        self._next = deadlines.soonest(self, self._turn)
        if self.ending is not None and not self.ending.accepting and not self._turn.workers:
            stopping.finish(self.ending, self._turn)
            self.finished = True
            self._next = None

    def _advance(self) -> bool:
        """Move the reload on, or begin the next; true when something changed for the pools."""
        turn = self._turn
        tried = self.reload.policies if self.reload is not None else {}
        for name in [name for name, pool in self.pools.items() if pool.empty and name not in tried]:
            del self.pools[name]
            self._dirty.discard(name)
        if not self._served:
            self._served = commands.all_ready(self.pools.values(), turn, self._began_at)
        if self.broken:
            return False
        if keep.review(self, turn):
            return True
        if self.reload is None:
            if self.upgrade is not None and upgrade.goes_first(self.upgrade, self._queue, turn):
                return False
            if self._queue.waiting:
                self._numbered += 1
                self.reload = commands.begin_reload(self, self._queue, self._numbered, turn)
                return True
            return False
        if self.reload.advance(self.pools, turn):
            keep.review(self, turn)  # before anyone is parked: it takes up the room
            return True
        if self.reload.committable(turn.now):
            self._commit(self.reload)
            return True
        if trouble := self.reload.trouble(self.pools, turn.now):
            self._abort(self.reload, *trouble)
            return True
        return False

    # ---- deadlines

    def _fire(self) -> None:
        now = self._turn.now
        if self.look_at <= now:
            self.look_at = now + deadlines.LOOK_S
            self._turn.actions.append(act.Observe())
        for worker in list(self._turn.workers.values()):
            if worker.deadline is not None and worker.deadline <= now:
                worker_events.overdue(self, worker, self._turn)
                self._dirty.add(worker.pool)
        upgrade.overdue(self, self._turn)
        for pool in self.pools.values():
            if pool.retry_at is not None and pool.retry_at <= now:
                self._dirty.add(pool.name)
        if self.ending is not None:
            stopping.fire(self, self.ending, self._turn)

    # ---- events

    def _apply(self, event: ev.Event) -> None:
        match event:
            case ev.ReloadAsked():
                commands.reload_asked(self, self._queue, event, self._turn)
            case ev.Prepared():
                self._prepared(event)
            case ev.PrepareFailed():
                if self.reload is not None and event.generation == self.reload.generation:
                    self._numbered -= not self.reload.rollback  # no worker ever wore it
                    self._abort(self.reload, "", Failure("settings", event.reason), changed=False)
            case ev.RollbackAsked():
                self.reload = commands.rollback_asked(self, self._queue, event, self._turn) or self.reload
            case ev.ScaleAsked():
                commands.scale_asked(self, event, self._turn)
                self._dirty.update(self.pools)
            case ev.StopAsked():
                self._stop(event)
            case ev.UpgradeAsked():
                upgrade.asked(self, event, self._turn)
            case ev.UpgradeChecked():
                upgrade.checked(self, event, self._turn)
            case ev.UpgradeFailed(reason=reason):
                upgrade.failed(self, reason, self._turn)
            case ev.Upgraded():
                upgrade.upgraded(self, self._queue, event, self._turn)
            case _:
                worker = self._turn.workers.get(event.worker)
                if worker is not None and worker_events.hear(self, worker, event, self._turn):
                    self._dirty.add(worker.pool)  # None: late news of one that is reaped

    # ---- judgement

    def tried(self, worker: Worker) -> bool:
        """It is of the generation that a reload tries."""
        return self.reload is not None and worker.generation == self.reload.generation

    def judge(self, worker: Worker) -> bool:
        """Decide whom a failure ends besides its own worker; true when it was more than that."""
        failure = worker.failure
        if failure is None or self.ending is not None:
            return False
        if self.reload is not None and self.tried(worker):
            if self.reload.rollback and worker.is_template:
                return False  # nothing is forked for it
            self._abort(self.reload, worker.pool, failure)
            return True
        if not self.ever_ready and worker.ready_at is None:
            self._fatal(worker, failure)
            return True
        return False

    def _fatal(self, worker: Worker, failure: Failure) -> None:
        if self.reload is not None:
            self._abort(self.reload, "", Failure("stop", "the fleet could not be started"), changed=False)
        upgrade.stopped(self, self._turn)
        commands.refuse_waiting(self._queue, self._turn)
        text = failure.message if len(self.pools) == 1 else f"{worker.pool}: {failure.message}"
        status = 4 if failure.kind == "import" else 3
        self.ending = stopping.gives_up(status, text, failure.traceback, self._turn)

    # ---- transactions

    def _prepared(self, event: ev.Prepared) -> None:
        reload = self.reload
        if reload is None or event.generation != reload.generation:
            self._turn.actions.append(act.Abandon(event.generation))
            return
        for name, policy in event.policies.items():
            self.pools.setdefault(name, Pool(name, policy, 0))
        reload.prepared(event, self.pools, self._turn)
        self._dirty.update(self.pools)

    def _commit(self, reload: Reload) -> None:
        kept, now_kept = self.kept, keep.keep(self, reload, self._turn.now)
        for name, pool in self.pools.items():
            pool.adopt(reload.policies.get(name), reload.sizes.get(name, 0))
        keep.gone_back(self, kept if reload.rollback else None)
        previous, self.generation = self.generation, reload.generation
        self.reload, self.kept, self.not_kept = None, now_kept, ""
        commands.adopted(self, reload, previous, self._turn)

    def _abort(self, reload: Reload, pool: str, failure: Failure, *, changed: bool = True) -> None:
        """Drop the transaction; the reconciliation that follows undoes it."""
        self.reload = None
        self._dirty.update(self.pools)
        if changed and not reload.rollback:
            for each in self.pools.values():
                if each.differs_since is None:
                    each.differs_since = self._turn.now
            if self.kept is not None:
                self.kept.disk_changed(self._turn.now)
        commands.refused(self, reload, pool, failure, self._turn)

    def _stop(self, event: ev.StopAsked) -> None:
        if self.ending is None:
            if self.reload is not None:
                self._abort(self.reload, "", Failure("stop", "the fleet stops"), changed=False)
            upgrade.stopped(self, self._turn)
            commands.refuse_waiting(self._queue, self._turn)
            self._dirty.update(self.pools)
            serving = any(pool.ready for pool in self.pools.values())
            self.ending = stopping.begin(event, self._turn, accepts=serving)
        elif not stopping.again(self.ending, event, self._turn):
            return
        stopping.tell(self, self.ending, event, self._turn)
