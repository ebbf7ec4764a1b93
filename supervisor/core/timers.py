"""All deadlines of a fleet together: the soonest, and moving them when the master itself was away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gwctl.supervisor.core.desk import Desk

if TYPE_CHECKING:
    from gwctl.supervisor.core.fleet import Fleet


def soonest(fleet: Fleet, desk: Desk) -> float | None:
    """When the fleet must step even without news."""
    first = None
    for worker in desk.workers.values():
        at = worker.deadline
        if at is not None and (first is None or at < first):
            first = at
    others = [pool.retry_at for pool in fleet.pools.values()]
    if fleet.ending is not None:
        others = [fleet.ending.note_at]
    elif fleet.reload is not None:
        others.append(fleet.reload.next_deadline(desk.now))
    for at in others:
        if at is not None and (first is None or at < first):
            first = at
    return first


def shift(fleet: Fleet, desk: Desk, late_s: float) -> float | None:
    """Give everyone the time again in which the master did not run; returns the soonest deadline."""
    for worker in desk.workers.values():
        if worker.deadline is not None:
            worker.deadline += late_s
    for pool in fleet.pools.values():
        for slot in pool.slots.values():
            slot.next_try_at += late_s
        if pool.retry_at is not None:
            pool.retry_at += late_s
    if fleet.reload is not None:
        fleet.reload.shift(late_s)
    if fleet.ending is not None:
        fleet.ending.note_at += late_s
    return soonest(fleet, desk)
