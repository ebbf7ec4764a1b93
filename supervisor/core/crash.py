"""What an exit that nobody planned does to its slot, and what is said about it.

The breaker of a slot that keeps dying opens where a death is counted (`Slot.died`). It closes when a worker
of the slot has been ready for ``healthy_after_s``: that is no event, so the pool has a deadline for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from gwctl.records.base import TEMPLATE, Level
from gwctl.records.workers import (
    Death,
    Retry,
    SlotKeepsDying,
    SlotRecovered,
    SpawnFailed,
    TemplateEnded,
    TemplateFailed,
    WorkerDied,
    WorkerDrains,
    WorkerEndedEarly,
    WorkerFailed,
    WorkerFinished,
    WorkerGone,
    WorkerLeft,
)
from gwctl.supervisor.core.events import Exited
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.slot import Slot
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Failure, Order, State, Worker

_EXPLAINED: Final = frozenset({Order.DUMP, Order.KILL})
_SIGKILL: Final = -9


def death(worker: Worker, event: Exited, now: float) -> Death:
    """What is known of an exit that nobody asked for."""
    return Death(
        event.status,
        event.cause,
        None if worker.ready_at is None else now - worker.ready_at,
        event.serving,
        killed_by_others=event.status == _SIGKILL and not event.cause and worker.told is not Order.KILL,
    )


def exited(pool: Pool, worker: Worker, event: Exited, turn: Turn, *, held: str) -> None:
    """Count it and decide when the slot is tried again. ``held``: until then the slot stays empty."""
    slot, policy, now = pool.slot(worker.slot), worker.policy, turn.now
    pool.restarts += 1
    alive_s = 0.0 if worker.ready_at is None else now - worker.ready_at
    breaker_healthy(pool, worker.slot, alive_s, turn)
    was_open, others_serve = slot.open, pool.ready > 0
    failure = worker.failure
    left = event.status == 0 and worker.ready_at is not None and (failure is None or failure.kind == "exit")
    # Having been healthy it is no failure of the slot, however it ended.
    free = alive_s >= policy.healthy_after_s or (failure is not None and failure.kind == "hang")
    wait = 0.0
    if left:
        wait = slot.left(now, policy, event.jitter, others_serve=others_serve)
    elif not free:
        wait = slot.died(now, policy, event.jitter, others_serve=others_serve)
    retry = _retry(pool, worker, wait, now, held)
    turn.note(_record(worker, event, retry, now, left=left, trace=_news_of(slot, failure)))
    if slot.open and not was_open:
        breaker_opened(pool, worker.slot, turn)


def _record(
    worker: Worker, event: Exited, retry: Retry, now: float, *, left: bool, trace: str
) -> WorkerLeft | WorkerGone | WorkerDied | WorkerFailed:
    process, failure = worker.process, worker.failure
    if left:
        # A request that it leaves unanswered is lost.
        level: Level = "warning" if event.serving else "info"
        return WorkerLeft(level=level, process=process, serving=event.serving, retry=retry, traceback=trace)
    if worker.told in _EXPLAINED:  # one record has said why
        level = "warning" if retry.wait_s or retry.held else "debug"
        return WorkerGone(level=level, process=process, retry=retry, traceback=trace)
    if failure is None or failure.kind == "exit":
        return WorkerDied(process=process, death=death(worker, event, now), retry=retry, traceback=trace)
    return WorkerFailed(
        process=process, kind=failure.kind, reason=failure.message, retry=retry, traceback=trace
    )


def _news_of(slot: Slot, failure: Failure | None) -> str:
    """The traceback, if it is another one than before."""
    return failure.traceback if failure is not None and slot.tells(failure.traceback) else ""


def drain_started(pool: Pool, worker: Worker, why: str, turn: Turn) -> None:
    """Not by the policy; it finishes what it has, and its slot is free. One that soon does so again waits."""
    if worker.ready_at is not None:
        breaker_healthy(pool, worker.slot, turn.now - worker.ready_at, turn)
    wait = pool.slot(worker.slot).left(turn.now, worker.policy, 0.0, others_serve=False)
    retry = _retry(pool, worker, wait, turn.now)
    turn.note(WorkerDrains(process=worker.process, reason=why, retry=retry))


def spawn_failed(pool: Pool, worker: Worker, reason: str, jitter: float, turn: Turn) -> None:
    wait = pool.slot(worker.slot).failed(turn.now, worker.policy, jitter, at_once=False)
    retry = _retry(pool, worker, wait, turn.now)
    turn.note(SpawnFailed(process=worker.process, reason=reason, retry=retry))


def unreaped(pool: Pool, worker: Worker, turn: Turn) -> None:
    """Killed long ago and still there: its slot goes to another process, no earlier than it would anyway.

    The slot may wait for longer already, because successors died beside this worker.
    """
    slot = pool.slot(worker.slot)
    due = slot.next_try_at
    slot.failed(turn.now, worker.policy, 0.0)
    slot.next_try_at = max(due, slot.next_try_at)


def template_exited(pool: Pool, template: Worker, event: Exited, turn: Turn) -> None:
    """Nobody planned it, and no reload and no start was ended by it."""
    slot, failure = pool.slot(TEMPLATE), template.failure
    reason = failure.message if failure is not None else ""
    by_itself = failure is None or failure.kind == "exit"
    if template.ready_at is None:
        wait = slot.failed(turn.now, template.policy, event.jitter)
        turn.note(
            TemplateFailed(
                process=template.process,
                reason=reason,
                died=by_itself and failure is not None,
                retry=_retry(pool, template, wait, turn.now),
                traceback=_news_of(slot, failure),
            )
        )
        return
    slot.lived(turn.now - template.ready_at, template.policy)
    from_disk = pool.differs_since is not None
    how: Literal["died", "killed", "left"] = "died"
    level: Level = "warning"
    if template.told is Order.KILL:  # the record of the kill has said why
        how = "killed"
    elif event.status == 0 and by_itself:
        how, level = "left", "warning" if from_disk else "info"
    turn.note(
        TemplateEnded(level=level, process=template.process, how=how, reason=reason, from_disk=from_disk)
    )


def finished(worker: Worker, was: State, event: Exited, turn: Turn) -> None:
    """A planned end; of interest when it was not a clean one."""
    took_s = turn.now - worker.since
    if event.status == 0 or worker.failure is not None:  # of a failure was told already
        turn.note(WorkerFinished(process=worker.process, took_s=took_s))
    elif was is not State.KILLED:
        turn.note(
            WorkerEndedEarly(
                process=worker.process,
                status=event.status,
                cause=event.cause,
                state=was.value,
                took_s=took_s,
                traceback=event.frames,
            )
        )


# ---- the breaker


def breaker_opened(pool: Pool, number: int, turn: Turn) -> None:
    """Say that the slot is tried slowly from now on."""
    slot = pool.slot(number)
    turn.note(
        SlotKeepsDying(
            pool=pool.name,
            slot=number,
            deaths=slot.deaths,
            within_s=turn.now - slot.failing_since,
            retry_s=pool.policy.breaker_retry_s,
            ready=pool.ready,
            size=pool.size,
        )
    )


def breaker_healthy(pool: Pool, number: int, ready_s: float, turn: Turn) -> None:
    """A worker of the slot has been ready for ``ready_s``; if that is long, its record is clear."""
    slot = pool.slot(number)
    was_open = slot.open
    slot.lived(ready_s, pool.policy)
    if was_open and not slot.open:
        turn.note(
            SlotRecovered(pool=pool.name, slot=number, ready_s=ready_s, ready=pool.ready, size=pool.size)
        )


def watch_breakers(pool: Pool, holders: Mapping[int, Worker], turn: Turn) -> None:
    """Close the breakers whose slot has a worker that proved itself; wake up for those that may yet."""
    for number, slot in pool.slots.items():
        worker = holders.get(number)
        if not slot.open or worker is None or not worker.serving:
            continue
        if worker.ready_at is None or worker.ready_at <= slot.failed_at:
            continue  # due to be replaced: it is its successors that die
        due = worker.ready_at + pool.policy.healthy_after_s
        if due <= turn.now:
            breaker_healthy(pool, number, turn.now - worker.ready_at, turn)
        elif pool.retry_at is None or due < pool.retry_at:
            pool.retry_at = due


def _retry(pool: Pool, worker: Worker, wait_s: float, now: float, held: str = "") -> Retry:
    slot = pool.slot(worker.slot)
    return Retry(wait_s, slot.failures, now - slot.failing_since if slot.failures else 0.0, held)
