"""What ``gwctl status`` shows: the document (``--json``) and how it reads as text.

The master builds the document from facts (`worker_status`, `pool_status`, `MasterStatus`); the
command renders it (`render`). All pure. The document's fields are a public interface: fields
are added, never renamed, and a reader ignores those it does not know.

Latencies are over the life of the pool, dead workers included, so they never jump when a
worker is replaced; rates are over the master's last sample. A percentile is read off the
histogram's buckets, each twice as wide as the one before, by interpolation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from gwctl import scoreboard
from gwctl.masking import masked
from gwctl.supervisor.totals import Totals

_NOW_CHARS_MAX: Final = 40
_BUCKET_MS: Final = 0.1


class WorkerStatus(msgspec.Struct, frozen=True):
    """One worker. Times in seconds; ``slots`` is how many requests it can serve at once, 0 for no limit."""

    slot: int
    pid: int
    state: str
    generation: int
    up_s: float
    requests: int = 0
    errors: int = 0
    requests_per_s: float = 0.0
    active: int = 0
    slots: int = 1
    request: str = ""
    """Request line of what it serves; of one of them when it serves several."""
    request_s: float = 0.0
    connections: int = 0
    memory_bytes: int = 0
    left_s: float | None = None
    """How long a draining worker may still take."""
    replaced: str = ""
    """Why it is being replaced, or shall be; empty when it stays."""


class TemplateStatus(msgspec.Struct, frozen=True):
    """A process that workers of one generation are forked from. Its state is ``ready`` when it can be."""

    pid: int
    state: str
    generation: int
    up_s: float
    memory_bytes: int = 0


class PoolStatus(msgspec.Struct, frozen=True):
    """One pool; counters over its life, dead workers included."""

    name: str
    worker: str
    threads: int
    size: int
    ready: int
    urls: tuple[str, ...] = ()
    requests: int = 0
    errors: int = 0
    bytes_out: int = 0
    accepted: int = 0
    refused: int = 0
    """Connections and requests answered with 503 for overload."""
    evicted: int = 0
    """Silent connections closed to make room for new ones."""
    dropped: int = 0
    """Requests not begun: they had waited longer than queue_timeout_s, or their client was gone."""
    requests_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    busy: float | None = None
    """Part of what the ready workers can do at once that is in use; None where there is no limit."""
    note: str = ""
    """What is wrong with it: ``slot 2 keeps dying``."""
    workers: tuple[WorkerStatus, ...] = ()
    templates: tuple[TemplateStatus, ...] = ()
    """With ``preload``; those of previous generations while they are kept."""


class KeptStatus(msgspec.Struct, frozen=True):
    """A generation whose workers are parked for a rollback; ``until`` in seconds since the epoch."""

    generation: int
    until: float
    left_s: float
    workers: dict[str, int]
    """How many of its workers are left, by pool."""


class MasterStatus(msgspec.Struct, frozen=True):
    """The whole document. ``adopted_at`` is the time of day, in seconds since the epoch."""

    name: str
    pid: int
    version: str
    up_s: float
    generation: int
    phase: str
    accepts_s: float | None = None
    """For how long a master that stops still accepts connections."""
    adopted_at: float | None = None
    adopted_by: str = ""
    degraded: str = ""
    kept: KeptStatus | None = None
    """The generation that ``gwctl rollback`` goes back to."""
    config: str = ""
    python: str = ""
    pools: tuple[PoolStatus, ...] = ()


# ---- facts to document


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
    ready: int,
    urls: Sequence[str],
    note: str = "",
    templates: Iterable[TemplateStatus] = (),
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
        busy=round(min(1.0, sum(each.active for each in serving) / room), 4) if limited else None,
        note=note,
        workers=tuple(workers),
        templates=tuple(templates),
    )


def percentile_ms(latency: Sequence[int], part: float) -> float | None:
    """The duration that ``part`` of the requests stayed below; None without requests.

    Bucket i counts requests that took less than ``2**i * 0.1`` ms, the last one all longer ones too.
    """
    wanted = sum(latency) * part
    if not wanted:
        return None
    seen = 0
    for index, count in enumerate(latency):
        if count and seen + count >= wanted:
            high = _BUCKET_MS * (1 << index)
            low = high / 2 if index else 0.0
            return round(low + (high - low) * (wanted - seen) / count, 3)
        seen += count
    return None


def to_json_ready(status: MasterStatus) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(status)
    return document


def from_json_ready(document: dict[str, Any]) -> MasterStatus:
    """Read a master's answer, also of a somewhat newer or older gwctl.

    Raises:
        msgspec.ValidationError: It is something else.
    """
    return msgspec.convert(document, MasterStatus)


# ---- document to text


def render(status: MasterStatus) -> str:
    """The text of ``gwctl status``: a line for the master, then for each pool a line and a table."""
    lines = [_master_line(status)]
    if status.kept is not None:
        lines.append(_kept_line(status.kept))
    name_width = max((len(pool.name) for pool in status.pools), default=0)
    for pool in status.pools:
        lines.append(_pool_line(pool, name_width))
        if pool.note:
            lines.append(f"  {_printable(pool.note)}")
        lines += _table(pool)
        lines += [_template_line(template) for template in pool.templates]
    return "\n".join(lines)


def _master_line(status: MasterStatus) -> str:
    generation = f"generation {status.generation}"
    how = [_clock(status.adopted_at)] if status.adopted_at is not None else []
    if status.adopted_by:
        how.append(f"by {status.adopted_by}")
    if how:
        generation += f" (adopted {', '.join(how)})"
    parts = [status.name, f"pid {status.pid}", f"up {age(status.up_s)}", generation]
    if status.accepts_s is not None:
        parts.append(f"{status.phase}: accepting for {duration(status.accepts_s)} more")
    elif status.phase != "serving":
        parts.append(status.phase)
    if status.degraded:
        parts.append(f"degraded: {status.degraded}")
    return "  ".join(map(_printable, parts))


def _kept_line(kept: KeptStatus) -> str:
    workers = ", ".join(f"{name} {count}" for name, count in kept.workers.items())
    until = f"until {_clock(kept.until)}, {age(kept.left_s)} left"
    return _printable(f"kept: generation {kept.generation} ({workers}) {until}; gwctl rollback goes to it")


def _pool_line(pool: PoolStatus, name_width: int) -> str:
    kind = f"{pool.worker} x{pool.threads}" if pool.worker == "threads" else pool.worker
    parts = [f"{pool.name:<{name_width}}", kind, f"{pool.ready}/{pool.size} ready", *pool.urls]
    parts.append(f"{_rate(pool.requests_per_s)} req/s")
    if pool.p50_ms is not None and pool.p99_ms is not None:
        parts.append(f"p50 {duration(pool.p50_ms / 1000)}  p99 {duration(pool.p99_ms / 1000)}")
    if pool.busy is not None:
        parts.append(f"busy {pool.busy:.0%}".replace("%", " %"))
    if pool.requests:
        parts.append(f"5xx {_percent(pool.errors / pool.requests)}")
    if pool.refused:
        parts.append(f"{pool.refused} refused")
    if pool.evicted:
        parts.append(f"{pool.evicted} evicted")
    if pool.dropped:
        parts.append(f"{pool.dropped} dropped")
    return "   ".join(map(_printable, parts))


_HEAD: Final = ("slot", "pid", "state", "gen", "up", "req/s", "busy", "now", "conns", "memory", "")


def _table(pool: PoolStatus) -> list[str]:
    if not pool.workers:
        return []
    rows = [_HEAD, *(_row(worker) for worker in pool.workers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return [
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _template_line(template: TemplateStatus) -> str:
    memory = f", {template.memory_bytes / (1 << 20):.0f} MiB" if template.memory_bytes else ""
    return (
        f"  template of generation {template.generation}: pid {template.pid}, {template.state}, "
        f"up {age(template.up_s)}{memory}"
    )


def _row(worker: WorkerStatus) -> tuple[str, ...]:
    left = "" if worker.left_s is None else f"left to finish: {duration(worker.left_s)}"
    if worker.replaced and not left:
        left = f"being replaced: it {_printable(worker.replaced)}"
    return (
        str(worker.slot),
        str(worker.pid),
        worker.state,
        str(worker.generation),
        age(worker.up_s),
        _rate(worker.requests_per_s),
        f"{worker.active}/{worker.slots}" if worker.slots else str(worker.active),
        _now(worker),
        str(worker.connections),
        f"{worker.memory_bytes / (1 << 20):.0f} MiB" if worker.memory_bytes else "",
        left,
    )


def _now(worker: WorkerStatus) -> str:
    if not worker.request:
        return ""
    line = _printable(worker.request.removesuffix(" HTTP/1.1"))
    if len(line) > _NOW_CHARS_MAX:
        line = line[: _NOW_CHARS_MAX - 3] + "..."
    return f"{line} {duration(worker.request_s)}"


def _printable(text: str) -> str:
    """Clients choose what stands in a request line: nothing of it may steer the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _rate(per_s: float) -> str:
    return f"{per_s:.1f}" if 0 < per_s < 10 else f"{per_s:.0f}"


def _percent(part: float) -> str:
    return f"{part * 100:.2f} %" if part else "0 %"


def _clock(at: float) -> str:
    """Time of day; with the date when that was not today."""
    then = time.localtime(at)
    today = time.strftime("%Y-%m-%d", then) == time.strftime("%Y-%m-%d")
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)


def duration(seconds: float) -> str:
    """A short time in the unit it is read in: ``0.3 ms``, ``41 ms``, ``18.8 s``, ``14 m``."""
    ms = seconds * 1000
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 99.95 else age(seconds)


def age(seconds: float) -> str:
    """A long time in its two largest units: ``42 s``, ``14 m``, ``2 h 5 m``, ``3 d 4 h``."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} m"
    return f"{minutes} m" if minutes else f"{int(seconds)} s"
