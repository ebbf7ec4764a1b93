"""What ``gwctl status`` shows: the document (``--json``) and how it reads as text.

The master builds the document from facts (`worker_status`, `pool_status`, `MasterStatus`); the
command renders it (`render`). All pure. The document's fields are a public interface: fields
are added, never renamed, and a reader ignores those it does not know.

Counters are over the life of the pool, dead workers included, so they never jump when a worker is
replaced; what the text shows of rates and latencies is of the last minute. A percentile is read off
the histogram's buckets, each twice as wide as the one before, by interpolation.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from gwctl.ipc import scoreboard
from gwctl.masking import masked
from gwctl.supervisor.children.recent_totals import Window
from gwctl.supervisor.children.totals import Totals
from gwctl.wording import age

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
    from_disk: bool = False
    """It was started while what is on disk is not what its siblings run."""
    files: int | None = None
    """Open descriptors; None: the master may not know."""
    files_max: int | None = None


class TemplateStatus(msgspec.Struct, frozen=True):
    """A process that workers of one generation are forked from. Its state is ``ready`` when it can be."""

    pid: int
    state: str
    generation: int
    up_s: float
    memory_bytes: int = 0


class MinuteStatus(msgspec.Struct, frozen=True):
    """What a pool did in the last minute, or since the master was started."""

    seconds: float
    requests: int = 0
    errors: int = 0
    requests_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None


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
    """Of the last few seconds."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    minute: MinuteStatus | None = None
    backlog: int | None = None
    """Connections that wait to be accepted, at the TCP listeners; None where the kernel does not tell."""
    backlog_max: int | None = None
    restarts: int = 0
    """Workers that ended unplanned, since the master was started."""
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
    """Why a worker that is replaced runs other code than its siblings; empty when it does not."""
    health: str = ""
    """``healthy``, ``overloaded``, ``degraded``, ``down``, ``starting`` or ``stopping``: see `health`."""
    health_reason: str = ""
    last_reload: str = ""
    """How the last reload or rollback ended; empty before the first."""
    last_reload_at: float | None = None
    refused_at: float | None = None
    """When a reload was first refused since one was adopted; None: none was."""
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
    recent: Window | None = None,
    backlog: int | None = None,
    backlog_max: int | None = None,
    restarts: int = 0,
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


def render(status: MasterStatus, width: int = 0) -> str:
    """The text of ``gwctl status``: a line for the master, then for each pool a line and a table.

    Lines are broken to ``width`` characters where they can be; 0: they are not.
    """
    lines = _wrapped(_master_parts(status), 2, width, 6)
    if status.health_reason:
        since = ""
        if status.health == "degraded" and status.refused_at is not None:
            since = f" (since {_clock(status.refused_at)})"
        lines += _broken(f"{status.health}: {status.health_reason}{since}", width)
    if status.last_reload:
        at = f" {_clock(status.last_reload_at)}" if status.last_reload_at is not None else ""
        lines += _broken(f"last reload{at}: {status.last_reload}", width)
    if status.kept is not None:
        lines.append(_kept_line(status.kept))
    name_width = max((len(pool.name) for pool in status.pools), default=0)
    for pool in status.pools:
        lines += _wrapped(_pool_parts(pool, name_width), 3, width, name_width + 3)
        if pool.note and pool.note not in status.health_reason:
            lines += _broken(pool.note, width)
        lines += _table(pool, width)
        lines += [_template_line(template) for template in pool.templates]
    return "\n".join(lines)


def _broken(text: str, width: int) -> list[str]:
    """A sentence in lines of ``width``."""
    text = _printable(text)
    if not width or len(text) + 2 <= width:
        return [f"  {text}"]
    return textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="      ")


def _wrapped(parts: Sequence[str], gap: int, width: int, indent: int) -> list[str]:
    """Join ``parts``; begin a new line, indented, with the first that does not fit."""
    lines: list[str] = []
    for part in map(_printable, parts):
        if lines and (not width or len(lines[-1]) + gap + len(part) <= width):
            lines[-1] += " " * gap + part
        else:
            lines.append(" " * indent + part if lines else part)
    return lines


