"""Gathers what ``gwctl status`` shows, from the core, the scoreboard and the plans."""

from __future__ import annotations

import os
import platform
import time

import msgspec

from gwctl import __version__
from gwctl.control import health, status
from gwctl.records.base import TEMPLATE
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.children import Children
from gwctl.supervisor.children.procfs import resident_bytes
from gwctl.supervisor.control.pressure import open_files
from gwctl.supervisor.control.status import pool_status, worker_status
from gwctl.supervisor.core import kept as keep
from gwctl.supervisor.core import wording
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.scaling import paused
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.core.worker import State, Worker
from gwctl.supervisor.generations.generations import Generations
from gwctl.supervisor.groups.pressure import read_pressure
from gwctl.supervisor.listeners.backlog import waiting


class Adoption(msgspec.Struct):
    """When and by whom the generation in force was adopted; ``at`` in seconds since the epoch."""

    at: float
    by: str


def master_status(
    name: str,
    started_at: float,
    adoption: Adoption,
    fleet: FleetState,
    children: Children,
    generations: Generations,
) -> status.MasterStatus:
    """The document of `gwctl.control.status`. ``started_at`` is monotonic."""
    now = time.monotonic()
    path = generations.current.loaded.path
    document = status.MasterStatus(
        name=name,
        pid=os.getpid(),
        version=__version__,
        up_s=round(now - started_at, 3),
        generation=fleet.generation,
        phase=fleet.phase.value,
        accepts_s=round(accepts_s, 3) if (accepts_s := fleet.accepts_for(now)) is not None else None,
        adopted_at=adoption.at,
        adopted_by=adoption.by,
        degraded=fleet.degraded,
        last_reload=fleet.last_reload,
        last_reload_at=time.time() - (now - fleet.last_reload_at) if fleet.last_reload else None,
        refused_at=time.time() - (now - fleet.refused_at) if fleet.refused_at is not None else None,
        kept=_kept(fleet, now),
        reload=_reload(fleet, now),
        config=str(path) if path else "",
        python=platform.python_version(),
        log_to=generations.log_place,
        pressure=read_pressure(),
        pools=tuple(
            _pool(pool, paused(fleet, pool), now, started_at, children, generations)
            for pool in fleet.pools.values()
        ),
    )
    word, why = health.of(document)
    return msgspec.structs.replace(document, health=word, health_reason=why)


def _reload(fleet: FleetState, now: float) -> status.ReloadStatus | None:
    reload = fleet.reload
    if reload is None:
        return None
    return status.ReloadStatus(
        reload.generation,
        reload.source,
        round(max(0.0, now - reload.started_at), 3),
        reload.rollback,
        {name: reload.phase_of(name) for name in reload.policies or fleet.pools if reload.touches(name)},
        restart=reload.restart is not None,
        watches=reload.watching,
        watched=tuple(map(reload.watched, reload.watches.by_pool)),
    )


def _kept(fleet: FleetState, now: float) -> status.KeptStatus | None:
    kept = fleet.kept
    if kept is None:
        return None
    left_s = max(0.0, kept.until - now)
    workers = dict(keep.living(fleet, kept))
    return status.KeptStatus(kept.generation, time.time() + left_s, round(left_s, 3), workers)


def _pool(
    pool: Pool,
    why_paused: str,
    now: float,
    started_at: float,
    children: Children,
    generations: Generations,
) -> status.PoolStatus:
    workers = []
    totals = children.totals_of(pool.name, now)
    worker_class = threads = None
    for worker in pool.workers:
        child = children.get(worker.id)
        if child is None:
            continue
        if child.ready is not None:
            worker_class = child.ready.worker_class
        threads = child.settings.threads
        workers.append(_worker(worker, child, now))
    settings = generations.current.loaded.settings.pool.get(pool.name)
    bind = generations.listeners_of(pool.generation, pool.name) if settings is not None else ()
    queues = [found for listener in bind if (found := waiting(listener.sock)) is not None]
    return pool_status(
        totals,
        workers,
        recent=children.recent.window(pool.name, totals, now, started_at),
        backlog=sum(queue for queue, _ in queues) if queues else None,
        backlog_max=sum(most for _, most in queues) if queues else None,
        restarts=pool.restarts,
        name=pool.name,
        worker=worker_class or (settings.worker if settings is not None else "auto"),
        threads=threads or (settings.threads if settings is not None else 1),
        size=pool.size,
        generation=pool.generation,
        scaling=_scaling(pool, why_paused),
        allowed_as=pool.allowed_as if pool.size else "",
        ready=pool.ready,
        urls=[listener.url for listener in bind],
        note=_trouble(pool, now),
        templates=_templates(pool, now, children),
    )


def _scaling(pool: Pool, why_paused: str) -> status.ScalingStatus | None:
    policy, scaling = pool.policy.scale, pool.scaling
    if policy is None or not pool.size:
        return None
    return status.ScalingStatus(
        min=policy.min,
        max=policy.max,
        paused=why_paused,
        by_hand=bool(scaling.by_hand),
        busy=round(scaling.busy, 2) if scaling.since is not None else None,
        need=scaling.need or None,
        held=scaling.held,
    )


def _templates(pool: Pool, now: float, children: Children) -> list[status.TemplateStatus]:
    found = [(template, children.get(template.id)) for template in pool.templates.values()]
    return [
        status.TemplateStatus(
            pid=child.pid,
            state=template.state.value,
            generation=template.generation,
            up_s=round(now - child.spawned_at, 3),
            memory_bytes=resident_bytes(child.pid),
        )
        for template, child in found
        if child is not None
    ]


def _trouble(pool: Pool, now: float) -> str:
    """Say which slots wait before they are tried again, and why."""
    waiting = [(number, slot) for number, slot in sorted(pool.slots.items()) if slot.next_try_at > now]
    named = [("the template" if number == TEMPLATE else f"slot {number}", slot) for number, slot in waiting]
    return "; ".join(
        f"{name} {wording.waits(slot)}: next try in {slot.next_try_at - now:.0f} s" for name, slot in named
    )


def _worker(worker: Worker, child: Child, now: float) -> status.WorkerStatus:
    draining = worker.state is State.DRAINING and worker.deadline is not None
    report = worker_status(
        child.trusted_record(now),
        slot=worker.slot,
        state=worker.state.value,
        generation=worker.generation,
        pid=child.pid,
        started_at=child.spawned_at,
        now=now,
        requests_per_s=child.rate,
        slots=child.slots if child.ready is not None else 1,
        serves_many=child.serves_many,
        replaced=worker.replace_reason,
        shown=child.shown,
        left_s=worker.deadline - now if draining and worker.deadline is not None else None,
    )
    files = open_files(child.pid) if child.pid else None
    return msgspec.structs.replace(
        report,
        memory_bytes=resident_bytes(child.pid) or report.memory_bytes,
        from_disk=worker.from_disk,
        files=files[0] if files else None,
        files_max=files[1] if files else None,
    )
