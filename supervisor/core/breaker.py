"""The breaker of a slot that keeps dying: what is said when it opens and closes, and when it closes.

It opens where a death is counted (`backoff.Slot.died`). It closes when a worker of the slot has been
ready for ``healthy_after_s``: that is no event, so the pool has a deadline for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.wording import seconds
from gwctl.supervisor.core.worker import Worker

if TYPE_CHECKING:
    from gwctl.supervisor.core.pool import Pool


def opened(pool: Pool, number: int, turn: Turn) -> None:
    """Say that the slot is tried slowly from now on."""
    slot = pool.slot(number)
    times = f"{slot.deaths} times in {seconds(turn.now - slot.failing_since)}"
    retry = seconds(pool.policy.breaker_retry_s)
    text = f"slot {number} keeps dying ({times}): trying every {retry} now; {_strength(pool)}"
    turn.note("error", text, pool.name)


def healthy(pool: Pool, number: int, alive_s: float, turn: Turn) -> None:
    """A worker of the slot has been ready for ``alive_s``; if that is long, its record is clear."""
    slot = pool.slot(number)
    was_open = slot.open
    slot.lived(alive_s, pool.policy)
    if was_open and not slot.open:
        text = f"slot {number} lives again (ready for {seconds(alive_s)}); {_strength(pool)}"
        turn.note("info", text, pool.name)


def watch(pool: Pool, holders: Mapping[int, Worker], turn: Turn) -> None:
    """Close the breakers whose slot has a worker that proved itself; wake up for those that may yet."""
    for number, slot in pool.slots.items():
        worker = holders.get(number)
        if not slot.open or worker is None or not worker.serving:
            continue
        if worker.ready_at is None or worker.ready_at <= slot.failed_at:
            continue  # due to be replaced: it is its successors that die
        due = worker.ready_at + pool.policy.healthy_after_s
        if due <= turn.now:
            healthy(pool, number, turn.now - worker.ready_at, turn)
        elif pool.retry_at is None or due < pool.retry_at:
            pool.retry_at = due


def _strength(pool: Pool) -> str:
    return f"{pool.ready}/{pool.size} workers serve"
