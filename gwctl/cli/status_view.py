"""The status document as ``gwctl status`` shows it: pure text."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from typing import Final

from gwctl.config.model.worker_class import THREADS
from gwctl.control.status import (
    KeptStatus,
    MasterStatus,
    MinuteStatus,
    PoolStatus,
    PressureStatus,
    ReloadStatus,
    TemplateStatus,
    WorkerStatus,
)
from gwctl.log.text_lines import escaped
from gwctl.watched import beside
from gwctl.wording import age, duration, mebibytes

_NOW_CHARS_MAX: Final = 40
_PRESSURE_SHOWN: Final = 0.01
"""With less of everything there is nothing to be seen in it."""


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
        lines += _broken(f"last reload{at}: {escaped(status.last_reload)}", width)
    if status.kept is not None:
        lines.append(_kept_line(status.kept))
    if status.pressure is not None and status.pressure.most >= _PRESSURE_SHOWN:
        lines += _broken(_pressure(status.pressure), width)
    name_width = max((len(pool.name) for pool in status.pools), default=0)
    for pool in status.pools:
        lines += _wrapped(_pool_parts(pool, name_width), 3, width, name_width + 3)
        if pool.allowed_as:
            lines += _broken(f"auto: {pool.allowed_as}", width)
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
    elif status.reload is not None:
        parts.append(_under_way(status.reload))
    elif status.phase not in {"serving", status.health}:
        parts.append(status.phase)
    if status.degraded and not status.health_reason:  # of a master that says no more
        parts.append(f"degraded: {status.degraded}")
    return parts


def _under_way(reload: ReloadStatus) -> str:
    """``reloading to generation 5 for 2.1 s (SIGHUP): web roll, live settle``."""
    what = "rolling back to" if reload.rollback else "restarting as" if reload.restart else "reloading to"
    shown = [each for each in reload.watched if reload.phases.get(each.pool) == each.phase]
    figures = {each.pool: f" ({beside(each)})" for each in shown}
    where = ", ".join(f"{pool} {phase}{figures.get(pool, '')}" for pool, phase in reload.phases.items())
    return f"{what} generation {reload.generation} for {duration(reload.for_s)} ({reload.source}): {where}"


def _pressure(pressure: PressureStatus) -> str:
    named = ", ".join(f"{name} {value * 100:.1f} %" for name, value in pressure.known.items())
    whose = "of the control group" if pressure.of == "group" else "of the machine"
    return f"pressure {whose}, last 10 s: {named}"


def _kept_line(kept: KeptStatus) -> str:
    workers = ", ".join(f"{name} {count}" for name, count in kept.workers.items())
    until = f"until {_clock(kept.until)}, {age(kept.left_s)} left"
    return _printable(f"kept: generation {kept.generation} ({workers}) {until}; gwctl rollback goes to it")


def _pool_parts(pool: PoolStatus, name_width: int) -> list[str]:
    kind = f"{pool.worker} x{pool.threads}" if pool.worker == THREADS.name else pool.worker
    parts = [f"{pool.name:<{name_width}}", kind, f"{pool.ready}/{pool.size} ready{_bounds(pool)}", *pool.urls]
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


def _bounds(pool: PoolStatus) -> str:
    """Of a pool that sets its size itself."""
    return f" ({pool.scaling.brief})" if pool.scaling is not None else ""


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
    memory = f", {mebibytes(template.memory_bytes)}" if template.memory_bytes else ""
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
        mebibytes(worker.memory_bytes) if worker.memory_bytes else "",
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
