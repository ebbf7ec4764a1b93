"""What each pool did between two readings of its figures, for curves. Pure.

Rates and percentiles come from differences of counters, so they are of that span and not of the pool's life.
A counter that is lower than before counts as unchanged. A pool that was not there before began at 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gwctl.control.latency import percentile_ms
from gwctl.control.metrics import MasterMetrics, PoolMetrics, WorkerMetrics


class PoolSample(msgspec.Struct, frozen=True):
    """One pool in one span."""

    requests_per_s: float
    errors_per_s: float
    """Of responses with 5xx."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    busy: float | None
    """Part of the capacity in use, when the span ended; None where there is no limit."""
    memory_bytes: int
    connections: int
    backlog: int | None
    workers: dict[str, float]
    """Load of each ready worker, 0 to 1, by its slot."""


class Sample(msgspec.Struct, frozen=True):
    """All pools; ``at`` is when the span ended, in seconds since the epoch."""

    at: float
    pools: dict[str, PoolSample]


class Reading(msgspec.Struct, frozen=True):
    """Figures, and when they came: by the clock of the wall, and by the one that nobody sets."""

    at: float
    monotonic: float
    metrics: MasterMetrics


def sample(before: Reading, after: Reading) -> Sample:
    """Compare two readings, the second of which came later."""
    span_s = max(after.monotonic - before.monotonic, 0.001)
    known = {pool.name: pool for pool in before.metrics.pools}
    pools = {pool.name: _of_pool(known.get(pool.name), pool, span_s) for pool in after.metrics.pools}
    return Sample(round(after.at, 3), pools)


def _of_pool(before: PoolMetrics | None, after: PoolMetrics, span_s: float) -> PoolSample:
    if before is None:
        before = PoolMetrics(after.name, after.worker, after.size, 0)
    requests, errors = _requests(before, after)
    latency = _latency(before.durations.counts, after.durations.counts)
    return PoolSample(
        requests_per_s=round(requests / span_s, 2),
        errors_per_s=round(errors / span_s, 2),
        p50_ms=percentile_ms(latency, 0.50),
        p95_ms=percentile_ms(latency, 0.95),
        p99_ms=percentile_ms(latency, 0.99),
        busy=busy(after),
        memory_bytes=sum(worker.memory_bytes for worker in after.workers),
        connections=after.connections,
        backlog=after.backlog,
        workers=_loads(before, after, span_s),
    )


def busy(pool: PoolMetrics) -> float | None:
    """The part of what the ready workers can do at once that is in use; None where that is not known."""
    if not pool.capacity:
        return None
    return round(min(1.0, pool.active / pool.capacity), 4)


def in_slots(workers: Iterable[WorkerMetrics]) -> dict[int, WorkerMetrics]:
    """One worker for each slot: while one replaces another, that which serves, else the newer one."""
    found: dict[int, WorkerMetrics] = {}
    for worker in workers:
        other = found.get(worker.slot)
        if other is None or _claim(worker) > _claim(other):
            found[worker.slot] = worker
    return dict(sorted(found.items()))


def _claim(worker: WorkerMetrics) -> tuple[bool, int, float]:
    return worker.state == "ready", worker.generation, -worker.up_s


def _requests(before: PoolMetrics, after: PoolMetrics) -> tuple[float, float]:
    """How many there were in between, and how many of them were answered with 5xx."""
    requests = errors = 0.0
    for method, classes in after.requests.items():
        was = before.requests.get(method, {})
        for status, count in classes.items():
            more = _more(was.get(status, 0), count)
            requests += more
            errors += more if status == "5xx" else 0.0
    return requests, errors


def _more(before: float, after: float) -> float:
    return max(0.0, after - before)


def _latency(before: tuple[int, ...], after: tuple[int, ...]) -> list[int]:
    padded = before + (0,) * (len(after) - len(before))
    return [max(0, count - was) for was, count in zip(padded, after, strict=False)]


def _loads(before: PoolMetrics, after: PoolMetrics, span_s: float) -> dict[str, float]:
    """Requests in hand by what a worker can have; where that has no limit, its part of one processor."""
    ready = [worker for worker in in_slots(after.workers).values() if worker.state == "ready"]
    if after.capacity:
        room = after.capacity / max(after.ready, 1)
        loads = {worker.slot: worker.active / room for worker in ready}
    else:
        spent = {worker.pid: worker.cpu_s for worker in before.workers}
        loads = {worker.slot: _more(spent.get(worker.pid, 0.0), worker.cpu_s) / span_s for worker in ready}
    return {str(slot): round(min(1.0, load), 3) for slot, load in loads.items()}
