"""What the news of one worker means: for its life, its slot, and the generation it belongs to.

Each event, and each deadline of a worker, is taken into the worker's life (`worker`); when that
makes it a failure, it is judged whom it ends (`judgement`), and otherwise its slot pays
for it (`crash`). Nothing here starts a replacement: that follows from what is left (`reconcile`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from gwctl.records.sentences import died
from gwctl.records.workers import (
    ChannelClosed,
    ForkUnanswered,
    StartedWhileDegraded,
    WorkerEndedUnasked,
    WorkerKilled,
    WorkerRecovered,
    WorkerUnreaped,
)
from gwctl.supervisor.core import crash, hangs, judgement, kept, recycling, scaling, wording
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import AT_DEADLINE, Failure, LifeEvent, Order, State, Worker


def apply_event(fleet: FleetState, worker: Worker, event: ev.WorkerEvent, turn: Turn) -> bool:
    """Take in the event; true when the worker's pool is to be looked at again."""
    now = turn.now
    match event:
        case ev.Observed():
            return False  # taken in when all news are read: see `judge_observed`
        case ev.Spawned(pid=pid):
            _spawned(fleet, worker, pid, turn)
        case ev.SpawnFailed():
            _spawn_failed(fleet, worker, event, turn)
        case ev.Ready():
            _ready(fleet, worker, turn)
        case ev.BootFailed(kind=kind, message=message, traceback=traceback):
            if worker.apply(LifeEvent.BOOT_FAILED, now) and not worker.leaving:
                worker.failure = Failure(kind, message, traceback)
                judgement.judge(fleet, worker, turn)
        case ev.DrainStarted(reason=reason):
            if worker.apply(LifeEvent.DRAIN_STARTED, now) and not worker.leaving:
                _left(fleet, worker, reason or wording.TOLD_BY_OTHERS, turn)
        case ev.ChannelClosed():
            worker.channel_closed = True
            worker.apply(LifeEvent.CHANNEL_CLOSED, now)
        case ev.Stuck():
            hangs.gave_up(fleet, worker, event, turn)
        case ev.Obeyed(serving=serving):
            worker.confirmed = serving is worker.serving and worker.state in _CONFIRMED
        case ev.Killed() | ev.Spared():
            _explained(worker, event, turn)
        case ev.Exited():
            _exited(fleet, worker, event, turn)
        case _:
            assert_never(event)
    return True


def overdue(fleet: FleetState, worker: Worker, turn: Turn) -> None:
    """Its deadline has come: give the order that follows, or say that there is none."""
    was = worker.state
    if was is State.DUMPED and hangs.last_sample(fleet, worker, turn):
        return
    order = AT_DEADLINE[was]
    if order is Order.DRAIN:
        if worker.ready_at is not None and not worker.is_template:
            _hung_up(fleet, worker, turn)
            return
        order = Order.DUMP  # it has no clients
    if order is None:
        if was is State.REQUESTED and _fork_unanswered(fleet, worker, turn):
            worker.rearm(turn.now)
            return
        waited_s = turn.now - worker.since
        if was is State.KILLED:
            worker.unreaped = True
            turn.note(WorkerUnreaped(process=worker.process, waited_s=waited_s))
        else:
            turn.note(ForkUnanswered(process=worker.process, waited_s=waited_s))
        worker.rearm(turn.now)
        if was is State.KILLED and not worker.leaving:
            worker.leaving = True
            pool = fleet.pools[worker.pool]
            if worker.generation == pool.generation:
                crash.unreaped(pool, worker, turn)
        return
    reason = worker.reason = worker.reason or wording.too_long(worker)
    turn.order(worker, order, reason=reason)
    if not worker.leaving and worker.failure is None:
        kind, dumped = "boot" if worker.ready_at is None else "lost", order is Order.DUMP
        worker.failure = Failure(kind, reason, dumped=worker.pid if dumped else 0)
        judgement.judge(fleet, worker, turn)


def _fork_unanswered(fleet: FleetState, worker: Worker, turn: Turn) -> bool:
    """The fork of ``worker`` is overdue: end the template that owes it; false when it is not at fault."""
    template = turn.workers.get(worker.template) if worker.template is not None else None
    if template is None or template.state is not State.READY:
        return False
    reason = template.reason = wording.did_not_fork(worker.process.name)
    turn.order(template, Order.DUMP, reason=wording.of_template(reason))
    if not template.leaving and template.failure is None:
        template.failure = Failure("lost", reason)
        judgement.judge(fleet, template, turn)
    return True


def judge_observed(fleet: FleetState, news: Sequence[ev.Event], turn: Turn) -> set[str]:
    """Judge by numbers those who live on after all ``news``; returns the pools in which that matters."""
    pools: set[str] = set()
    seen: set[str] = set()
    for event in news:
        if isinstance(event, ev.Observed):
            worker = turn.workers.get(event.worker)
            if worker is None or worker.is_template:
                continue
            seen.add(worker.pool)
            if _observed(fleet, worker, event, turn):
                pools.add(worker.pool)
    for name in seen:
        scaling.note_sizes(fleet.pools[name], turn.now)
    return pools


