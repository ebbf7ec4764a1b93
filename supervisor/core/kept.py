"""The generation before, kept parked after a reload so that `gwctl rollback` can go back to it.

Rules
    - One generation is kept at most, for ``keep_s`` from the commit on. Its workers release their
      clients: they accept nothing, and the clients they have leave them. After a rollback it is the
      newer one that is kept, so that a further rollback goes forward again.
    - Of a reload of some pools only those have kept workers, and only those go back.
    - It is kept only if everything that it serves is served by the one in force too: a parked worker
      would leave the clients of a removed pool or address waiting in the backlog.
    - A reload whose canaries have passed needs its place and lets it go; one that fails before does not.
    - It goes, too, when in some pool none of its workers is left. Those that die are not replaced:
      their code is on no disk.
"""

from __future__ import annotations

from collections.abc import Mapping

from gwctl.records.reloads import GenerationReleased
from gwctl.records.sentences import sentence
from gwctl.records.workers import KeptWorkerDied
from gwctl.supervisor.core import wording
from gwctl.supervisor.core.actions import Release
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.reload import Reload
from gwctl.supervisor.core.state import FleetState, Kept
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import State, Worker


def keep(fleet: FleetState, reload: Reload, now: float) -> Kept | None:
    """What is kept when ``reload`` is committed; to be asked before anything is changed."""
    if reload.keep_s <= 0 or reload.lost:
        return None
    pools = [pool for pool in fleet.pools.values() if pool.size]
    gone_from = [pool for pool in pools if reload.touches(pool.name)]
    if not all(_living(pool, pool.generation) for pool in gone_from):
        return None
    rolled_back = max((pool.rolled_back for pool in gone_from), default=0)
    return Kept(
        fleet.generation,
        now,
        now + reload.keep_s,
        {pool.name: pool.size for pool in pools},
        {pool.name: pool.policy for pool in pools},
        {pool.name: pool.differs_since if reload.rollback else reload.started_at for pool in gone_from},
        rolled_back if reload.rollback else reload.generation,
        {pool.name: pool.generation for pool in pools},
    )


def gone_back(fleet: FleetState, kept: Kept) -> None:
    """The kept generation is in force again."""
    for name, at in kept.differs_since.items():
        fleet.pools[name].differs_since = at
        fleet.pools[name].rolled_back = kept.rolled_back


def living(fleet: FleetState, kept: Kept) -> Mapping[str, int]:
    """How many workers are left to go back to, in each pool that would."""
    return {
        name: _living(fleet.pools[name], kept.of(fleet.pools[name])) if name in fleet.pools else 0
        for name in kept.sizes
        if name not in fleet.pools or kept.of(fleet.pools[name])
    }


def _living(pool: Pool, generation: int) -> int:
    return sum(worker.state in _COULD_SERVE for worker in pool.of_generation(generation))


def review(fleet: FleetState, turn: Turn) -> bool:
    """Let the kept generation go if its time is over or it is of no use any more; true when it went."""
    kept, reload = fleet.kept, fleet.reload
    if kept is None or (reload is not None and reload.rollback):
        return False
    if kept.until <= turn.now:
        reason = wording.kept_long_enough(kept.until - kept.since)
    elif reload is not None and reload.replacing:
        reason = wording.place_taken(reload.generation)
    else:
        gone = [name for name, count in living(fleet, kept).items() if not count]
        if not gone:
            return False
        reason = wording.nobody_left(gone)
    release(fleet, reason, turn)
    return True


def release(fleet: FleetState, reason: str, turn: Turn) -> None:
    kept, fleet.kept = fleet.kept, None
    if kept is not None:
        record = GenerationReleased(generation=kept.generation, reason=reason)
        fleet.not_kept = sentence(record)
        turn.note(record)
        turn.actions.append(Release(kept.generation))


def died(fleet: FleetState, worker: Worker, turn: Turn, how: str = "") -> None:
    """A worker of the kept generation ended unasked: say what is left to go back to."""
    kept = fleet.kept
    how = how or (worker.failure.message if worker.failure is not None else "")
    if worker.is_template:
        return
    if kept is not None and worker.generation == kept.of(fleet.pools[worker.pool]):
        turn.note(
            KeptWorkerDied(
                process=worker.process,
                reason=how,
                left=living(fleet, kept)[worker.pool],
                size=kept.sizes[worker.pool],
                traceback=worker.failure.traceback if worker.failure is not None else "",
            )
        )


_COULD_SERVE = frozenset({State.PARKED, State.READY})
