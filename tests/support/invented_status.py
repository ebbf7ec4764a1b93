"""Invented workers, pools and masters for the status document."""

from __future__ import annotations

from gwctl.control.status import MasterStatus, PoolStatus, WorkerStatus
from gwctl.supervisor.children.totals import Totals
from gwctl.supervisor.control.status import pool_status

MIB = 1 << 20


def worker(slot: int = 0, **more: object) -> WorkerStatus:
    facts = {
        "pid": 4133 + slot,
        "state": "ready",
        "generation": 2,
        "up_s": 840.0,
        "slots": 8,
        "memory_bytes": 71 * MIB,
    }
    return WorkerStatus(slot=slot, **(facts | more))  # type: ignore[arg-type]


def pool(*workers: WorkerStatus, **more: object) -> PoolStatus:
    facts = {
        "name": "web",
        "worker": "threads",
        "threads": 8,
        "size": 4,
        "ready": 4,
        "urls": ("http://127.0.0.1:8000",),
    }
    return pool_status(Totals(), workers, **(facts | more))  # type: ignore[arg-type]


def master(*pools: PoolStatus, **more: object) -> MasterStatus:
    facts = {
        "name": "shop",
        "pid": 4120,
        "version": "0.1.0",
        "up_s": 273600.0,
        "generation": 2,
        "phase": "serving",
    }
    return MasterStatus(pools=pools, **(facts | more))  # type: ignore[arg-type]
