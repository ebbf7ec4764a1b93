"""What the news of one worker means: for its life, its slot, and the generation it belongs to.

Each event, and each deadline of a worker, is taken into the worker's life (`worker`); when that
makes it a failure, it is judged whom it ends (`judgement`), and otherwise its slot pays
for it (`crash`). Nothing here starts a replacement: that follows from what is left (`reconcile`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from gwctl.supervisor.core import crash, hangs, judgement, kept, recycling, templates, wording
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import AT_DEADLINE, FORK_ANSWER_S, Failure, News, Order, State, Worker
from gwctl.wording import seconds


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
            changed = worker.news(News.READY, now)
            if not worker.is_template:
                fleet.ever_ready = fleet.ever_ready or changed
                hangs.look_soon(fleet, worker, turn)
        case ev.BootFailed(kind=kind, message=message, traceback=traceback):
            if worker.news(News.BOOT_FAILED, now) and not worker.leaving:
                worker.failure = Failure(kind, message, traceback)
                judgement.judge(fleet, worker, turn)
        case ev.DrainStarted(reason=reason):
            if worker.news(News.DRAIN_STARTED, now) and not worker.leaving:
                _left(fleet, worker, reason or "told by somebody else", turn)
        case ev.ChannelClosed():
            worker.deaf = True
            worker.news(News.CHANNEL_CLOSED, now)
        case ev.Stuck():
            hangs.gave_up(fleet, worker, event, turn)
        case ev.Obeyed(serving=serving):
            worker.confirmed = serving is worker.serving and worker.state in _CONFIRMED
        case ev.Exited():
            _exited(fleet, worker, event, turn)
        case _:
            assert_never(event)
    return True


def overdue(fleet: FleetState, worker: Worker, turn: Turn) -> None:
    """Its deadline has come: give the order that follows, or say that there is none."""
    was = worker.state
    if was is State.DUMPED and hangs.last_look(fleet, worker, turn):
        return
    order = AT_DEADLINE[was]
    if order is None:
        if was is State.REQUESTED and _fork_unanswered(fleet, worker, turn):
            worker.rearm(turn.now)
            return
        turn.note("error", wording.overdue(worker, turn.now), worker=worker)
        worker.rearm(turn.now)
        if was is State.KILLED and not worker.leaving:
            worker.leaving = True
            if worker.generation == fleet.generation:
                crash.unreaped(fleet.pools[worker.pool], worker, turn)
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
    limit = seconds(FORK_ANSWER_S)
    reason = template.reason = f"was asked to fork {worker.name} and did not answer within {limit}"
    turn.order(template, Order.DUMP, reason=f"template {reason}")
    if not template.leaving and template.failure is None:
        template.failure = Failure("lost", reason)
        judgement.judge(fleet, template, turn)
    return True


def judge_observed(fleet: FleetState, news: Sequence[ev.Event], turn: Turn) -> set[str]:
    """Judge by numbers those who live on after all ``news``; returns the pools in which that matters."""
    pools = set()
    for event in news:
        if isinstance(event, ev.Observed):
            worker = turn.workers.get(event.worker)
            if worker is not None and not worker.is_template and _observed(fleet, worker, event, turn):
                pools.add(worker.pool)
    return pools


def _observed(fleet: FleetState, worker: Worker, facts: ev.Observed, turn: Turn) -> bool:
    before, worker.facts = worker.facts, facts
    if before is None:
        worker.luck = facts.luck
    hung = hangs.judge(fleet, worker, before, facts, turn)
    return recycling.judge(fleet, worker, facts, turn) or hung


def _spawned(fleet: FleetState, worker: Worker, pid: int, turn: Turn) -> None:
    """It exists. Say so if its code may be other than that of its siblings."""
    worker.pid = pid
    if not worker.news(News.SPAWNED, turn.now):
        return
    current = worker.generation == fleet.generation and not worker.is_template
    if current and fleet.pools[worker.pool].degraded(worker.generation):
        worker.from_disk = True
        text = f"started while degraded ({wording.DEGRADED}): it runs what is on disk"
        turn.note("warning", text, worker=worker)


def _spawn_failed(fleet: FleetState, worker: Worker, event: ev.SpawnFailed, turn: Turn) -> None:
    if not worker.news(News.SPAWN_FAILED, turn.now):
        return
    pool = _reaped(fleet, worker, turn)
    if worker.leaving:
        return
    if judgement.tried(fleet, worker):
        worker.failure = Failure("spawn", f"could not be started: {event.reason}")
        judgement.judge(fleet, worker, turn)
    elif worker.generation == fleet.generation:
        crash.spawn_failed(pool, worker, event.reason, event.luck, turn)


def _left(fleet: FleetState, worker: Worker, why: str, turn: Turn) -> None:
    if judgement.tried(fleet, worker):
        worker.failure = Failure("left", f"had to drain: {why}")
        judgement.judge(fleet, worker, turn)
    elif worker.generation == fleet.generation:
        crash.drain_started(fleet.pools[worker.pool], worker, why, turn)
    else:
        kept.died(fleet, worker, turn, f"pid {worker.pid} drains, {why}")
    worker.leaving = True


def _exited(fleet: FleetState, worker: Worker, event: ev.Exited, turn: Turn) -> None:
    was = worker.state
    pool = _reaped(fleet, worker, turn)
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
            worker.failure = Failure("exit", wording.died(worker, event, turn.now), event.frames)
        judged = news and judgement.judge(fleet, worker, turn)
        if judged:
            pass
        elif worker.generation != fleet.generation:
            kept.died(fleet, worker, turn)
        elif worker.is_template:
            templates.exited(pool, worker, event, turn)
        else:
            crash.exited(pool, worker, event, turn, waits=_waits(fleet, pool))
    worker.news(News.EXITED, turn.now)


def _waits(fleet: FleetState, pool: Pool) -> str:
    """Until when a slot stays empty whatever its own record says; empty: it does not."""
    if not pool.ready:
        return ""
    if fleet.reload is not None:
        return "when the reload is decided"
    return f"at the next reload: {fleet.degraded}" if fleet.rolled_back else ""


_CONFIRMED = frozenset({State.READY, State.PARKED})


def _reaped(fleet: FleetState, worker: Worker, turn: Turn) -> Pool:
    del turn.workers[worker.id]
    pool = fleet.pools[worker.pool]
    del (pool.templates if worker.is_template else pool.members)[worker.id]
    return pool