def _master_parts(status: MasterStatus) -> list[str]:
    generation = f"generation {status.generation}"
    how = [_clock(status.adopted_at)] if status.adopted_at is not None else []
    if status.adopted_by:
        how.append(f"by {status.adopted_by}")
    if how:
        generation += f" (adopted {', '.join(how)})"
    parts = [
        status.name,
        *filter(None, [status.health]),
        f"pid {status.pid}",
        f"up {age(status.up_s)}",
        generation,
    ]
    if status.accepts_s is not None:
        parts.append(f"{status.phase}: accepting for {duration(status.accepts_s)} more")
    elif status.phase not in {"serving", status.health}:
        parts.append(status.phase)
    if status.degraded and not status.health_reason:  # of a master that says no more
        parts.append(f"degraded: {status.degraded}")
    return parts


def _kept_line(kept: KeptStatus) -> str:
    workers = ", ".join(f"{name} {count}" for name, count in kept.workers.items())
    until = f"until {_clock(kept.until)}, {age(kept.left_s)} left"
    return _printable(f"kept: generation {kept.generation} ({workers}) {until}; gwctl rollback goes to it")


def _pool_parts(pool: PoolStatus, name_width: int) -> list[str]:
    kind = f"{pool.worker} x{pool.threads}" if pool.worker == "threads" else pool.worker
    parts = [f"{pool.name:<{name_width}}", kind, f"{pool.ready}/{pool.size} ready", *pool.urls]
    parts += _pace(pool)
    if pool.busy is not None:
        parts.append(f"busy {pool.busy:.0%}".replace("%", " %"))
    if pool.backlog:
        parts.append(f"waiting {pool.backlog:,} of {pool.backlog_max:,}")
    counts = {
        "restarts": pool.restarts,
        "refused": pool.refused,
        "evicted": pool.evicted,
        "dropped": pool.dropped,
    }
    parts += [
        f"{count:,} {name if count > 1 else name.removesuffix('s')}"
        for name, count in counts.items()
        if count
    ]
    return parts


def _pace(pool: PoolStatus) -> list[str]:
    """Rate, latency and errors: of the last minute, or of what an older master says."""
    minute = pool.minute or MinuteStatus(
        0.0, pool.requests, pool.errors, pool.requests_per_s, pool.p50_ms, pool.p99_ms
    )
    parts = [f"{_rate(minute.requests_per_s)} req/s"]
    if minute.p50_ms is not None and minute.p99_ms is not None:
        parts.append(f"p50 {duration(minute.p50_ms / 1000)}  p99 {duration(minute.p99_ms / 1000)}")
    if minute.requests:
        parts.append(f"5xx {_percent(minute.errors / minute.requests)}")
    return parts


_HEAD: Final = ("slot", "pid", "state", "gen", "up", "req/s", "busy", "now", "conns", "memory", "files")
_NOW: Final = _HEAD.index("now")


def _table(pool: PoolStatus, width: int) -> list[str]:
    """A line for each worker. In a narrow terminal what it is at stands below it, not in a column."""
    if not pool.workers:
        return []
    rows = [_HEAD, *(_row(worker) for worker in pool.workers)]
    if all(worker.files is None for worker in pool.workers):
        rows = [row[:-1] for row in rows]
    about = ["", *map(_about, pool.workers)]
    lines = [f"{line}  {text}".rstrip() for line, text in zip(_columns(rows), about, strict=True)]
    if not width or max(map(len, lines)) <= width:
        return lines
    told = [", ".join(filter(None, (row[_NOW], text))) for row, text in zip(rows, about, strict=True)]
    head, *lines = _columns([row[:_NOW] + row[_NOW + 1 :] for row in rows])
    below = [" " * 8 + text for text in told[1:]]
    return [head, *(each for pair in zip(lines, below, strict=True) for each in pair if each.strip())]


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
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
        f"{worker.files}/{worker.files_max}" if worker.files is not None else "",
    )


def _about(worker: WorkerStatus) -> str:
    """What else is to be known of it."""
    texts = []
    if worker.left_s is not None:
        texts.append(f"left to finish: {duration(worker.left_s)}")
    elif worker.replaced:
        texts.append(f"being replaced: it {_printable(worker.replaced)}")
    if worker.from_disk:
        texts.append("runs what is on disk")
    return ", ".join(texts)


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
