"""Gathers the figures of ``metrics`` and ``health``: from the core, the scoreboards and the tally."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from gwctl import __version__
from gwctl.control import metrics, status
from gwctl.control.metrics import Durations, Summary
from gwctl.ipc import exemplars
from gwctl.ipc.scoreboard import (
    COLLECTED_MAX_S,
    LAG_S,
    METHODS,
    STATUS_CLASSES,
    WEBSOCKETS,
    Record,
)
from gwctl.supervisor.children.children import Children
from gwctl.supervisor.children.procfs import resident_bytes
from gwctl.supervisor.children.totals import SlotTotals, Totals
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.generations.generations import Generations
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.tally import PoolTally


def metrics_document(
    report: status.MasterStatus, children: Children, generations: Generations, recorder: Recorder
) -> dict[str, Any]:
    """The document of `gwctl.control.metrics`. ``report`` is the status of this moment."""
    tally, now = recorder.tally, time.monotonic()
    document = metrics.MasterMetrics(
        name=report.name,
        version=report.version or __version__,
        pid=report.pid,
        up_s=report.up_s,
        generation=report.generation,
        phase=report.phase,
        health=report.health,
        memory_bytes=resident_bytes(os.getpid()),
        cpu_s=round(time.process_time(), 3),
        reloads=dict(tally.reloads),
        reload_seconds=tally.reload_seconds,
        upgrades=dict(tally.upgrades),
        pressure=report.pressure.known if report.pressure is not None else {},
        log_lines_lost=recorder.log.lost,
        events=recorder.history.last,
        pools=tuple(
            _pool(pool, children, _ready_min(generations, pool.name, pool.size), tally.of(pool.name), now)
            for pool in report.pools
        ),
    )
    found: dict[str, Any] = msgspec.to_builtins(document)
    return found


def _pool(
    pool: status.PoolStatus, children: Children, ready_min: int, tally: PoolTally, now: float
) -> metrics.PoolMetrics:
    totals, slots = children.totals_of(pool.name, now), children.slots_of(pool.name, now)
    records = {
        child.pid: child.trusted_record(now)
        for child in children
        if child.pool == pool.name and not child.template
    }
    serving = [worker for worker in pool.workers if worker.state == "ready"]
    limited = bool(serving) and all(worker.slots for worker in serving)
    return metrics.PoolMetrics(
        name=pool.name,
        worker=pool.worker,
        size=pool.size,
        ready=pool.ready,
        size_min=pool.scaling.min if pool.scaling is not None else None,
        size_max=pool.scaling.max if pool.scaling is not None else None,
        need=pool.scaling.need if pool.scaling is not None else None,
        ready_min=ready_min,
        capacity=sum(worker.slots for worker in serving) if limited else None,
        active=sum(worker.active for worker in pool.workers),
        requests=_answers(totals),
        durations=Durations(tuple(totals.latency), round(totals.seconds, 6), _exemplars(records.values())),
        queued=Summary(totals.requests, round(totals.waited_s, 6)),
        bytes_out=pool.bytes_out,
        bytes_in=totals.bytes_in,
        tls=_handshakes(totals),
        connections=sum(worker.connections for worker in pool.workers),
        accepted=pool.accepted,
        refused=pool.refused,
        evicted=pool.evicted,
        dropped=pool.dropped,
        websockets=sum(record.words[WEBSOCKETS] for record in records.values()),
        backlog=pool.backlog,
        backlog_max=pool.backlog_max,
        exits=dict(tally.exits),
        boots=tally.boots,
        cpu_s=round(totals.cpu_s, 3),
        collections=Summary(totals.collections, round(totals.collected_s, 6)),
        collection_max_s=max((record.floats[COLLECTED_MAX_S] for record in records.values()), default=0.0),
        workers=tuple(
            _worker(worker, records[worker.pid], slots[worker.slot])
            for worker in pool.workers
            if worker.pid in records
        ),
        processes=tuple(child.worker for child in children if child.pool == pool.name),
    )


def _worker(worker: status.WorkerStatus, record: Record, slot: SlotTotals) -> metrics.WorkerMetrics:
    return metrics.WorkerMetrics(
        slot=worker.slot,
        pid=worker.pid,
        state=worker.state,
        generation=worker.generation,
        up_s=worker.up_s,
        requests=slot.requests,
        active=worker.active,
        connections=worker.connections,
        accepted=slot.accepted,
        memory_bytes=worker.memory_bytes,
        cpu_s=round(slot.cpu_s, 3),
        lag_s=round(record.floats[LAG_S], 6),
    )


def _exemplars(records: Iterable[Record]) -> tuple[metrics.Exemplar, ...]:
    """The last slow request of each doubling, of all workers."""
    latest: dict[int, exemplars.Exemplar] = {}
    now = time.time()
    for record in records:
        for each in exemplars.read(record, now):
            place = exemplars.place_of(each.seconds)
            if place not in latest or each.at > latest[place].at:
                latest[place] = each
    return tuple(
        metrics.Exemplar(round(each.seconds, 6), round(each.at, 3), each.request_id)
        for _, each in sorted(latest.items())
    )


def _handshakes(totals: Totals) -> dict[str, int] | None:
    if not totals.tls_handshakes + totals.tls_failed:
        return None
    full = max(0, totals.tls_handshakes - totals.tls_resumed)
    return {"full": full, "resumed": totals.tls_resumed, "failed": totals.tls_failed}


def _answers(totals: Totals) -> dict[str, dict[str, int]]:
    """By method and class of status, only what there was."""
    found: dict[str, dict[str, int]] = {}
    width = len(STATUS_CLASSES)
    for place, method in enumerate(METHODS):
        counts = totals.answers[place * width : (place + 1) * width]
        by_class = {each: count for each, count in zip(STATUS_CLASSES, counts, strict=True) if count}
        if by_class:
            found[method] = by_class
    return found


def _ready_min(generations: Generations, pool: str, size: int) -> int:
    settings = generations.current.loaded.settings.pool.get(pool)
    return min(settings.ready_min, size) if settings is not None else 0


def health_document(fleet: FleetState, generations: Generations, recorder: Recorder) -> dict[str, Any]:
    """The document of `gwctl.control.metrics.MasterHealth`."""
    pools = {
        pool.name: metrics.PoolHealth(
            size=pool.size,
            ready=pool.ready,
            ready_min=_ready_min(generations, pool.name, pool.size),
            # A master of before the tally may have started them: what is ready has started.
            started=pool.ready > 0 or recorder.tally.of(pool.name).boots.count > 0,
        )
        for pool in fleet.pools.values()
    }
    document = metrics.MasterHealth(fleet.phase.value, fleet.generation, pools)
    found: dict[str, Any] = msgspec.to_builtins(document)
    return found
