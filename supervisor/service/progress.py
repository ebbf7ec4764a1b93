"""Whether the change that a fleet is in moves on: pure.

The service manager gives each start, reload and stop a time (TimeoutStartSec=, TimeoutStopSec=) that
knows nothing of the application. While a change really moves on it is asked for more; else it may act.
"""

from __future__ import annotations

from typing import assert_never

from gwctl.supervisor.core.state import FleetState, Phase
from gwctl.supervisor.core.worker import State, Worker

_BOOTING = frozenset({State.REQUESTED, State.STARTING})


def moves_on(fleet: FleetState, now: float) -> bool:
    """Something is done that has a limit of its own, which has not come yet.

    A worker that boots again after one of its slot failed is no progress: nor is one that was killed and
    does not end.
    """
    if fleet.broken:
        return False
    match fleet.phase:
        case Phase.SERVING:
            return False
        case Phase.STARTING:
            return any(_boots(fleet, worker, now) for worker in _everybody(fleet))
        case Phase.RELOADING | Phase.UPGRADING:
            return True  # each of their steps is bounded by the core
        case Phase.STOPPING:
            accepting = fleet.ending is not None and fleet.ending.accepting
            return accepting or any(w.state is not State.KILLED for w in _everybody(fleet))
        case unknown:
            assert_never(unknown)


def _everybody(fleet: FleetState) -> list[Worker]:
    """Templates, too."""
    return [w for pool in fleet.pools.values() for w in (*pool.members.values(), *pool.templates.values())]


def _boots(fleet: FleetState, worker: Worker, now: float) -> bool:
    if worker.state not in _BOOTING or (worker.deadline is not None and now >= worker.deadline):
        return False
    slot = fleet.pools[worker.pool].slots.get(worker.slot)
    return slot is None or slot.failures == 0
