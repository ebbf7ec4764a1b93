"""What an exit that nobody planned does to its slot, and what is said about it.

The breaker of a slot that keeps dying opens where a death is counted (`Slot.died`). It closes when a worker
of the slot has been ready for ``healthy_after_s``: that is no event, so the pool has a deadline for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gwctl.supervisor.core.events import Exited
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.wording import how_it_ended, what_next
from gwctl.supervisor.core.worker import Order, State, Worker
from gwctl.wording import seconds

_EXPLAINED: Final = frozenset({Order.DUMP, Order.KILL})


def exited(pool: Pool, worker: Worker, event: Exited, turn: Turn, *, waits: str) -> None:
    """Count it and decide when the slot is tried again. ``waits``: until then the slot stays empty."""
    slot, policy, now = pool.slot(worker.slot), worker.policy, turn.now
    pool.restarts += 1
    alive_s = 0.0 if worker.ready_at is None else now - worker.ready_at
    breaker_healthy(pool, worker.slot, alive_s, turn)
    was_open, others_serve = slot.open, pool.ready > 0
    failure = worker.failure
    if event.status == 0 and worker.ready_at is not None and (failure is None or failure.kind == "exit"):
        # A request that it leaves unanswered is lost.
        level = "warning" if event.serving else "info"
        wait = slot.left(now, policy, event.luck, others_serve=others_serve)
        text = f"pid {worker.pid} left by itself (exit status 0)" + (
            f", while serving {event.serving}" if event.serving else ""
        )
    else:
        # Having been healthy it is no failure of the slot, however it ended.
        free = alive_s >= policy.healthy_after_s or (failure is not None and failure.kind == "hang")
        level, wait = "error", 0.0
        if not free:
            wait = slot.died(now, policy, event.luck, others_serve=others_serve)
        text = f"pid {worker.pid}: {failure.message}" if failure and failure.kind != "exit" else ""
        text = text or (failure.message if failure else "")
        if worker.told in _EXPLAINED:  # one record has said why
            level, text = ("warning" if wait or waits else "debug"), f"pid {worker.pid} is gone"
    then = f"Replaced {waits}" if waits else _next(pool, worker, wait, now)
    frames = f"\n{failure.traceback}" if failure and slot.tells(failure.traceback) else ""
    turn.note(level, f"{text}. {then}{frames}", worker=worker)
    if slot.open and not was_open:
        breaker_opened(pool, worker.slot, turn)


def drain_started(pool: Pool, worker: Worker, why: str, turn: Turn) -> None:
    """Not by the policy; it finishes what it has, and its slot is free. One that soon does so again waits."""
    if worker.ready_at is not None:
        breaker_healthy(pool, worker.slot, turn.now - worker.ready_at, turn)
    wait = pool.slot(worker.slot).left(turn.now, worker.policy, 0.0, others_serve=False)
    text = f"pid {worker.pid} drains, {why}"
    turn.note("info", f"{text}. {_next(pool, worker, wait, turn.now)}", worker=worker)


def spawn_failed(pool: Pool, worker: Worker, reason: str, luck: float, turn: Turn) -> None:
    wait = pool.slot(worker.slot).failed(turn.now, worker.policy, luck, at_once=False)
    who = "template " if worker.is_template else ""
    text = f"{who}could not be started: {reason}. {_next(pool, worker, wait, turn.now)}"
    turn.note("error", text, worker=worker)


def unreaped(pool: Pool, worker: Worker, turn: Turn) -> None:
    """Killed long ago and still there: its slot goes to another process, no earlier than it would anyway.

    The slot may wait for longer already, because successors died beside this worker.
    """
    slot = pool.slot(worker.slot)
    due = slot.next_try_at
    slot.failed(turn.now, worker.policy, 0.0)
    slot.next_try_at = max(due, slot.next_try_at)


def finished(worker: Worker, was: State, event: Exited, turn: Turn) -> None:
    """A planned end; of interest when it was not a clean one."""
    took = seconds(turn.now - worker.since)
    if event.status == 0 or worker.failure is not None:  # of a failure was told already
        turn.note("debug", f"pid {worker.pid} finished in {took}", worker=worker)
    elif was is not State.KILLED:
        how = how_it_ended(event.status) + (f" ({event.cause})" if event.cause else "")
        text = f"pid {worker.pid} ended with {how} while {was.value}, after {took}"
        turn.note("warning", "\n".join(filter(None, (text, event.frames))), worker=worker)


def breaker_opened(pool: Pool, number: int, turn: Turn) -> None:
    """Say that the slot is tried slowly from now on."""
    slot = pool.slot(number)
    times = f"{slot.deaths} times in {seconds(turn.now - slot.failing_since)}"
    retry = seconds(pool.policy.breaker_retry_s)
    text = f"slot {number} keeps dying ({times}): trying every {retry} now; {_strength(pool)}"
    turn.note("error", text, pool.name)


def breaker_healthy(pool: Pool, number: int, alive_s: float, turn: Turn) -> None:
    """A worker of the slot has been ready for ``alive_s``; if that is long, its record is clear."""
    slot = pool.slot(number)
    was_open = slot.open
    slot.lived(alive_s, pool.policy)
    if was_open and not slot.open:
        text = f"slot {number} lives again (ready for {seconds(alive_s)}); {_strength(pool)}"
        turn.note("info", text, pool.name)


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


def _next(pool: Pool, worker: Worker, wait: float, now: float) -> str:
    slot = pool.slot(worker.slot)
    return what_next(slot.failures, now - slot.failing_since, wait)


def _strength(pool: Pool) -> str:
    return f"{pool.ready}/{pool.size} workers serve"
