"""What must hold after every step, whatever happened. Cheap: it runs in production.

The simulation checks more, from outside, by its own book-keeping (tests/sim).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gwctl.supervisor.core.desk import Desk
from gwctl.supervisor.core.life import Order, State

if TYPE_CHECKING:
    from gwctl.supervisor.core.fleet import Fleet


def broken_rule(fleet: Fleet, desk: Desk, soonest: float | None) -> str:
    """The first rule that does not hold, in words; empty when all do."""
    if soonest is not None and soonest <= desk.now:
        return f"the next deadline ({soonest}) is not after now ({desk.now})"
    if fleet.reload is not None and fleet.reload.generation <= fleet.generation:
        return f"generation {fleet.reload.generation} is tried while {fleet.generation} is in force"
    return _about_workers(fleet, desk)


def _about_workers(fleet: Fleet, desk: Desk) -> str:
    held: set[tuple[str, int, int, bool]] = set()
    members = 0
    for pool in fleet.pools.values():
        members += len(pool.members) + len(pool.templates)
    if members != len(desk.workers):
        return f"pools hold {members} workers, the fleet {len(desk.workers)}"
    stopping = fleet.ending is not None and not fleet.ending.accepting
    for worker in desk.workers.values():
        state = worker.state
        if worker.deadline is None:
            if state is State.PARKED and not worker.leaving:
                if fleet.reload is None:
                    return f"worker {worker.id} is parked and no reload is under way"
            elif state is not State.READY:
                return f"worker {worker.id} is {state.value} and has no deadline"
        if worker.leaving:
            if state is State.READY or state is State.PARKED or state is State.DEAD:
                return f"worker {worker.id} is leaving and {state.value}: it was not told"
            continue
        if stopping:
            return f"worker {worker.id} is to stay while the fleet stops"
        if state is State.REQUESTED and worker.told is not None:
            return f"worker {worker.id} was told to {worker.told.value} before it existed"
        surplus = worker.is_template or (
            fleet.reload is not None and worker.slot >= fleet.pools[worker.pool].size
        )
        if state is State.READY and worker.told is not Order.SERVE and not surplus:
            return f"worker {worker.id} is ready and was not told to serve"
        place = (worker.pool, worker.slot, worker.generation, worker.heir)
        if place in held:
            return f"two workers hold slot {worker.slot} of {worker.pool} g{worker.generation}"
        held.add(place)
    return ""
