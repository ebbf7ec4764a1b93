"""What the news of one worker means: for its life, its slot, and the generation it belongs to.

Each event, and each deadline of a worker, is taken into the worker's life (`life`); when that
makes it a failure, the fleet judges whom it ends (`Fleet.judge`), and otherwise its slot pays
for it (`crash`). Nothing here starts a replacement: that follows from what is left (`pool`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

from gwctl.supervisor.core import crash, hangs, kept, recycling, templates, wording
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.turn import Desk
from gwctl.supervisor.core.worker import AT_DEADLINE, Failure, News, Order, State, Worker

if TYPE_CHECKING:
    from gwctl.supervisor.core.fleet import Fleet


def hear(fleet: Fleet, worker: Worker, event: ev.WorkerEvent, desk: Desk) -> bool:
    """Take in the event; true when the worker's pool is to be looked at again."""
    now = desk.now
    match event:
        case ev.Observed():
            return False  # taken in when all news are read: see `judge_observed`
        case ev.Spawned(pid=pid):
            _spawned(fleet, worker, pid, desk)
        case ev.SpawnFailed():
            _spawn_failed(fleet, worker, event, desk)
        case ev.Ready():
            changed = worker.news(News.READY, now)
            if not worker.is_template:
                fleet.ever_ready = fleet.ever_ready or changed
                hangs.look_soon(fleet, worker, desk)
        case ev.BootFailed(kind=kind, message=message, traceback=traceback):
            if worker.news(News.BOOT_FAILED, now) and not worker.leaving:
                worker.failure = Failure(kind, message, traceback)
                fleet.judge(worker)
        case ev.DrainStarted(reason=reason):
            if worker.news(News.DRAIN_STARTED, now) and not worker.leaving:
                _left(fleet, worker, reason or "told by somebody else", desk)
        case ev.ChannelClosed():
            worker.deaf = True
            worker.news(News.CHANNEL_CLOSED, now)
        case ev.Stuck():
            hangs.gave_up(fleet, worker, event)
        case ev.Obeyed(serving=serving):
            worker.confirmed = serving is worker.serving and worker.state in _CONFIRMED
        case ev.Exited():
            _exited(fleet, worker, event, desk)
        case _:
            assert_never(event)
    return True


def overdue(fleet: Fleet, worker: Worker, desk: Desk) -> None:
    """Its deadline has come: give the order that follows, or say that there is none."""
    was = worker.state
    if was is State.DUMPED and hangs.last_look(fleet, worker, desk):
        return
    order = AT_DEADLINE[was]
    if order is None:
        if was is State.REQUESTED and templates.unanswered(fleet, worker, desk):
            worker.rearm(desk.now)
            return
        desk.note("error", wording.overdue(worker, desk.now), worker=worker)
        worker.rearm(desk.now)
        if was is State.KILLED and not worker.leaving:
            worker.leaving = True
            if worker.generation == fleet.generation:
                crash.unreaped(fleet.pools[worker.pool], worker, desk)
        return
    reason = worker.reason = worker.reason or wording.too_long(worker)
    desk.order(worker, order, reason=reason)
    if not worker.leaving and worker.failure is None:
        kind, dumped = "boot" if worker.ready_at is None else "lost", order is Order.DUMP
        worker.failure = Failure(kind, reason, dumped=worker.pid if dumped else 0)
        fleet.judge(worker)


def judge_observed(fleet: Fleet, news: Sequence[ev.Event], desk: Desk) -> set[str]:
    """Judge by numbers those who live on after all ``news``; returns the pools in which that matters."""
    pools = set()
    for event in news:
        if isinstance(event, ev.Observed):
            worker = desk.workers.get(event.worker)
            if worker is not None and not worker.is_template and _observed(fleet, worker, event, desk):
                pools.add(worker.pool)
    return pools


def _observed(fleet: Fleet, worker: Worker, facts: ev.Observed, desk: Desk) -> bool:
    before, worker.facts = worker.facts, facts
    if before is None:
        worker.luck = facts.luck
    hung = hangs.judge(fleet, worker, before, facts, desk)
    return recycling.judge(fleet, worker, facts, desk) or hung


def _spawned(fleet: Fleet, worker: Worker, pid: int, desk: Desk) -> None:
    """It exists. Say so if its code may be other than that of its siblings."""
    worker.pid = pid
    if not worker.news(News.SPAWNED, desk.now):
        return
    current = worker.generation == fleet.generation and not worker.is_template
    if current and fleet.pools[worker.pool].degraded(worker.generation):
        worker.from_disk = True
        text = f"started while degraded ({wording.DEGRADED}): it runs what is on disk"
        desk.note("warning", text, worker=worker)


def _spawn_failed(fleet: Fleet, worker: Worker, event: ev.SpawnFailed, desk: Desk) -> None:
    if not worker.news(News.SPAWN_FAILED, desk.now):
        return
    pool = _bury(fleet, worker, desk)
    if worker.leaving:
        return
    if fleet.tried(worker):
        worker.failure = Failure("spawn", f"could not be started: {event.reason}")
        fleet.judge(worker)
    elif worker.generation == fleet.generation:
        crash.spawn_failed(pool, worker, event.reason, event.luck, desk)


def _left(fleet: Fleet, worker: Worker, why: str, desk: Desk) -> None:
    if fleet.tried(worker):
        worker.failure = Failure("left", f"had to drain: {why}")
        fleet.judge(worker)
    elif worker.generation == fleet.generation:
        crash.drain_started(fleet.pools[worker.pool], worker, why, desk)
    else:
        kept.died(fleet, worker, desk, f"pid {worker.pid} drains, {why}")
    worker.leaving = True


def _exited(fleet: Fleet, worker: Worker, event: ev.Exited, desk: Desk) -> None:
    was = worker.state
    pool = _bury(fleet, worker, desk)
    ending = fleet.ending if fleet.ending is not None and not fleet.ending.accepting else None
    if ending is not None:
        ending.cut += event.cut
        if was is State.KILLED:
            ending.count_killed(worker)
    if worker.leaving or ending is not None:  # nobody is replaced any more
        crash.finished(worker, was, event, desk)
    else:
        news = worker.failure is None  # else it was judged when it became known
        if news:
            worker.failure = Failure("exit", wording.died(worker, event, desk.now), event.frames)
        judged = news and fleet.judge(worker)
        if judged:
            pass
        elif worker.generation != fleet.generation:
            kept.died(fleet, worker, desk)
        elif worker.is_template:
            templates.exited(pool, worker, event, desk)
        else:
            crash.exited(pool, worker, event, desk, waits=_waits(fleet, pool))
    worker.news(News.EXITED, desk.now)


def _waits(fleet: Fleet, pool: Pool) -> str:
    """Until when a slot stays empty whatever its own record says; empty: it does not."""
    if not pool.ready:
        return ""
    if fleet.reload is not None:
        return "when the reload is decided"
    return f"at the next reload: {fleet.degraded}" if fleet.rolled_back else ""


_CONFIRMED = frozenset({State.READY, State.PARKED})


def _bury(fleet: Fleet, worker: Worker, desk: Desk) -> Pool:
    del desk.workers[worker.id]
    pool = fleet.pools[worker.pool]
    del (pool.templates if worker.is_template else pool.members)[worker.id]
    return pool
