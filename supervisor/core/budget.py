"""Replaces workers that have grown before the control group's memory is at its end, and the kernel kills one.

The shell says with each look how much of its limit the control group holds that cannot be taken back. Beyond
``memory_group_percent`` of it the largest worker that has grown is marked, as by `recycling`.

Rules
    - One at a time: nobody is marked while somebody else is being replaced.
    - Not during a start, a reload, an upgrade or a stop, nor who would be replaced by other code.
    - Two looks in a row: a moment is no reason.
    - Its successor serves before it drains. So it is marked earlier than that where there would be no room
      for both (`AMPLE`), but not as long as much is free (`EARLY`), unless it alone serves. Where there is
      none all the same, it ends first, if others of the pool serve.
    - Only who has grown since it was ready (`GROWN`, `GAIN`): one that was always as large would come
      back as large. And only if most of what the group holds is our workers' (`OURS`).
    - After each one there is a wait, twice as long as the one before, up to `WAIT_MAX_S`, until the group
      has been well for `WELL_S`. So an application that always lives at the limit is not replaced in a
      circle.
    - If nobody can be replaced so, that is said once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from gwctl.records.scaling import GroupNearLimit
from gwctl.supervisor.core import judgement, recycling, wording
from gwctl.supervisor.core.events import Event, GroupMemoryObserved
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.state import FIRST_WAIT_S, Budget, FleetState, Phase
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Worker

PERSISTS: Final = 2
"""Looks in a row."""

AGAIN_S: Final = 1.0
"""To the second of them."""

GROWN: Final = 0.25
GAIN: Final = 0.02
"""It has grown by this part of what it was, or of the limit."""

OURS: Final = 0.5
"""Of what the group holds."""

FULL: Final = 0.98
"""Of the limit: beyond, there is no room for anything."""

AMPLE: Final = 1.25
"""Room for so many successors is left when a worker is marked."""

EARLY: Final = 0.7
"""Of the limit: below, nobody is marked beside whom others serve."""

WAIT_MAX_S: Final = 3600.0
WELL_S: Final = 600.0


def judge_observed(fleet: FleetState, news: Sequence[Event], turn: Turn) -> None:
    """Judge what was observed of the group, when all ``news`` are taken in."""
    for event in news:
        if isinstance(event, GroupMemoryObserved):
            _judge(fleet, fleet.budget, event, turn)


def _judge(fleet: FleetState, budget: Budget, seen: GroupMemoryObserved, turn: Turn) -> None:
    _note_end(budget, turn)
    pools = [pool for pool in fleet.pools.values() if seen.used_bytes > _mark(pool, seen.limit_bytes)]
    if not pools:
        _is_well(budget, turn.now)
        return
    budget.near, budget.well_since = budget.near + 1, None
    if budget.near < PERSISTS:
        fleet.sample_by(turn.now + AGAIN_S, turn)
        return
    if turn.now < budget.not_before or _others_decide(fleet, turn):
        return
    ours = _held_by_workers(turn) >= OURS * seen.used_bytes
    grown = _grown(fleet, pools, seen, turn.now) if ours else []
    if grown:
        _replace(fleet, budget, grown, seen, turn)
    elif not budget.told and any(seen.used_bytes > _usual_mark(pool, seen.limit_bytes) for pool in pools):
        budget.told = True
        turn.note(
            GroupNearLimit(
                used_bytes=seen.used_bytes,
                limit_bytes=seen.limit_bytes,
                workers_bytes=_held_by_workers(turn),
                ours=ours,
            )
        )


def _note_end(budget: Budget, turn: Turn) -> None:
    """Whoever was being replaced has gone: wait, and longer the next time."""
    if budget.replaced and budget.replaced not in turn.workers:
        budget.replaced = 0
        budget.not_before = turn.now + budget.wait_s
        budget.wait_s = min(WAIT_MAX_S, 2 * budget.wait_s)


def _is_well(budget: Budget, now: float) -> None:
    budget.near = 0
    if budget.well_since is None:
        budget.well_since = now
    if now - budget.well_since >= WELL_S:
        budget.wait_s, budget.told = FIRST_WAIT_S, False


def _usual_mark(pool: Pool, limit_bytes: int) -> float:
    """What the group may hold before workers of the pool are replaced."""
    percent = pool.policy.recycle.memory_group_percent
    return limit_bytes * percent / 100 if percent and pool.size else inf


def _mark(pool: Pool, limit_bytes: int) -> float:
    mark = _usual_mark(pool, limit_bytes)
    if mark == inf:
        return inf
    needed = max((_successor_bytes(worker) for worker in pool.in_force if worker.serving), default=0)
    earliest = EARLY * limit_bytes if pool.ready > 1 else 0.0
    return min(mark, max(earliest, FULL * limit_bytes - AMPLE * needed))


def _others_decide(fleet: FleetState, turn: Turn) -> bool:
    """Somebody else changes workers just now, or somebody is being replaced."""
    if fleet.ending is not None or fleet.broken or fleet.phase is not Phase.SERVING or fleet.queue.waiting:
        return True
    return any(worker.replace_reason or worker.leaving for worker in turn.workers.values())


def _held_by_workers(turn: Turn) -> int:
    return sum(worker.observed.memory_bytes for worker in turn.workers.values() if worker.observed)


def _grown(fleet: FleetState, pools: list[Pool], seen: GroupMemoryObserved, now: float) -> list[Worker]:
    """Who may be replaced, the largest first, and the older of two that are alike."""
    found = [
        worker
        for pool in pools
        if not pool.degraded
        for worker in pool.in_force
        if worker.serving
        and recycling.age(worker, now) >= worker.policy.healthy_after_s
        and not judgement.tried(fleet, worker)
        and _has_grown(worker, seen)
        and (pool.ready > 1 or _has_room(worker, seen))
    ]
    return sorted(found, key=lambda worker: (-_bytes(worker), worker.id))


def _bytes(worker: Worker) -> int:
    return worker.observed.memory_bytes if worker.observed is not None else 0


def _gain(worker: Worker) -> int:
    return _bytes(worker) - worker.young_bytes if worker.young_bytes else 0


def _has_grown(worker: Worker, seen: GroupMemoryObserved) -> bool:
    return _gain(worker) > 0 and _gain(worker) >= min(GROWN * worker.young_bytes, GAIN * seen.limit_bytes)


def _successor_bytes(worker: Worker) -> int:
    """What another one would take when it is new, without what it would share."""
    if worker.observed is not None and worker.observed.private_bytes:
        return max(0, worker.observed.private_bytes - _gain(worker))
    return worker.young_bytes


def _has_room(worker: Worker, seen: GroupMemoryObserved) -> bool:
    return seen.used_bytes + _successor_bytes(worker) <= FULL * seen.limit_bytes


def _replace(
    fleet: FleetState, budget: Budget, grown: list[Worker], seen: GroupMemoryObserved, turn: Turn
) -> None:
    worker = grown[0]
    assert worker.observed is not None
    worker.ends_first = not _has_room(worker, seen)
    reason = wording.largest(len(grown), seen.used_bytes, seen.limit_bytes, ends_first=worker.ends_first)
    worker.replace_reason = recycling.with_numbers(reason, worker, worker.observed, turn.now)
    budget.replaced = worker.id
    fleet.dirty.add(worker.pool)