def _observed(fleet: FleetState, worker: Worker, observed: ev.Observed, turn: Turn) -> bool:
    before, worker.observed = worker.observed, observed
    if before is None:
        worker.jitter = observed.jitter
    if not worker.young_bytes and worker.ready_at is not None:
        worker.young_bytes = observed.memory_bytes
    hung = hangs.judge(fleet, worker, before, observed, turn)
    return recycling.judge(fleet, worker, observed, turn) or hung


def _spawned(fleet: FleetState, worker: Worker, pid: int, turn: Turn) -> None:
    """It exists. Say so if its code may be other than that of its siblings."""
    worker.pid = pid
    if not worker.apply(LifeEvent.SPAWNED, turn.now):
        return
    pool = fleet.pools[worker.pool]
    if worker.generation == pool.generation and not worker.is_template and pool.degraded:
        worker.from_disk = True
        turn.note(StartedWhileDegraded(process=worker.process))


def _ready(fleet: FleetState, worker: Worker, turn: Turn) -> None:
    changed = worker.apply(LifeEvent.READY, turn.now)
    if not worker.is_template:
        fleet.ever_ready = fleet.ever_ready or changed
        hangs.sample_soon(fleet, worker, turn)


def _explained(worker: Worker, event: ev.Killed | ev.Spared, turn: Turn) -> None:
    """The order was carried out: say why it was given, and what the process was at."""
    if isinstance(event, ev.Killed):
        turn.note(WorkerKilled(process=worker.process, reason=event.reason, report=event.report))
    else:
        turn.note(WorkerRecovered(process=worker.process, reason=event.reason, report=event.report))


def _spawn_failed(fleet: FleetState, worker: Worker, event: ev.SpawnFailed, turn: Turn) -> None:
    if not worker.apply(LifeEvent.SPAWN_FAILED, turn.now):
        return
    pool = _reaped(fleet, worker, turn)
    if worker.leaving:
        return
    if judgement.tried(fleet, worker):
        worker.failure = Failure("spawn", wording.not_started(event.reason))
        judgement.judge(fleet, worker, turn)
    elif worker.generation == pool.generation:
        crash.spawn_failed(pool, worker, event.reason, event.jitter, turn)


def _hung_up(fleet: FleetState, worker: Worker, turn: Turn) -> None:
    """It has closed its channel and lives, and so do its clients: it drains, and another has its place."""
    turn.order(worker, Order.DRAIN)
    if not worker.leaving:
        turn.note(ChannelClosed(process=worker.process))
        _left(fleet, worker, wording.CHANNEL_CLOSED, turn)


def _left(fleet: FleetState, worker: Worker, why: str, turn: Turn) -> None:
    pool = fleet.pools[worker.pool]
    if judgement.tried(fleet, worker):
        worker.failure = Failure("left", wording.had_to_drain(why))
        judgement.judge(fleet, worker, turn)
    elif worker.generation == pool.generation:
        crash.drain_started(pool, worker, why, turn)
    else:
        kept.died(fleet, worker, turn, wording.drains(worker.pid, why))
    worker.leaving = True


def _exited(fleet: FleetState, worker: Worker, event: ev.Exited, turn: Turn) -> None:
    was = worker.state
    pool = _reaped(fleet, worker, turn)
    if event.report is not None:
        turn.note(WorkerEndedUnasked(process=worker.process, reason=event.reason, report=event.report))
    if fleet.reload is not None and not worker.leaving:
        fleet.reload.watches.cut_short(worker, event.cut)
    ending = fleet.draining
    if ending is not None:
        ending.cut += event.cut
        if was is State.KILLED:
            ending.count_killed(worker)
    if worker.leaving or ending is not None:  # nobody is replaced any more
        crash.finished(worker, was, event, turn)
    else:
        news = worker.failure is None  # else it was judged when it became known
        if news:
            text = died(worker.pid, crash.death(worker, event, turn.now))
            worker.failure = Failure("exit", text, event.frames)
        judged = news and judgement.judge(fleet, worker, turn)
        if judged:
            pass
        elif worker.generation != pool.generation:
            kept.died(fleet, worker, turn)
        elif worker.is_template:
            crash.template_exited(pool, worker, event, turn)
        else:
            crash.exited(pool, worker, event, turn, held=_held(fleet, pool))
    worker.apply(LifeEvent.EXITED, turn.now)


def _held(fleet: FleetState, pool: Pool) -> str:
    """Until when a slot stays empty whatever its own record says; empty: it does not."""
    if not pool.ready:
        return ""
    if fleet.reload is not None and fleet.reload.touches(pool.name):
        return wording.RELOAD_DECIDES
    return wording.next_reload(fleet.degraded) if pool.rolled_back else ""


_CONFIRMED = frozenset({State.READY, State.PARKED})


def _reaped(fleet: FleetState, worker: Worker, turn: Turn) -> Pool:
    del turn.workers[worker.id]
    pool = fleet.pools[worker.pool]
    del (pool.templates if worker.is_template else pool.members)[worker.id]
    return pool
