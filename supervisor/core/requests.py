"""What people ask for, and what they are told: reload and scale (`stopping` has the end).

Requests with number 0 come from signals: there are log lines for them and no answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gwctl.config.scales import WORKERS_MAX
from gwctl.supervisor.core.actions import Abandon, Adopt, Answer, Prepare
from gwctl.supervisor.core.desk import Desk
from gwctl.supervisor.core.events import ReloadAsked, ScaleAsked
from gwctl.supervisor.core.life import Failure, State
from gwctl.supervisor.core.notes import counts, scaled, seconds
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.reload import Reload, Stage, patience

if TYPE_CHECKING:
    from gwctl.supervisor.core.fleet import Fleet


@dataclass(slots=True)
class Queue:
    """The one reload that may wait, however often it was asked for."""

    waiting: bool = False
    source: str = ""
    requests: list[int] = field(default_factory=list)
    preface: str = ""
    """What the answer begins with: the upgrade that this reload follows."""

    def take(self) -> list[int]:
        taken, self.requests, self.waiting = self.requests, [], False
        return taken


def answer(desk: Desk, request: int, text: str, result: dict[str, Any], *, ok: bool) -> None:
    if request:
        desk.actions.append(Answer(request, ok, text, result))


# ---- reload


def reload_asked(fleet: Fleet, queue: Queue, event: ReloadAsked, desk: Desk) -> None:
    if fleet.ending is not None:
        _refuse(desk, event.request, "the fleet is stopping")
        if not event.request:
            desk.note("info", f"no reload ({event.source}): the fleet is stopping")
        return
    if fleet.broken:
        _refuse(desk, event.request, f"this master is broken ({fleet.broken}): restart it")
        return
    if fleet.reload is not None and not queue.waiting:
        desk.note("info", f"reload ({event.source}) waits for the one under way")
    queue.waiting = True
    queue.source = event.source
    if event.request:
        queue.requests.append(event.request)


def refuse_waiting(queue: Queue, desk: Desk) -> None:
    for request in queue.take():
        _refuse(desk, request, "the fleet stops")


def _refuse(desk: Desk, request: int, reason: str) -> None:
    answer(desk, request, f"not adopted: {reason}", {"reason": reason}, ok=False)


def begin_reload(fleet: Fleet, queue: Queue, generation: int, desk: Desk) -> Reload:
    stall_s = max((patience(pool.policy) for pool in fleet.pools.values()), default=60.0)
    reload = Reload(generation, queue.source, queue.take(), desk.now, stall_s, preface=queue.preface)
    queue.preface = ""
    desk.note("info", f"reload ({reload.source}): generation {fleet.generation} -> {generation}")
    reload.tell(desk, "", "validate", "", f"g{fleet.generation} -> g{generation}")
    desk.actions.append(Prepare(generation))
    return reload


def adopted(fleet: Fleet, reload: Reload, previous: int, desk: Desk) -> None:
    for name in reload.policies:
        reload.tell(desk, name, "commit", "ok")
    took_s = desk.now - reload.started_at
    text = f"adopted generation {reload.generation} in {seconds(took_s)}"
    desk.actions.append(Adopt(reload.generation))
    desk.note("info", f"{text}: {counts(fleet.pools.values())}")
    result = {"generation": reload.generation, "previous": previous, "took_s": round(took_s, 3)}
    text = "\n".join(
        [*filter(None, [reload.preface]), text, *(f"warning: {warning}" for warning in reload.warnings)]
    )
    for request in reload.requests:
        answer(desk, request, text, result, ok=True)


def refused(fleet: Fleet, reload: Reload, pool: str, failure: Failure, desk: Desk) -> None:
    """The candidate is dropped: say why, where it stood, and what serves now."""
    phase = reload.phase_of(pool)
    reload.tell(desk, pool, phase, "FAILED", failure.message)
    if reload.stage is not Stage.VALIDATE:  # else there is nothing yet, or the late answer will see to it
        desk.actions.append(Abandon(reload.generation))
    reason = f"{pool}: {failure.message}" if pool else failure.message
    head = f"generation {reload.generation} was not adopted: {reason}"
    trace = failure.traceback.strip("\n")
    standing = _standing(fleet) if failure.kind != "stop" else ""
    level = "error" if standing else "info"  # a stop is nothing that went wrong
    desk.note(level, "\n".join(filter(None, (head, trace, standing))))
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
        answer(desk, request, text, result, ok=False)


def _standing(fleet: Fleet) -> str:
    serving = f"generation {fleet.generation} serves as before ({_strength(fleet)})"
    if not fleet.disk_differs:
        return serving
    if not fleet.degraded:
        serving += ", and whoever has to be replaced is forked from its template, of the same code"
    return f"{serving}. The files on disk are newer than what runs: mend them and reload"


def _strength(fleet: Fleet) -> str:
    """Counts of the generation in force; what is parked serves again right after this."""
    texts = []
    for pool in fleet.pools.values():
        if pool.size:
            able = sum(w.serving or w.state is State.PARKED for w in pool.of_generation(fleet.generation))
            texts.append(f"{pool.name} {able}/{pool.size} ready")
    return ", ".join(texts)


# ---- scale


def scale_asked(fleet: Fleet, event: ScaleAsked, desk: Desk) -> None:
    names = [event.pool] if event.pool else [name for name, pool in fleet.pools.items() if pool.size]
    refusal = _scale_refusal(fleet, event)
    if refusal:
        answer(desk, event.request, refusal, {"pool": event.pool}, ok=False)
        return
    done = [_scale(fleet, fleet.pools[name], event, desk) for name in names]
    text = "\n".join(line for line, _ in done)
    result = done[0][1] if len(done) == 1 else {"pools": [each for _, each in done]}
    answer(desk, event.request, text, result, ok=True)


def _scale_refusal(fleet: Fleet, event: ScaleAsked) -> str:
    if fleet.ending is not None:
        return "the fleet is stopping"
    known = [name for name, pool in fleet.pools.items() if pool.size]
    if event.pool and event.pool not in known:
        return f"no pool named {event.pool!r}; there is: {', '.join(known)}"
    sizes = [_asked(fleet.pools[name], event) for name in ([event.pool] if event.pool else known)]
    return f"a pool has at most {WORKERS_MAX} workers" if max(sizes, default=0) > WORKERS_MAX else ""


def _asked(pool: Pool, event: ScaleAsked) -> int:
    return (pool.size if event.size is None else event.size) + event.delta


def _scale(fleet: Fleet, pool: Pool, event: ScaleAsked, desk: Desk) -> tuple[str, dict[str, Any]]:
    was = pool.size
    asked = _asked(pool, event)
    pool.size = max(1, asked)
    if fleet.reload is not None and pool.name in fleet.reload.sizes:
        fleet.reload.sizes[pool.name] = pool.size  # the new generation gets as many
    text = scaled(pool.name, was, pool.size, asked)
    desk.note("info", text.removeprefix(f"{pool.name}: "), pool=pool.name)
    return text, {"pool": pool.name, "size": pool.size, "was": was}


# ---- start


def all_ready(pools: Iterable[Pool], desk: Desk, began_at: float) -> bool:
    """True, and said, when every pool has its full strength."""
    wanted = [pool for pool in pools if pool.size]
    if not wanted or any(pool.ready < pool.size for pool in wanted):
        return False
    desk.note("info", f"serving: {counts(wanted)} in {seconds(desk.now - began_at)}")
    return True
