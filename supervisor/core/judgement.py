"""Whom a failure ends: its own worker, the reload that tries it, or a fleet that never began to serve.

Rules
    - First start: until any worker was ever ready, a worker that cannot boot ends the fleet,
      with the exit status that says why. (A fork that fails does not: that is the machine.)
    - A worker of the generation that a reload tries ends that reload. (Of a restart mostly not.)
    - The same while another master's place is to be taken, until that one is told that it may go.
    - Otherwise a failure costs its own slot a backoff and touches no sibling (`crash`).
"""

from __future__ import annotations

from gwctl.supervisor.core import commands, stopping, takeover, upgrade, wording
from gwctl.supervisor.core.ending import Mode
from gwctl.supervisor.core.reload import Reload
from gwctl.supervisor.core.state import FleetState, TakingOver
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Failure, Worker


def tried(fleet: FleetState, worker: Worker) -> bool:
    """It is of the generation that a reload tries, or of a fleet that is to take another's place."""
    if fleet.taking_over is not None:
        return fleet.taking_over.tries
    return fleet.reload is not None and worker.generation == fleet.reload.candidate_of(worker.pool)


def judge(fleet: FleetState, worker: Worker, turn: Turn) -> bool:
    """Decide whom a failure ends besides its own worker; true when it was more than that."""
    failure = worker.failure
    if failure is None or fleet.ending is not None:
        return False
    if fleet.taking_over is not None:
        if fleet.taking_over.tries:
            reason, status = _what_failed(fleet, worker, failure), _status(failure)
            _gives_up_place(fleet, fleet.taking_over, reason, turn, status, failure.traceback)
            return True
        return False
    if fleet.reload is not None and tried(fleet, worker):
        if fleet.reload.rollback and worker.is_template:
            return False  # nothing is forked for it
        if fleet.reload.goes_on(fleet.pools, worker.pool, failure):
            return False
        abort(fleet, fleet.reload, worker.pool, failure, turn)
        return True
    if not fleet.ever_ready and worker.ready_at is None:
        _fatal(fleet, worker, failure, turn)
        return True
    return False


def abort(
    fleet: FleetState, reload: Reload, pool: str, failure: Failure, turn: Turn, *, changed: bool = True
) -> None:
    """Drop the transaction; the reconciliation that follows undoes it.

    ``changed``: what is on disk is not what runs, and no settings were refused as a whole.
    """
    fleet.reload = None
    fleet.dirty.update(fleet.pools)
    tried = [each for each in fleet.pools.values() if reload.touches(each.name)]
    if reload.restart is not None and reload.replacing:
        for each in tried:  # nobody of before is left: whoever is begun now runs what is on disk
            each.differs_since, each.rolled_back = None, 0
    elif changed and not reload.rollback:
        for each in tried:
            if each.differs_since is None:
                each.differs_since = turn.now
        if fleet.kept is not None:
            fleet.kept.disk_changed([each.name for each in tried], turn.now)
    commands.refused(fleet, reload, pool, failure, turn)


def give_up_work(fleet: FleetState, why: str, turn: Turn) -> None:
    """The fleet ends: nothing that is under way or waits will be finished."""
    if fleet.reload is not None:
        abort(fleet, fleet.reload, "", Failure("stop", why), turn, changed=False)
    upgrade.stopped(fleet, turn)
    takeover.ends(fleet, why, turn)
    commands.refuse_waiting(fleet.queue, turn)


def _fatal(fleet: FleetState, worker: Worker, failure: Failure, turn: Turn) -> None:
    give_up_work(fleet, wording.CANNOT_START, turn)
    text = _what_failed(fleet, worker, failure)
    fleet.ending = stopping.gives_up(_status(failure), text, failure.traceback, turn)


def denied(fleet: FleetState, reason: str, turn: Turn) -> None:
    """The master that runs keeps its place: this one ends."""
    taking_over = fleet.taking_over
    if taking_over is None or fleet.ending is not None:
        return
    _gives_up_place(fleet, taking_over, reason, turn)


def _gives_up_place(
    fleet: FleetState,
    taking_over: TakingOver,
    reason: str,
    turn: Turn,
    status: int = 1,
    traceback: str = "",
) -> None:
    """End; who has been let in is served to the end."""
    give_up_work(fleet, reason, turn)
    mode = Mode.QUIT if taking_over.waits else Mode.DRAIN
    text = wording.not_taken_over(taking_over.pid, reason)
    fleet.ending = stopping.gives_up(status, text, traceback, turn, mode)


def _what_failed(fleet: FleetState, worker: Worker, failure: Failure) -> str:
    return failure.message if len(fleet.pools) == 1 else wording.of_pool(worker.pool, failure.message)


def _status(failure: Failure) -> int:
    return 4 if failure.kind == "import" else 3
