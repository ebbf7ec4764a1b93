"""What must hold after every step, whatever happened. Cheap: it runs in production.

The simulation checks more, from outside, by its own book-keeping (tests/sim).
"""

from __future__ import annotations

from typing import Final

from gwctl.supervisor.core.actions import Abandon, Adopt, Prepare, Restore, Spawn
from gwctl.supervisor.core.pool import View, active_limit
from gwctl.supervisor.core.reload import Reload
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Order, State, Worker


def broken_rule(fleet: FleetState, turn: Turn) -> str:
    """The first rule that does not hold, in words; empty when all do."""
    soonest = fleet.next_at
    if soonest is not None and soonest <= turn.now:
        return f"the next deadline ({soonest}) is not after now ({turn.now})"
    if fleet.reload is not None and not _is_tried(fleet, fleet.reload):
        return f"generation {fleet.reload.generation} is tried while {fleet.generation} is in force"
    if fleet.kept is not None and fleet.kept.generation == fleet.generation:
        return f"generation {fleet.generation} is in force and kept"
    return _about_spawns(fleet, turn) or _about_workers(fleet, turn)


def _is_tried(fleet: FleetState, reload: Reload) -> bool:
    """A reload tries what is new, a rollback what is kept."""
    if reload.rollback:
        return fleet.kept is not None and reload.generation == fleet.kept.generation != fleet.generation
    return reload.generation > fleet.generation


def _about_spawns(fleet: FleetState, turn: Turn) -> str:
    """Who was begun in this step is within the bounds, and of no kept generation."""
    spawns = [action for action in turn.actions if isinstance(action, Spawn)]
    if not spawns or any(isinstance(action, _CHANGES) for action in turn.actions):
        return ""  # what was wanted when they were begun is wanted no more
    for name in {action.pool for action in spawns}:
        pool = fleet.pools[name]
        view = View(pool, fleet.wanted(pool))
        limit = active_limit(pool, view.wanted)
        if view.active > limit:
            return f"{view.active} workers of {name} are starting or ready, and {limit} may be"
    for action in spawns:
        if fleet.kept is not None and action.generation == fleet.kept.of(fleet.pools[action.pool]):
            return (
                f"a worker was begun in generation {action.generation}, which is kept: its code is on no disk"
            )
    return ""


_CHANGES: Final = (Prepare, Restore, Adopt, Abandon)


def _about_workers(fleet: FleetState, turn: Turn) -> str:
    held: set[tuple[str, int, int, bool]] = set()
    members = 0
    for pool in fleet.pools.values():
        members += len(pool.members) + len(pool.templates)
    if members != len(turn.workers):
        return f"pools hold {members} workers, the fleet {len(turn.workers)}"
    stopping = fleet.draining is not None
    for worker in turn.workers.values():
        state = worker.state
        if worker.deadline is None:
            if state is State.PARKED and not worker.leaving:
                pool = fleet.pools[worker.pool]
                tries = fleet.reload is not None and fleet.reload.touches(worker.pool)
                if not tries and not (fleet.kept and worker.generation == fleet.kept.of(pool)):
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
        if state is State.READY and worker.told is not Order.SERVE and not _may_wait(fleet, worker):
            return f"worker {worker.id} is ready and was not told to serve"
        place = (worker.pool, worker.slot, worker.generation, worker.successor)
        if place in held:
            return f"two workers hold slot {worker.slot} of {worker.pool} g{worker.generation}"
        held.add(place)
    return ""


def _may_wait(fleet: FleetState, worker: Worker) -> bool:
    """It is ready and need not serve: a template, surplus in a reload, or new in it and not yet wanted.

    Or nobody serves yet, as another master does.
    """
    reload = fleet.reload
    if fleet.taking_over is not None and fleet.taking_over.waits:
        return True
    if worker.is_template or reload is None or not reload.touches(worker.pool):
        return worker.is_template
    if worker.slot >= fleet.pools[worker.pool].size:
        return True
    return worker.generation == reload.candidate_of(worker.pool) and not reload.serves_new(worker.pool)
