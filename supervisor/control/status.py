"""From the scoreboard's figures to the workers and pools of the status document. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gwctl.control.latency import percentile_ms
from gwctl.control.status import MinuteStatus, PoolStatus, ScalingStatus, TemplateStatus, WorkerStatus
from gwctl.ipc import scoreboard
from gwctl.masking import masked
from gwctl.supervisor.children.recent_totals import Window
from gwctl.supervisor.children.totals import Totals


def worker_status(
    record: scoreboard.Record,
    *,
    slot: int,
    state: str,
    generation: int,
    pid: int,
    started_at: float,
    now: float,
    requests_per_s: float,
    slots: int,
    left_s: float | None = None,
    serves_many: bool = False,
    replaced: str = "",
    shown: Callable[[str], str] = masked,
) -> WorkerStatus:
    """Read a worker's record. ``now`` and ``started_at`` are monotonic."""
    words = record.words
    busy_since = record.floats[scoreboard.BUSY_SINCE]
    if serves_many and not busy_since:
        busy_since = record.floats[scoreboard.LONGEST_SINCE]
    busy = busy_since > 0.0
    return WorkerStatus(
        slot=slot,
        pid=pid,
        state=state,
        generation=generation,
        up_s=round(max(0.0, now - started_at), 3),
        requests=words[scoreboard.REQUESTS],
        errors=words[scoreboard.ERRORS],
        requests_per_s=round(requests_per_s, 2),
        active=words[scoreboard.ACTIVE] or int(busy),
        slots=slots,
        request=shown(record.request_line) if busy else "",
        request_s=round(max(0.0, now - busy_since), 3) if busy else 0.0,
        connections=words[scoreboard.CONNECTIONS],
        memory_bytes=words[scoreboard.MEMORY_BYTES],
        left_s=None if left_s is None else round(max(0.0, left_s), 3),
        replaced=replaced,
    )


def pool_status(
    totals: Totals,
    workers: Iterable[WorkerStatus],
    *,
    name: str,
    worker: str,
    threads: int,
    size: int,
    generation: int = 0,
    ready: int,
    urls: Sequence[str],
    note: str = "",
    templates: Iterable[TemplateStatus] = (),
    recent: Window | None = None,
    backlog: int | None = None,
    backlog_max: int | None = None,
    restarts: int = 0,
    scaling: ScalingStatus | None = None,
    allowed_as: str = "",
) -> PoolStatus:
    """Sum up a pool. ``totals`` covers its workers, dead and alive; ``worker`` is the class."""
    workers = sorted(workers, key=lambda each: (each.slot, -each.generation, each.pid))
    serving = [each for each in workers if each.state == "ready"]
    room = sum(each.slots for each in serving)
    limited = bool(room) and all(each.slots for each in serving)
    return PoolStatus(
        name=name,
        worker=worker,
        threads=threads,
        size=size,
        generation=generation,
        scaling=scaling,
        allowed_as=allowed_as,
        ready=ready,
        urls=tuple(urls),
        requests=totals.requests,
        errors=totals.errors,
        bytes_out=totals.bytes_out,
        accepted=totals.accepted,
        refused=totals.refused,
        evicted=totals.evicted,
        dropped=totals.dropped,
        requests_per_s=round(sum(each.requests_per_s for each in workers), 2),
        p50_ms=percentile_ms(totals.latency, 0.50),
        p99_ms=percentile_ms(totals.latency, 0.99),
        minute=_minute(recent) if recent is not None else None,
        backlog=backlog,
        backlog_max=backlog_max,
        restarts=restarts,
        busy=round(min(1.0, sum(each.active for each in serving) / room), 4) if limited else None,
        note=note,
        workers=tuple(workers),
        templates=tuple(templates),
    )


def _minute(window: Window) -> MinuteStatus:
    return MinuteStatus(
        seconds=round(window.seconds, 1),
        requests=window.requests,
        errors=window.errors,
        requests_per_s=round(window.per_s, 2),
        p50_ms=percentile_ms(window.latency, 0.50),
        p99_ms=percentile_ms(window.latency, 0.99),
    )
