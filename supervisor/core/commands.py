"""What people ask for, and what they are told: reloads, rollbacks, recycling.

`scaling` has what they ask of sizes, `stopping` the end.

Requests with number 0 come from signals: there are log lines for them and no answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import to_builtins

from gwctl.records.base import Strength
from gwctl.records.master import PoolsServe
from gwctl.records.reloads import (
    Keeping,
    ReloadAdopted,
    ReloadBegun,
    ReloadIgnored,
    ReloadRefused,
    ReloadWaits,
    RestartRefused,
    RollbackRefused,
    Standing,
    Unserved,
)
from gwctl.supervisor.core import wording
from gwctl.supervisor.core.actions import Abandon, Adopt, Answer, Prepare, Restore
from gwctl.supervisor.core.events import RecycleAsked, ReloadAsked, RestartAsked, RollbackAsked
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.reload import WATCH, Reload, Stage, patience
from gwctl.supervisor.core.restart import Restart
from gwctl.supervisor.core.state import FleetState, Queue
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Failure, State, Worker


def answer(turn: Turn, request: int, text: str, result: dict[str, Any], *, ok: bool) -> None:
    if request:
        turn.actions.append(Answer(request, ok, text, result))


# ---- reload


def reload_asked(fleet: FleetState, event: ReloadAsked, turn: Turn) -> None:
    if fleet.ending is not None:
        _refuse(turn, event.request, wording.STOPPING)
        if not event.request:
            turn.note(ReloadIgnored(source=event.source, reason=wording.STOPPING))
        return
    if fleet.broken:
        _refuse(turn, event.request, wording.broken(fleet.broken))
        return
    queue = fleet.queue
    if fleet.reload is not None and not queue.waiting:
        turn.note(ReloadWaits(source=event.source))
    queue.ask(event.source, event.pools)
    if event.request:
        queue.requests.append(event.request)


def refuse_waiting(queue: Queue, turn: Turn) -> None:
    for request in queue.take():
        _refuse(turn, request, wording.STOPS)


def _refuse(turn: Turn, request: int, reason: str) -> None:
    answer(turn, request, wording.reload_refused(reason), {"reason": reason}, ok=False)


def begin_reload(fleet: FleetState, generation: int, turn: Turn) -> Reload:
    queue = fleet.queue
    reload = _begin(fleet, generation, queue.source, queue.take(), turn, pools=queue.pools)
    reload.preface, queue.preface = queue.preface, ""
    turn.actions.append(Prepare(generation, reload.pools))
    return reload


def begin_at_once(fleet: FleetState, event: RollbackAsked | RestartAsked, turn: Turn) -> Reload | None:
    """Begin it, or say why not. It does not wait: nobody would know when the service changes, or goes."""
    if isinstance(event, RollbackAsked):
        return _rollback_asked(fleet, event, turn)
    return _restart_asked(fleet, event, turn)


def _rollback_asked(fleet: FleetState, event: RollbackAsked, turn: Turn) -> Reload | None:
    refusal = _rollback_refusal(fleet)
    if refusal or fleet.kept is None:
        turn.note(RollbackRefused(source=event.source, reason=refusal))
        answer(turn, event.request, wording.rollback_refused(refusal), {"reason": refusal}, ok=False)
        return None
    asked = [event.request] if event.request else []
    reload = _begin(fleet, fleet.kept.generation, event.source, asked, turn, rollback=True)
    back = {name: fleet.kept.of(pool) for name, pool in fleet.pools.items() if name in fleet.kept.sizes}
    reload.candidates = {name: generation for name, generation in back.items() if generation}
    reload.untouched = frozenset(back.keys() - reload.candidates.keys())
    turn.actions.append(Restore(reload.generation))
    return reload


def _not_now(fleet: FleetState) -> str:
    """Why nothing can begin that does not wait."""
    if fleet.ending is not None:
        return wording.STOPPING
    if fleet.broken:
        return wording.broken(fleet.broken)
    if fleet.reload is not None or fleet.queue.waiting:
        return wording.under_way(_what(fleet.reload))
    if any(pool.alone for pool in fleet.pools.values()):
        return wording.under_way("restart")
    if fleet.handing_over is not None or fleet.taking_over is not None:
        return wording.under_way(wording.TAKEOVER)
    return wording.under_way("upgrade") if fleet.upgrade is not None else ""


def _what(reload: Reload | None) -> str:
    if reload is None or not (reload.rollback or reload.restart):
        return "reload"
    return "rollback" if reload.rollback else "restart"


def _unserved(reload: Reload, now: float) -> tuple[Unserved, ...]:
    """For how long each pool that is restarted was not served, or is not."""
    return reload.restart.unserved(now) if reload.restart is not None else ()


def _rollback_refusal(fleet: FleetState) -> str:
    if refusal := _not_now(fleet):
        return refusal
    if fleet.kept is None:
        return fleet.not_kept or wording.NOTHING_KEPT
    return ""


def _restart_asked(fleet: FleetState, event: RestartAsked, turn: Turn) -> Reload | None:
    if refusal := _not_now(fleet):
        turn.note(RestartRefused(source=event.source, reason=refusal))
        answer(turn, event.request, wording.restart_refused(refusal), {"reason": refusal}, ok=False)
        return None
    asked = [event.request] if event.request else []
    fleet.numbered += 1
    reload = _begin(fleet, fleet.numbered, event.source, asked, turn, pools=event.pools, restart=Restart())
    turn.actions.append(Prepare(reload.generation, reload.pools))
    return reload


def _begin(
    fleet: FleetState,
    generation: int,
    source: str,
    asked: list[int],
    turn: Turn,
    *,
    rollback: bool = False,
    pools: tuple[str, ...] = (),
    restart: Restart | None = None,
) -> Reload:
    stall_s = max((patience(pool.policy) for pool in fleet.pools.values()), default=60.0)
    previous = fleet.generation
    reload = Reload(
        generation, previous, source, asked, turn.now, stall_s, rollback, pools=pools, restart=restart
    )
    turn.note(
        ReloadBegun(
            source=source,
            generation=generation,
            previous=previous,
            rollback=rollback,
            restart=restart is not None,
            only=pools,
        )
    )
    reload.tell(turn, "", "validate", "", f"g{previous} -> g{generation}")
    return reload


def adopted(fleet: FleetState, reload: Reload, previous: int, turn: Turn) -> None:
    kept, failed = fleet.kept, reload.failed
    for name in reload.policies if reload.restart is None else ():
        reload.tell(turn, name, "commit", "ok")
    if failed is not None:
        reload.tell(turn, failed.pool, "start", "FAILED", failed.reason)
    record = ReloadAdopted(
        level="info" if failed is None else "error",
        source=reload.source,
        generation=reload.generation,
        previous=previous,
        rollback=reload.rollback,
        restart=reload.restart is not None,
        unserved=_unserved(reload, turn.now),
        failed=failed,
        took_s=turn.now - reload.started_at,
        pools=_strength(pool for pool in fleet.pools.values() if reload.touches(pool.name)),
        only=reload.pools,
        removed=tuple(name for name, pool in fleet.pools.items() if reload.touches(name) and not pool.size),
        not_applied=reload.left,
        missing=_missing(fleet, reload) if reload.rollback else (),
        watched=tuple(map(reload.watched, reload.watches.by_pool)),
        keeping=_keeping(reload, previous, kept=kept is not None),
    )
    fleet.last_reload, fleet.last_reload_at = wording.last_adopted(record), turn.now
    if not (reload.rollback or fleet.disk_differs):  # as it may in pools that were not reloaded
        fleet.refused_at = None
    turn.actions.append(Adopt(reload.generation, kept.generation if kept is not None else 0, reload.pools))
    turn.note(record)
    result: dict[str, Any] = {
        "generation": reload.generation,
        "previous": previous,
        "took_s": round(record.took_s, 3),
        "pools": [each.pool for each in record.pools],
    }
    if reload.left:
        result["not_applied"] = reload.left
    if reload.restart is not None:
        result["unserved_s"] = {each.pool: round(each.for_s, 3) for each in record.unserved}
    if failed is not None:
        result |= {"pool": failed.pool, "reason": failed.reason, "traceback": failed.traceback}
    if kept is not None:
        result["kept"] = kept.generation
    if record.watched:
        result["watched"] = to_builtins(record.watched)
    text = wording.adopted(record, reload.preface, reload.warnings)
    for request in reload.requests:
        answer(turn, request, text, result, ok=failed is None)


def _strength(pools: Iterable[Pool]) -> tuple[Strength, ...]:
    return tuple(pool.strength for pool in pools if pool.size)


def _missing(fleet: FleetState, reload: Reload) -> tuple[Strength, ...]:
    return tuple(
        pool.strength
        for pool in fleet.pools.values()
        if reload.touches(pool.name) and pool.ready < pool.size and pool.degraded
    )


def _keeping(reload: Reload, previous: int, *, kept: bool) -> Keeping | None:
    """What became of the generation before; None: it was not to be kept."""
    if kept:
        return Keeping(previous, reload.keep_s)
    return Keeping(previous, 0.0, reload.lost) if reload.keep_s > 0 else None


def refused(fleet: FleetState, reload: Reload, pool: str, failure: Failure, turn: Turn) -> None:
    """The candidate is dropped: say why, where it stood, and what serves now."""
    phase, stops = reload.phase_of(pool), failure.kind == "stop"
    wrong = not stops and failure.kind != "unknown"  # else nothing is the matter with what is on disk
    reload.tell(turn, pool, phase, "FAILED", failure.message)
    if reload.stage is not Stage.VALIDATE:  # else there is nothing yet, or the late answer will see to it
        turn.actions.append(Abandon(reload.generation))
    if reload.restart is not None:
        reload.restart.serve((), turn.now)  # its new workers end
    if wrong and not reload.rollback and fleet.refused_at is None:
        fleet.refused_at = turn.now
    record = ReloadRefused(
        level="error" if wrong else "info",
        source=reload.source,
        generation=reload.generation,
        rollback=reload.rollback,
        only=reload.pools,
        unserved=_unserved(reload, turn.now),
        pool=pool,
        phase=phase,
        kind=failure.kind,
        reason=failure.message,
        traceback=failure.traceback,
        dumped_pid=failure.dumped,
        watched=reload.watched(pool) if failure.kind == WATCH else None,
        standing=None if stops else _standing(fleet),
    )
    fleet.last_reload, fleet.last_reload_at = wording.last_refused(record), turn.now
    turn.note(record)
    result = {
        "generation": fleet.generation,
        "refused": reload.generation,
        "pool": pool,
        "phase": phase,
        "kind": failure.kind,
        "reason": failure.message,
        "traceback": failure.traceback,
    }
    if record.watched is not None:
        result["watched"] = [to_builtins(record.watched)]
    if record.unserved:
        result["unserved_s"] = {each.pool: round(each.for_s, 3) for each in record.unserved}
    text = wording.refused(record, reload.preface)
    for request in reload.requests:
        answer(turn, request, text, result, ok=False)


def _standing(fleet: FleetState) -> Standing:
    """Counts of the generation in force; what is parked serves again right after this."""
    pools = []
    for pool in fleet.pools.values():
        if pool.size:
            able = sum(w.serving or w.state is State.PARKED for w in pool.in_force)
            pools.append(Strength(pool.name, able, pool.size))
    differs = fleet.disk_differs
    return Standing(fleet.generation, tuple(pools), differs, differs and not fleet.degraded)


# ---- recycle


def recycle_asked(fleet: FleetState, event: RecycleAsked, turn: Turn) -> None:
    """Mark who is to be replaced; `reconcile` begins their successors, as for those that are due for one."""
    refusal, chosen = _to_recycle(fleet, event)
    if refusal:
        answer(turn, event.request, refusal, {"pool": event.pool}, ok=False)
        return
    for worker in chosen:
        worker.replace_reason = worker.replace_reason or wording.NAMED_TO_RECYCLE
    fleet.dirty.add(event.pool)
    result = {"pool": event.pool, "pids": [worker.pid for worker in chosen]}
    answer(turn, event.request, wording.recycled(event.pool, len(chosen)), result, ok=True)


def _to_recycle(fleet: FleetState, event: RecycleAsked) -> tuple[str, list[Worker]]:
    """Why nobody is, or else who."""
    known = [name for name, pool in fleet.pools.items() if pool.size]
    if fleet.ending is not None:
        return wording.STOPPING, []
    if event.pool not in known:
        return wording.no_such_pool(event.pool, known), []
    if fleet.reload is not None and fleet.reload.touches(event.pool):
        return wording.RELOAD_UNDER_WAY, []
    pool = fleet.pools[event.pool]
    if pool.degraded:
        return wording.would_be_others(fleet.degraded), []
    serving = [each for each in pool.in_force if each.serving and not each.leaving]
    chosen = [each for each in serving if event.slot in {None, each.slot}]
    return "" if chosen else wording.no_worker_serves(event.pool, event.slot), chosen


# ---- start


def all_ready(pools: Iterable[Pool], turn: Turn, began_at: float) -> bool:
    """True, and said, when every pool has its full strength."""
    wanted = [pool for pool in pools if pool.size]
    if not wanted or any(pool.ready < pool.size for pool in wanted):
        return False
    turn.note(PoolsServe(pools=_strength(wanted), took_s=turn.now - began_at))
    return True
