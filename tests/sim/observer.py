"""Safety, judged from outside, by books of its own: what went in, what came out, and into no `Fleet`.

What the observer holds against the core:

  - nothing is told to a worker that is reaped (or was never there), drain, quit, dump and kill
    are told once each, park only to one that serves, serve only to one that does not;
  - starting + ready stay within size + surge whenever something is spawned, parked + draining
    within ``draining_max`` whenever something is parked or scaled down;
  - the last serving worker of a pool is never told to stop serving, unless the fleet stops;
  - new workers are parked for, not hoped for; a second one only after all canaries have
    settled; a generation is adopted only after it was complete for ``settle_s``;
  - a worker that is not ready is dumped and killed in time, and not before its time is up;
  - a worker is replaced when it is due (`tests.sim.recycling`), and killed beyond its hard limit;
  - a slot that keeps failing is not tried again before its backoff (`tests.sim.breakers`);
  - a pool that sets its size itself does so by its rules (`tests.sim.scaling`), as does one that goes by
    what the machine allows (`tests.sim.groups`);
  - one that hangs is found (`tests.sim.hanging`), and the scoreboard read in time for that; the door
    is closed when a stop was asked for and its delay is over (`tests.sim.stop_rules`);
  - in a pool that is restarted nobody is begun while a process of another generation is there
    (`tests.sim.restarts`);
  - each request is answered once, each prepared generation adopted or abandoned once, and
    after Finish there is silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gwctl.records.master import StopWaits
from gwctl.records.reloads import ReloadBegun
from gwctl.records.scaling import PoolScaled
from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.policy import PoolPolicy
from tests.sim import groups, hanging, recycling, restarts, scaling, takeovers
from tests.sim.books import DRAIN_MARGIN_S, LATE_S, Failures, Seen, Transaction, Unsafe
from tests.sim.bounds import judge_active, judge_room
from tests.sim.breakers import judge_note
from tests.sim.deadlines import judge_deadlines
from tests.sim.links import LINK_GRACE_S, judge_dumped, judge_hung_up
from tests.sim.recycling import judge_end, judge_heir, judge_observed, judge_retired, let_go_unspawned
from tests.sim.scaling import Scaled
from tests.sim.stop_rules import StopRules
from tests.sim.templates import judge_source

Asked = ev.ReloadAsked | ev.RestartAsked | ev.ScaleAsked | ev.RecycleAsked | ev.StopAsked


class Observer:
    """Raises `Unsafe` at the first thing that must not happen."""

    def __init__(self, policies: Mapping[str, PoolPolicy]) -> None:
        self.policies = dict(policies)
        self.sizes = {name: policy.size for name, policy in policies.items()}
        self.generation = 1
        self.generations = dict.fromkeys(policies, 1)
        """In force, by pool."""
        self.workers: dict[int, Seen] = {}
        self.asked: dict[int, ev.Event] = {}
        self.txn: Transaction | None = None
        self.stopping = self.ever_ready = False
        self.doomed = self.finished = False
        self.offered = False
        """Another master has copies of the listeners."""
        self.highest_worker = 0
        self.failures = Failures()
        self.refused_at: dict[str, float] = {}
        """By pool, when a reload of it was first refused."""
        self.alone: dict[str, int] = {}
        """Pools that are restarted, or go back from it, and the generation that is to be alone there."""
        self._stop_rules = StopRules()
        self.scaled = Scaled()
        self.groups = groups.Groups()
        self.samples = hanging.Samples()
        self.found: list[Seen] = []
        self._steps = 0
        self.now = 0.0
        self.late = self._scaled = False
        self.restarts_next = False
        """The transaction that is begun in this step is a restart."""

    def in_force(self, seen: Seen) -> bool:
        """It is of the generation in force of its pool."""
        return seen.generation == self.generations.get(seen.pool)

    @property
    def asked_to_stop(self) -> bool:
        return self._stop_rules.until is not None

    def reloads(self, pool: str) -> bool:
        """The transaction under way concerns it."""
        return self.txn is not None and self.txn.touches(pool)

    # ---- input

    def saw(
        self,
        now: float,
        batch: Sequence[ev.Event],
        actions: Sequence[act.Action],
        deadline: float | None,
        next_deadline: float | None,
    ) -> None:
        before, self.now = self.now, now
        self._steps += 1
        self.late = deadline is not None and now > deadline + LATE_S
        if self.late and deadline is not None:
            self._forgive(now - deadline + LATE_S, before)
        for event in batch:
            if isinstance(event, ev.CapacityMeasured):
                groups.heard_capacity(self, event)
        for action in actions:  # what was observed of load, and what is allowed, is the first news of a step
            if isinstance(action, act.Note):
                self._sized(action.record)
        for event in batch:
            _EVENTS[type(event)](self, event)
        for event in batch:
            if type(event) is ev.Observed:  # whatever the order, it is judged by all the news there are
                self._observed(event)
        if self.finished and actions:
            raise Unsafe(f"actions after Finish: {actions}")
        for action in actions:
            judge = _ACTIONS.get(type(action))
            if judge is not None:
                judge(self, action)
        self._afterwards(next_deadline)

    def _sized(self, record: object) -> None:
        """A pool has another size that nobody asked for."""
        if isinstance(record, PoolScaled):
            if scaling.is_by_itself(record):
                scaling.judge_scaled(self, record)
                self._scaled = True
            elif groups.is_by_capacity(record):
                groups.judge_measured(self, record)
                self._scaled = True

    def _forgive(self, late_s: float, before: float) -> None:
        self._stop_rules.forgive(late_s)
        self.scaled.forgive(late_s)
        self.samples.forgive(self.now, late_s)
        for seen in self.workers.values():
            seen.due += late_s
            seen.last_sample_until += late_s if seen.last_sample_until else 0.0
            seen.still_at = None
            seen.killed_at += late_s if before - seen.killed_at < 10 else 0.0  # else given up
        if self.txn is not None:
            self.txn.forgive(late_s, before, self.now)

    def _afterwards(self, next_deadline: float | None) -> None:
        if next_deadline is not None and next_deadline <= self.now:
            raise Unsafe("the next deadline is in the past: the master would spin")
        if self._scaled:
            self._scaled = False
            let_go_unspawned(self)
        if self.found:
            hanging.judge_found(self)
        self.samples.judge(self.now, over=self.finished)
        self._stop_rules.judge(self.now, over=self.stopping)
        if self._steps % 8 == 0:
            judge_deadlines(self)

    # ---- events

    def _spawned(self, event: ev.Spawned) -> None:
        seen = self.workers.get(event.worker)
        if seen is not None and seen.state == "requested":
            seen.enter("starting", self.now + seen.policy.boot_timeout_s)

    def _spawn_failed(self, event: ev.SpawnFailed) -> None:
        seen = self.workers.pop(event.worker)
        seen.alive = False
        if self.in_force(seen) and not seen.told_to_end:
            self.failures.count(seen.place, self.now, free=0)  # a fork that fails always waits
        self._candidate_failed(seen)

    def _ready(self, event: ev.Ready) -> None:
        seen = self.workers.get(event.worker)
        if seen is not None and seen.state in {"requested", "starting"}:
            self.ever_ready = self.ever_ready or not seen.is_template
            seen.ready_at = self.now
            seen.enter("ready", float("inf"))
        if seen is not None and not seen.is_template:
            hanging.is_ready(self.samples, seen, self.now)

    def _boot_failed(self, event: ev.BootFailed) -> None:
        seen = self.workers.get(event.worker)
        if seen is not None and seen.state in {"requested", "starting", "lost"}:
            seen.enter("failed", self.now + seen.policy.quit_grace_s)
            self._candidate_failed(seen)
            self._cannot_boot(seen)

    def _drain_started(self, event: ev.DrainStarted) -> None:
        seen = self.workers.get(event.worker)
        if seen is not None and seen.state in {"ready", "parked", "lost"}:
            self._leaves(seen)

    def _leaves(self, seen: Seen) -> None:
        self._candidate_failed(seen)
        if self.in_force(seen):  # of another one nothing is counted
            self.failures.forget_healthy(seen, self.now)
            if not (seen.told_to_end or seen.has_proved_itself(self.now)):
                self.failures.may_count(seen, siblings=0)
        seen.left = True
        seen.enter("draining", self.now + seen.policy.drain_timeout_s + DRAIN_MARGIN_S)

    def _channel_closed(self, event: ev.ChannelClosed) -> None:
        seen = self.workers.get(event.worker)
        if seen is not None and hanging.has_closed_channel(seen):
            seen.enter("lost", self.now + LINK_GRACE_S)
            if self.txn is not None:
                self.txn.lost(seen, self.now)

    def _exited(self, event: ev.Exited) -> None:
        seen = self.workers.pop(event.worker, None)
        if seen is None:
            return
        seen.alive = False
        groups.ended(self, seen)
        if not seen.told_to_end:
            self._candidate_failed(seen)
            self._cannot_boot(seen)
            if self.in_force(seen):
                judge_end(self, seen, event.status)

    def _candidate_failed(self, seen: Seen) -> None:
        if self.txn is not None and seen.generation == self.txn.generation and not seen.told_to_end:
            self.txn.failed = True

    def _observed(self, event: ev.Observed) -> None:
        seen = self.workers.get(event.worker)
        if seen is not None and not seen.is_template:
            hanging.judge_observed(self, seen, event)
            judge_observed(self, seen, event)
            groups.heard_observed(self, seen, event)
            if seen.must_die:
                self._candidate_failed(seen)
                self._cannot_boot(seen)

    def _asked(self, event: Asked) -> None:
        if event.request:
            self.asked[event.request] = event
        if isinstance(event, ev.StopAsked):
            self._stop_rules.heard(event, self.now, serving=any(w.serving for w in self.workers.values()))
        if isinstance(event, ev.ScaleAsked) and self._stop_rules.until is None:
            self._scale(event)
        if isinstance(event, ev.RecycleAsked) and self._stop_rules.until is None:
            recycling.asked(self, event)

    def _scale(self, event: ev.ScaleAsked) -> None:
        self._scaled = True
        for name in [name for name in self.sizes if event.pool in {"", name}]:
            self.sizes[name] = scaling.asked(self, name, event)
            if self.txn is not None and name in self.txn.sizes:
                self.txn.sizes[name] = self.sizes[name]

    def _prepared(self, event: ev.Prepared) -> None:
        txn = self.txn
        if txn is None or txn.generation != event.generation:
            raise Unsafe("prepared what was not asked for")
        txn.policies = {name: policy for name, policy in event.policies.items() if txn.touches(name)}
        if txn.restarts:
            restarts.begin(self, txn)
        for name, policy in txn.policies.items():
            txn.sizes[name] = scaling.size_after(self, name, policy)

    def _prepare_failed(self, event: ev.PrepareFailed) -> None:
        self.txn = None

    def _cannot_boot(self, seen: Seen) -> None:
        """The first start may be given up for it."""
        self.doomed = self.doomed or not (self.ever_ready or self._stop_rules.until is not None)

    # ---- actions

    def _spawn(self, action: act.Spawn) -> None:
        if action.worker <= self.highest_worker:
            raise Unsafe(f"worker number {action.worker} was used before")
        if self.stopping:
            raise Unsafe("spawned while stopping")
        self.highest_worker = action.worker
        policy = self._policy_of(action)
        seen = Seen(action.worker, action.pool, action.slot, action.generation, policy)
        seen.begun_at = self.now
        judge_source(self, seen, action)
        restarts.judge_spawn(self, seen)
        if self.in_force(seen):
            groups.judge_spawn(self, seen)
            judge_heir(self, seen)
        self.workers[action.worker] = seen
        judge_active(self, action.pool)
        if self.in_force(seen):
            self.failures.judge_spawn(seen.place, policy, self.now)

    def _policy_of(self, action: act.Spawn) -> PoolPolicy:
        txn = self.txn
        if txn is not None and action.generation == txn.generation:
            if not txn.touches(action.pool):
                raise Unsafe(f"a reload of {txn.pools} began a worker of {action.pool}")
            txn.judge_spawn(action, self.workers, self.now)
            return txn.policies[action.pool]
        if action.generation != self.generations.get(action.pool):
            raise Unsafe(f"spawned into generation {action.generation}, which is nobody's")
        if txn is not None and txn.policies and self.reloads(action.pool) and self._serving(action.pool):
            raise Unsafe("spawned into the old generation while a reload tries what is on disk")
        return self.policies[action.pool]

    def _alive(self, worker: int, what: str) -> Seen:
        seen = self.workers.get(worker)
        if seen is None:
            raise Unsafe(f"{what} to worker {worker}, which is reaped")
        return seen

    def _serving(self, pool: str, besides: Seen | None = None) -> int:
        return sum(w.serving for w in self.workers.values() if w.pool == pool and w is not besides)

    def _keeps_serving(self, seen: Seen, what: str) -> None:
        needed = seen.serving and not self.stopping and seen.pool in self.sizes
        needed = needed and restarts.may_stay(self, seen)
        if needed and not self._serving(seen.pool, seen):
            raise Unsafe(f"{what} to {seen}, the last that serves")

    def _serve(self, action: act.Serve) -> None:
        seen = self._alive(action.worker, "serve")
        if seen.state not in {"ready", "parked"} or seen.serving:
            raise Unsafe(f"serve to {seen}")
        if self.txn is not None:
            self.txn.told_to_serve(seen, self.now, self._serving(seen.pool))
        seen.serve(self.now)

    def _park(self, action: act.Park | act.ReleaseClients) -> None:
        seen = self._alive(action.worker, "park")
        txn = self.txn
        tried = txn is not None and seen.generation == txn.generation
        if seen.state != "ready" or txn is None or txn.failed or tried or not txn.touches(seen.pool):
            raise Unsafe(f"park to {seen}")
        self._keeps_serving(seen, "park")
        if seen.serving:
            txn.changed_at = self.now
        seen.enter("parked", float("inf"))
        txn.judge_park(seen.pool, self.workers, self.now)
        judge_room(self, seen.pool)

    def _drain(self, action: act.Drain) -> None:
        seen = self._alive(action.worker, "drain")
        if seen.state == "lost":
            judge_hung_up(self, seen)
            return
        if seen.state not in {"ready", "parked"}:
            raise Unsafe(f"drain to {seen}")
        self._keeps_serving(seen, "drain")
        judge_retired(self, seen)
        served = seen.state == "ready" and seen.served_at > 0  # who never did is gone in a moment
        seen.told_to_end = True
        seen.enter("draining", self.now + seen.policy.drain_timeout_s + DRAIN_MARGIN_S)
        tries = self.txn is not None and self.txn.touches(seen.pool)
        stays = (
            seen.generation == self.txn.generation if self.txn is not None and tries else self.in_force(seen)
        )
        stays = stays and restarts.may_stay(self, seen)
        if served and not self.stopping and stays and seen.pool in self.sizes:
            judge_room(self, seen.pool)

    def _observe(self, action: act.Observe) -> None:
        hanging.looked(self)

    def _quit(self, action: act.Quit) -> None:
        seen = self._alive(action.worker, "quit")
        if seen.state in {"requested", "failed", "quitting", "dumped", "killed"}:
            raise Unsafe(f"quit to {seen}")
        self._keeps_serving(seen, "quit")
        seen.told_to_end = True
        seen.enter("quitting", self.now + seen.policy.quit_grace_s)

    def _dump(self, action: act.Dump) -> None:
        seen = self._alive(action.worker, "dump")
        hanging.judge_dump(self, seen)
        judge_dumped(seen)
        self._candidate_failed(seen)
        self._cannot_boot(seen)
        seen.enter("dumped", self.now + seen.policy.dump_grace_s)

    def _kill(self, action: act.Kill) -> None:
        seen = self._alive(action.worker, "kill")
        early = (seen.due > self.now + 1e-6 or self.late) and not seen.must_die
        if seen.state in {"requested", "killed"} or (early and not self.stopping):
            raise Unsafe(f"kill to {seen} before its time")
        hanging.judge_kill(self, seen)
        if not seen.must_die:
            self._keeps_serving(seen, "kill")
        if self.stopping:
            seen.told_to_end = True
        seen.enter("killed", float("inf"))
        seen.killed_at = self.now

    def _prepare(self, action: act.Prepare) -> None:
        takeovers.begins(self, action)
        if self.txn is not None or action.generation <= self.generation:
            raise Unsafe(f"prepare {action.generation} while {self.txn} runs")
        self.txn = Transaction(
            action.generation, action.pools, self.restarts_next, known=frozenset(self.sizes)
        )
        self._scaled = True  # heirs are let go as by a smaller size

    def _adopt(self, action: act.Adopt) -> None:
        txn = self.txn
        if txn is None or txn.generation != action.generation:
            raise Unsafe("adopted what was not tried")
        txn.judge_commit(self.workers, self.now)
        self.generation, self.txn = txn.generation, None
        for name in [name for name in {*self.sizes, *txn.sizes} if txn.touches(name)]:
            self.alone.pop(name, None)
            self.failures.begin_anew(name)
            before, after = self.policies.get(name), txn.policies.get(name)
            if before is None or after is None or not scaling.same_size(before, after):
                self.scaled.begin_anew(name)
            self.groups.begin_anew(name)
            for book in (self.policies, self.sizes, self.generations, self.refused_at):
                book.pop(name, None)
        self.policies |= txn.policies
        self.sizes |= txn.sizes
        self.generations |= dict.fromkeys(txn.sizes, txn.generation)

    def _abandon(self, action: act.Abandon) -> None:
        if self.txn is None or self.txn.generation != action.generation:
            raise Unsafe("abandoned what was not tried")
        for name in filter(self.txn.touches, {*self.sizes, *self.txn.sizes}):
            self.refused_at.setdefault(name, self.now)
        if self.txn.restarts:
            restarts.go_back(self, self.txn)
        self.txn = None

    def _answer(self, action: act.Answer) -> None:
        if self.asked.pop(action.request, None) is None:
            raise Unsafe(f"answered twice, or nobody: {action}")

    def _close(self, action: act.CloseListeners) -> None:
        self._stop_rules.closes(self.now)
        self.samples.says_what_it_waits_for(self.now, 1.0)
        self.stopping = True

    def _note(self, action: act.Note) -> None:
        if isinstance(action.record, ReloadBegun):
            self.restarts_next = action.record.restart
        if self.stopping and isinstance(action.record, StopWaits):
            self.samples.says_what_it_waits_for(self.now, 5.0)
        judge_note(self, action)

    def _finish(self, action: act.Finish) -> None:
        self.finished = True
        if self.workers:
            raise Unsafe(f"finished while {list(self.workers.values())} live")
        if action.status not in ({0, 3, 4} if self.doomed else {0}):
            raise Unsafe(f"finished with status {action.status}")
        if self.asked:
            raise Unsafe(f"finished without an answer to {self.asked}")


_EVENTS = {
    ev.Spawned: Observer._spawned,
    ev.SpawnFailed: Observer._spawn_failed,
    ev.Ready: Observer._ready,
    ev.BootFailed: Observer._boot_failed,
    ev.DrainStarted: Observer._drain_started,
    ev.ChannelClosed: Observer._channel_closed,
    ev.Exited: Observer._exited,
    ev.ReloadAsked: Observer._asked,
    ev.RestartAsked: Observer._asked,
    ev.ScaleAsked: Observer._asked,
    ev.RecycleAsked: Observer._asked,
    ev.StopAsked: Observer._asked,
    ev.Killed: lambda _observer, _event: None,
    ev.Spared: lambda _observer, _event: None,
    ev.Stuck: hanging.heard_stuck,
    ev.Observed: lambda _observer, _event: None,
    ev.Obeyed: lambda _observer, _event: None,
    ev.Measured: lambda _observer, _event: None,
    ev.LoadObserved: scaling.heard_load,
    ev.CapacityMeasured: lambda _observer, _event: None,
    ev.GroupMemoryObserved: groups.heard_group,
    ev.TakeoverAsked: lambda _observer, _event: None,
    ev.SuccessorEnded: lambda _observer, _event: None,
    ev.Prepared: Observer._prepared,
    ev.PrepareFailed: Observer._prepare_failed,
}
_ACTIONS = {
    act.Spawn: Observer._spawn,
    act.Serve: Observer._serve,
    act.Park: Observer._park,
    act.ReleaseClients: Observer._park,
    act.Drain: Observer._drain,
    act.Observe: Observer._observe,
    act.Note: Observer._note,
    act.Quit: Observer._quit,
    act.Dump: Observer._dump,
    act.Spare: hanging.judge_spared,
    act.Kill: Observer._kill,
    act.Prepare: Observer._prepare,
    act.Adopt: Observer._adopt,
    act.Abandon: Observer._abandon,
    act.Answer: Observer._answer,
    act.CloseListeners: Observer._close,
    act.OfferListeners: takeovers.offered,
    act.Withdraw: takeovers.decided,
    act.HandOver: takeovers.decided,
    act.Finish: Observer._finish,
}
