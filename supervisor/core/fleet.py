"""All pools of a master: takes events, returns actions, and decides everything.

How it works
    `Fleet.step` applies the events to the workers they name (`worker_events`), fires deadlines that are
    due, then settles: each pool that something happened to is compared with what is wanted of
    it (`reconcile`), the transaction or the end under way moves on (`reload`, `ending`),
    and so forth until nothing changes any more. Nothing is done in reaction to an event
    alone, so that news in any order and failed actions come right by themselves.

Rules
    - Deadlines and observed facts are judged after the events of the same step; deadlines never
      in a turn that came late: if the master did not run, everyone is given that time again.
    - `check` runs after every step. When it fails, spawning and retiring stop for good,
      reaping and stopping go on, and the actions of that step are left in `salvaged`.

Where it stands is a `FleetState`, which those that decide about a part of it take. This module is
above all of them, and imported by none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, assert_never

from gwctl.errors import InvariantViolation
from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import (
    budget,
    commands,
    deadlines,
    judgement,
    scaling,
    stopping,
    takeover,
    upgrade,
    wording,
    worker_events,
)
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core import kept as keep
from gwctl.supervisor.core.invariants import broken_rule
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.reconcile import reconcile
from gwctl.supervisor.core.reload import Reload
from gwctl.supervisor.core.state import initial
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Failure

BROKEN_STEP_S: Final = 1.0
"""Between steps of a fleet whose invariants failed: its deadlines are not to be trusted."""


class Fleet:
    """The policy of one master.

    Attributes:
        state: Where it stands.
        turn: What the present step decides, and every living worker by its number.
        salvaged: The actions of the step that broke an invariant. Their intent is recorded: perform them.
    """

    def __init__(self, pools: Mapping[str, PoolPolicy], generation: int = 1) -> None:
        self.state = initial(pools, generation)
        self.turn = Turn()
        self.salvaged: list[act.Action] = []

    def next_deadline(self) -> float | None:
        """When to step even without news; None: not before there are any."""
        return self.state.next_at

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
        turn = self.turn
        turn.now = now
        turn.actions = []
        if not self.state.finished:
            try:
                self._take_turn(now, events)
                self.check()
            except InvariantViolation as violation:
                self.state.next_at = now + BROKEN_STEP_S
                if not self.state.broken:
                    self.state.broken = str(violation)
                    self.salvaged = turn.actions
                    raise
        return turn.actions

    def _take_turn(self, now: float, events: Sequence[ev.Event]) -> None:
        state = self.state
        if not state.begun:
            state.begun = True
            state.began_at = now
            state.sample_at = now + deadlines.SAMPLE_S
            state.dirty.update(state.pools)
        elif state.next_at is not None and now > state.next_at + deadlines.LATE_S:
            state.next_at = deadlines.forgive(state, self.turn, now - state.next_at)
        for event in events:
            self._apply(event)
        state.dirty |= worker_events.judge_observed(state, events, self.turn)
        budget.judge_observed(state, events, self.turn)
        if state.next_at is not None and now >= state.next_at:
            self._fire()
            self._settle()
        elif events or state.dirty:
            self._settle()

    def check(self) -> None:
        """Verify what must hold after every step.

        Raises:
            InvariantViolation: It does not.
        """
        if rule := broken_rule(self.state, self.turn):
            raise InvariantViolation(rule)

    def _settle(self) -> None:
        """Reconcile and move on until nothing changes."""
        state, turn = self.state, self.turn
        while True:
            if (ending := state.draining) is not None:
                ending.enforce(turn.workers.values(), turn)
                state.dirty.clear()
                break
            if not state.broken:
                for name in sorted(state.dirty):
                    pool = state.pools[name]
                    reconcile(pool, state.wanted(pool), turn)
            state.dirty.clear()
            if not self._advance():
                break
            state.dirty.update(state.pools)
        if state.sample_at <= turn.now:  # not before: pools may have gone
            state.sample_at = turn.now + deadlines.SAMPLE_S
            turn.actions.append(act.Observe(scaling.sampled(state)))
        state.next_at = deadlines.soonest(state, turn)
        if (ending := state.draining) is not None and not turn.workers:
            stopping.finish(ending, turn)
            state.finished = True
            state.next_at = None

    def _advance(self) -> bool:
        """Move the reload on, or begin the next; true when something changed for the pools."""
        state, turn = self.state, self.turn
        tried = state.reload.policies if state.reload is not None else {}
        for name in [name for name, pool in state.pools.items() if pool.empty and name not in tried]:
            del state.pools[name]
            state.dirty.discard(name)
        if state.taking_over is not None:
            return not state.broken and takeover.advance(state, state.taking_over, turn)
        if not state.served:
            state.served = commands.all_ready(state.pools.values(), turn, state.began_at)
        if state.broken:
            return False
        if keep.review(state, turn):
            return True
        if state.reload is None:
            if any(pool.alone for pool in state.pools.values()):
                return False  # a restart goes back
            if state.handing_over is not None:
                return False
            if state.upgrade is not None and upgrade.goes_first(state.upgrade, state.queue, turn):
                return False
            if state.queue.waiting:
                state.numbered += 1
                state.reload = commands.begin_reload(state, state.numbered, turn)
                return True
            return False
        if state.reload.advance(state.pools, turn):
            keep.review(state, turn)  # before anyone is parked: it takes up the room
            return True
        if state.reload.committable(turn.now):
            self._commit(state.reload)
            return True
        if trouble := state.reload.trouble(state.pools, turn.now):
            judgement.abort(state, state.reload, *trouble, turn)
            return True
        return False

    # ---- deadlines

    def _fire(self) -> None:
        state, turn = self.state, self.turn
        for worker in list(turn.workers.values()):
            if worker.deadline is not None and worker.deadline <= turn.now:
                worker_events.overdue(state, worker, turn)
                state.dirty.add(worker.pool)
        upgrade.overdue(state, turn)
        takeover.overdue(state, turn)
        for pool in state.pools.values():
            if pool.retry_at is not None and pool.retry_at <= turn.now:
                state.dirty.add(pool.name)
        if state.ending is not None:
            stopping.fire(state, state.ending, turn)

    # ---- events

    def _apply(self, event: ev.Event) -> None:
        state, turn = self.state, self.turn
        match event:
            case ev.ReloadAsked():
                commands.reload_asked(state, event, turn)
            case ev.Prepared():
                self._prepared(event)
            case ev.PrepareFailed():
                if state.reload is not None and event.generation == state.reload.generation:
                    state.numbered -= not state.reload.rollback  # number never used
                    failure = Failure("unknown" if event.unknown else "settings", event.reason)
                    judgement.abort(state, state.reload, "", failure, turn, changed=False)
            case ev.Measured() | ev.Raised():
                self._watched(event)
            case ev.RollbackAsked() | ev.RestartAsked():
                state.reload = commands.begin_at_once(state, event, turn) or state.reload
            case ev.GroupMemoryObserved():
                pass  # judged when all news are read
            case ev.ScaleAsked() | ev.LoadObserved() | ev.CapacityMeasured():
                scaling.apply_event(state, event, turn)
            case ev.RecycleAsked():
                commands.recycle_asked(state, event, turn)
            case ev.StopAsked():
                self._stop(event)
            case ev.UpgradeAsked() | ev.UpgradeChecked() | ev.UpgradeFailed() | ev.Upgraded():
                self._apply_of_upgrade(event)
            case (
                ev.TakeoverAsked()
                | ev.SuccessorEnded()
                | ev.SuccessorReady()
                | ev.Succeeded()
                | ev.TakeoverDenied()
            ):
                self._apply_of_takeover(event)
            case _:
                worker = turn.workers.get(event.worker)
                if worker is not None and worker_events.apply_event(state, worker, event, turn):
                    state.dirty.add(worker.pool)  # None: late news of one that is reaped

    def _apply_of_upgrade(self, event: ev.UpgradeEvent) -> None:
        state, turn = self.state, self.turn
        match event:
            case ev.UpgradeAsked():
                upgrade.asked(state, event, turn)
            case ev.UpgradeChecked():
                upgrade.checked(state, event, turn)
            case ev.UpgradeFailed(reason=reason):
                upgrade.failed(state, reason, turn)
            case ev.Upgraded():
                upgrade.upgraded(state, event, turn)
            case _:
                assert_never(event)

    def _apply_of_takeover(self, event: ev.TakeoverEvent) -> None:
        state, turn = self.state, self.turn
        match event:
            case ev.TakeoverAsked():
                takeover.asked(state, event, turn)
            case ev.SuccessorEnded():
                takeover.successor_ended(state, event, turn)
            case ev.SuccessorReady():
                if state.handing_over is not None:
                    self._stop(ev.StopAsked(0, state.handing_over.source))
            case ev.Succeeded(asked=asked):
                takeover.succeeded(state, turn, asked=asked)
            case ev.TakeoverDenied(reason=reason):
                judgement.denied(state, reason, turn)
            case _:
                assert_never(event)

    # ---- transactions

    def _watched(self, event: ev.Measured | ev.Raised) -> None:
        state = self.state
        if state.reload is None:
            return
        if isinstance(event, ev.Measured):
            state.reload.measured(event, state.pools, self.turn)
            return
        worker = self.turn.workers.get(event.worker)
        if worker is not None and judgement.tried(state, worker):
            state.reload.watches.note_raised(worker.pool, event)

    def _prepared(self, event: ev.Prepared) -> None:
        state, reload = self.state, self.state.reload
        if reload is None or event.generation != reload.generation:
            self.turn.actions.append(act.Abandon(event.generation))
            return
        for name, policy in event.policies.items():
            if reload.touches(name):
                state.pools.setdefault(name, Pool(name, policy, 0))
        reload.prepared(event, state.pools, self.turn)
        if reload.restart is not None:
            for name in filter(reload.touches, state.pools):
                state.pools[name].slots.clear()  # it begins anew
        state.dirty.update(state.pools)

    def _commit(self, reload: Reload) -> None:
        state = self.state
        kept, now_kept = state.kept, keep.keep(state, reload, self.turn.now)
        for name, pool in state.pools.items():
            if reload.touches(name):
                pool.adopt(reload.candidate_of(name), reload.policies.get(name), reload.sizes.get(name, 0))
        if reload.rollback and kept is not None:
            keep.gone_back(state, kept)
        state.rolled_back = max((pool.rolled_back for pool in state.pools.values()), default=0)
        previous, state.generation = state.generation, reload.generation
        state.reload, state.kept = None, now_kept
        state.not_kept = wording.KEEPS_NOTHING if reload.restart is not None else ""
        commands.adopted(state, reload, previous, self.turn)

    def _stop(self, event: ev.StopAsked) -> None:
        state, turn = self.state, self.turn
        if state.ending is None:
            judgement.give_up_work(state, wording.STOPS, turn)
            state.dirty.update(state.pools)
            serving = any(pool.ready for pool in state.pools.values())
            state.ending = stopping.begin(event, turn, accepts=serving)
        elif not stopping.again(state.ending, event, turn):
            return
        stopping.tell(state, state.ending, event, turn)
