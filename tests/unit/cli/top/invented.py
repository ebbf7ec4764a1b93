"""Samples of an invented master, and what `gwctl top` makes of them."""

from __future__ import annotations

from typing import Any

from gwctl.cli.top.model import History, Model, Pool, Sample, Worker, sample
from gwctl.control.metrics import Durations, MasterMetrics, PoolMetrics, WorkerMetrics
from gwctl.control.requests import RequestUnderWay
from gwctl.control.status import PoolStatus, to_json_ready
from tests.support.invented_status import MIB, master


def worker(slot: int = 0, **more: Any) -> Worker:
    told = {
        "pool": "web",
        "pid": 4133 + slot,
        "state": "ready",
        "generation": 5,
        "up_s": 840.0,
        "active": 0,
        "slots": 8,
        "requests_per_s": 54.0,
        "cpu": 0.12,
        "connections": 31,
        "memory_bytes": 71 * MIB,
    }
    if "served" in more:
        more["served"] = tuple(RequestUnderWay(*each) for each in more["served"])
        more.setdefault("active", len(more["served"]))
    return Worker(slot=slot, **(told | more))


def pool(*workers: Worker, **more: Any) -> Pool:
    told = {
        "name": "web",
        "worker": "threads",
        "size": len(workers),
        "ready": len(workers),
        "scaling": "",
        "active": sum(each.active for each in workers),
        "busy": 0.38,
        "requests_per_s": 106.0,
        "p99_ms": 41.0,
        "errors": 0.0002,
        "backlog": 0,
        "backlog_max": 2048,
        "restarts": 0,
        "note": "",
        "load": (0.0, 0.12, 0.3, 0.5, 0.9, 0.38),
        "workers": workers,
    }
    return Pool(**(told | more))


def model(*pools: Pool, **more: Any) -> Model:
    told = {
        "name": "shop",
        "pid": 4120,
        "version": "0.2.0",
        "generation": 5,
        "phase": "serving",
        "up_s": 273600.0,
        "health": "healthy",
        "health_reason": "",
        "requests_per_s": 212.0,
        "p99_ms": 41.0,
        "errors": 0.0002,
        "pools": pools,
    }
    return Model(**(told | more))


def answers(
    up_s: float,
    *pools: PoolStatus,
    cpu: dict[int, float] | None = None,
    counts: tuple[int, ...] = (),
    **more: Any,
) -> Sample:
    """What a master with ``pools`` answers; ``counts`` are the durations of each pool."""
    workers = tuple(WorkerMetrics(0, pid, "ready", 2, 1.0, cpu_s=used) for pid, used in (cpu or {}).items())
    figures = tuple(
        PoolMetrics(each.name, "threads", each.size, each.ready, durations=Durations(counts), workers=workers)
        for each in pools
    )
    status = master(*pools, up_s=up_s, **more)
    metrics = MasterMetrics("shop", "0.2.0", status.pid, up_s, 2, "serving", "healthy", pools=figures)
    return Sample(status, metrics, {})


def first(document: Any, **more: Any) -> Model:
    """The model of a single sample."""
    return History().add(sample(to_json_ready(document), **more))
