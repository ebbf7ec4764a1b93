"""What people ask for, and what they are told: reload, rollback and scale (`stopping` has the end).

Requests with number 0 come from signals: there are log lines for them and no answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gwctl.config.model.types import WORKERS_MAX
from gwctl.supervisor.core.actions import Abandon, Adopt, Answer, Prepare, Restore
from gwctl.supervisor.core.events import ReloadAsked, RollbackAsked, ScaleAsked
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.reload import Reload, Stage, patience
from gwctl.supervisor.core.state import FleetState, Queue
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.wording import NOT_STARTED, counts, scaled
from gwctl.supervisor.core.worker import Failure, State
from gwctl.wording import seconds, span


def answer(turn: Turn, request: int, text: str, result: dict[str, Any], *, ok: bool) -> None:
    if request:
        turn.actions.append(Answer(request, ok, text, result))


# ---- reload


def reload_asked(fleet: FleetState, event: ReloadAsked, turn: Turn) -> None:
    if fleet.ending is not None:
        _refuse(turn, event.request, "the fleet is stopping")
        if not event.request:
            turn.note("info", f"no reload ({event.source}): the fleet is stopping")
        return
    if fleet.broken:
        _refuse(turn, event.request, f"this master is broken ({fleet.broken}): restart it")
        return
    queue = fleet.queue
    if fleet.reload is not None and not queue.waiting:
        turn.note("info", f"reload ({event.source}) waits for the one under way")
    queue.waiting = True
    queue.source = event.source
    if event.request:
        queue.requests.append(event.request)


def refuse_waiting(queue: Queue, turn: Turn) -> None:
    for request in queue.take():
        _refuse(turn, request, "the fleet stops")


def _refuse(turn: Turn, request: int, reason: str) -> None:
    answer(turn, request, f"not adopted: {reason}", {"reason": reason}, ok=False)


def begin_reload(fleet: FleetState, generation: int, turn: Turn) -> Reload:
    queue = fleet.queue
    reload = _begin(fleet, generation, queue.source, queue.take(), turn)
    reload.preface, queue.preface = queue.preface, ""
    turn.actions.append(Prepare(generation))
    return reload


def rollback_asked(fleet: FleetState, event: RollbackAsked, turn: Turn) -> Reload | None:
    """Begin it, or say why not."""
    refusal = _rollback_refusal(fleet)
    if refusal or fleet.kept is None:
        turn.note("info", f"rollback ({event.source}) refused: {refusal}")
        answer(turn, event.request, f"not rolled back: {refusal}", {"reason": refusal}, ok=False)
        return None
    asked = [event.request] if event.request else []
    reload = _begin(fleet, fleet.kept.generation, event.source, asked, turn, rollback=True)
    turn.actions.append(Restore(reload.generation))
    return reload


def _rollback_refusal(fleet: FleetState) -> str:
    if fleet.ending is not None:
        return "the fleet is stopping"
    if fleet.broken:
        return f"this master is broken ({fleet.broken}): restart it"
    if fleet.reload is not None or fleet.queue.waiting:
        what = "rollback" if fleet.reload is not None and fleet.reload.rollback else "reload"
        return f"a {what} is under way. Ask again when it has ended"
    if fleet.upgrade is not None:
        return "an upgrade is under way. Ask again when it has ended"
    if fleet.kept is None:
        return fleet.not_kept or "no generation is kept. Set master.keep_s to keep one after each reload"
    return ""


def _begin(
    fleet: FleetState, generation: int, source: str, asked: list[int], turn: Turn, *, rollback: bool = False
) -> Reload:
    stall_s = max((patience(pool.policy) for pool in fleet.pools.values()), default=60.0)
    reload = Reload(generation, fleet.generation, source, asked, turn.now, stall_s, rollback)
    what = "rollback" if rollback else "reload"
    turn.note("info", f"{what} ({source}): generation {fleet.generation} -> {generation}")
    reload.tell(turn, "", "validate", "", f"g{fleet.generation} -> g{generation}")
    return reload


def adopted(fleet: FleetState, reload: Reload, previous: int, turn: Turn) -> None:
    for name in reload.policies:
        reload.tell(turn, name, "commit", "ok")
    took_s, kept = turn.now - reload.started_at, fleet.kept
    done = "rolled back to" if reload.rollback else "adopted"
    text = f"{done} generation {reload.generation} in {seconds(took_s)}"
    fleet.last_reload, fleet.last_reload_at = f"{text} ({reload.source})", turn.now
    if not reload.rollback:
        fleet.refused_at = None
    turn.actions.append(Adopt(reload.generation, kept.generation if kept is not None else 0))
    more = _about_kept(fleet, reload, previous)
    turn.note("info", "; ".join(filter(None, (f"{text}: {counts(fleet.pools.values())}", more))))
    result = {"generation": reload.generation, "previous": previous, "took_s": round(took_s, 3)}
    if kept is not None:
        result["kept"] = kept.generation
    lines = [*filter(None, [reload.preface]), text, *(f"warning: {warning}" for warning in reload.warnings)]
    lines += [more] if more else []
    for request in reload.requests:
        answer(turn, request, "\n".join(lines), result, ok=True)


def _about_kept(fleet: FleetState, reload: Reload, previous: int) -> str:
    """What became of the generation before, if it was to be kept, and what is missing of this one."""
    texts = []
    missing = [
        f"{pool.ready} of {pool.size} in {pool.name}"
        for pool in fleet.pools.values()
        if pool.ready < pool.size and pool.degraded(fleet.generation)
    ]
    if reload.rollback and missing:
        texts.append(f"{', '.join(missing)}: what is missing stays so until the next reload")
    if fleet.kept is not None:
        texts.append(f"generation {previous} is kept for {span(reload.keep_s)}: gwctl rollback goes to it")
    elif reload.keep_s > 0 and reload.lost:
        lost = ", ".join(reload.lost)
        texts.append(f"generation {previous} is not kept for a rollback: only it serves {lost}")
    elif reload.keep_s > 0:
        texts.append(f"generation {previous} is not kept for a rollback: none of its workers is left")
    return ", ".join(texts)


def refused(fleet: FleetState, reload: Reload, pool: str, failure: Failure, turn: Turn) -> None:
    """The candidate is dropped: say why, where it stood, and what serves now."""
    phase = reload.phase_of(pool)
    reload.tell(turn, pool, phase, "FAILED", failure.message)
    if reload.stage is not Stage.VALIDATE:  # else there is nothing yet, or the late answer will see to it
        turn.actions.append(Abandon(reload.generation))
    reason = f"{pool}: {failure.message}" if pool else failure.message
    what = "gone back to" if reload.rollback else "adopted"
    head = f"generation {reload.generation} was not {what}: {reason}"
    fleet.last_reload, fleet.last_reload_at = f"{head.splitlines()[0]} ({reload.source})", turn.now
    if failure.kind != "stop" and not reload.rollback and fleet.refused_at is None:
        fleet.refused_at = turn.now
    trace = failure.traceback.strip("\n")
    if failure.dumped:
        trace = f"Where it stood follows in the log: see the record of pid {failure.dumped}"
    standing = _standing(fleet) if failure.kind != "stop" else ""
    level = "error" if standing else "info"  # a stop is nothing that went wrong
    turn.note(level, "\n".join(filter(None, (head, trace, standing))))
    result = {
        "generation": fleet.generation,
        "refused": reload.generation,
        "pool": pool,
        "phase": phase,
        "kind": failure.kind,
        "reason": failure.message,
        "traceback": failure.traceback,
    }
    text = "\n\n".join(filter(None, (reload.preface, head, trace, f"{standing}." if standing else "")))
    for request in reload.requests:
        answer(turn, request, text, result, ok=False)


def _standing(fleet: FleetState) -> str:
    serving = f"generation {fleet.generation} serves as before ({_strength(fleet)})"
    if not fleet.disk_differs or fleet.rolled_back:
        return serving
    if not fleet.degraded:
        serving += ", and whoever has to be replaced is forked from its template, of the same code"
    return f"{serving}. The files on disk are newer than what runs: mend them and reload"


def _strength(fleet: FleetState) -> str:
    """Counts of the generation in force; what is parked serves again right after this."""
    texts = []
    for pool in fleet.pools.values():
        if pool.size:
            able = sum(w.serving or w.state is State.PARKED for w in pool.of_generation(fleet.generation))
            texts.append(f"{pool.name} {able}/{pool.size} ready")
    return ", ".join(texts)


# ---- scale


def scale_asked(fleet: FleetState, event: ScaleAsked, turn: Turn) -> None:
    names = [event.pool] if event.pool else [name for name, pool in fleet.pools.items() if pool.size]
    refusal = _scale_refusal(fleet, event)
    if refusal:
        answer(turn, event.request, refusal, {"pool": event.pool}, ok=False)
        return
    done = [_scale(fleet, fleet.pools[name], event, turn) for name in names]
    text = "\n".join(line for line, _ in done)
    result = done[0][1] if len(done) == 1 else {"pools": [each for _, each in done]}
    answer(turn, event.request, text, result, ok=True)


def _scale_refusal(fleet: FleetState, event: ScaleAsked) -> str:
    if fleet.ending is not None:
        return "the fleet is stopping"
    known = [name for name, pool in fleet.pools.items() if pool.size]
    if event.pool and event.pool not in known:
        return f"no pool named {event.pool!r}; there is: {', '.join(known)}"
    sizes = [_asked(fleet.pools[name], event) for name in ([event.pool] if event.pool else known)]
    return f"a pool has at most {WORKERS_MAX} workers" if max(sizes, default=0) > WORKERS_MAX else ""


def _asked(pool: Pool, event: ScaleAsked) -> int:
    return (pool.size if event.size is None else event.size) + event.delta


def _scale(fleet: FleetState, pool: Pool, event: ScaleAsked, turn: Turn) -> tuple[str, dict[str, Any]]:
    was = pool.size
    asked = _asked(pool, event)
    pool.size = max(1, asked)
    if fleet.reload is not None and pool.name in fleet.reload.sizes:
        fleet.reload.sizes[pool.name] = pool.size  # the new generation gets as many
    text = scaled(pool.name, was, pool.size, asked)
    if fleet.rolled_back and pool.size > pool.ready and pool.degraded(fleet.generation):
        text += f". {NOT_STARTED}: {fleet.degraded}"
    turn.note("info", text.removeprefix(f"{pool.name}: "), pool=pool.name)
    return text, {"pool": pool.name, "size": pool.size, "was": was}


# ---- start


def all_ready(pools: Iterable[Pool], turn: Turn, began_at: float) -> bool:
    """True, and said, when every pool has its full strength."""
    wanted = [pool for pool in pools if pool.size]
    if not wanted or any(pool.ready < pool.size for pool in wanted):
        return False
    turn.note("info", f"serving: {counts(wanted)} in {seconds(turn.now - began_at)}")
    return True
