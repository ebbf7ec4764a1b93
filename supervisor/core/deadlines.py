"""All deadlines of a fleet together: the soonest, and moving them when the master itself was away."""

from __future__ import annotations

from typing import Final

from gwctl.supervisor.core.state import AWAY_MAX, FleetState
from gwctl.supervisor.core.turn import Turn

SAMPLE_S: Final = 5.0
"""Between two samples of the scoreboard, unless somebody has asked for an earlier one
(`FleetState.sample_by`). The only regular wakeup of a master that has nothing to do."""

LATE_S: Final = 1.0
"""A turn this much later than the deadline it was for means that the master itself did not run."""


def soonest(fleet: FleetState, turn: Turn) -> float:
    """When the fleet must step even without news."""
    first = fleet.sample_at
    for worker in turn.workers.values():
        at = worker.deadline
        if at is not None and at < first:
            first = at
    others = [pool.retry_at for pool in fleet.pools.values()]
    if fleet.ending is not None:
        others = [*(others if fleet.ending.accepting else []), fleet.ending.next_at]
    elif fleet.reload is not None:
        others.append(fleet.reload.next_deadline(turn.now))
    elif fleet.upgrade is not None:
        others.append(fleet.upgrade.deadline)
    if fleet.handing_over is not None:
        others.append(fleet.handing_over.until)
    if fleet.taking_over is not None and fleet.taking_over.next_at > turn.now:
        others.append(fleet.taking_over.next_at)
    if fleet.kept is not None and fleet.ending is None and not (fleet.reload and fleet.reload.rollback):
        others.append(fleet.kept.until)
    for at in others:
        if at is not None and at < first:
            first = at
    return first


def forgive(fleet: FleetState, turn: Turn, late_s: float) -> float:
    """Give everyone the time again in which the master did not run; returns the soonest deadline.

    And a little more: what was due in that time is judged when the news of it has been read,
    and the workers have had a moment to turn their own loops before they are looked at.
    """
    more_s = late_s + LATE_S
    fleet.sample_at += more_s
    fleet.away.append((turn.now, more_s))
    del fleet.away[:-AWAY_MAX]
    for worker in turn.workers.values():
        worker.still_since = 0.0
        if worker.deadline is not None:
            worker.deadline += more_s
    for pool in fleet.pools.values():
        pool.scaling.shift(more_s)
        pool.footprint.as_large_at += more_s
        for slot in pool.slots.values():
            slot.next_try_at += more_s
        if pool.retry_at is not None:
            pool.retry_at += more_s
    fleet.budget.shift(more_s)
    if fleet.reload is not None:
        fleet.reload.shift(more_s)
    if fleet.kept is not None:
        fleet.kept.until += more_s
    if fleet.ending is not None:
        fleet.ending.shift(more_s)
    if fleet.upgrade is not None and fleet.upgrade.deadline is not None:
        fleet.upgrade.deadline += more_s
    if fleet.handing_over is not None:
        fleet.handing_over.until += more_s
    if fleet.taking_over is not None:
        fleet.taking_over.settled_at += more_s
    return soonest(fleet, turn)
