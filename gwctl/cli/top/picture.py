"""The picture of ``gwctl top``: lines of text with marks for how they look, from figures and what is chosen.

Pure. A line is never longer than the screen is wide, and there are as many as it has rows at most. Without a
screen (``width`` or ``height`` 0) nothing is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gwctl.cli.top.model import Model, Pool, Worker
from gwctl.cli.top.view import Mode, Page, View, chosen, first_shown, plain, shown
from gwctl.wording import age, duration, requests, size

BAR: Final = 8
"""Characters that show how busy a worker is, at most."""
LONG_S: Final = 10.0
"""A request that takes so long is marked."""
_NOW_MIN: Final = 24
"""So much room the last column has before there are columns that one can do without."""
_LONGEST_MIN: Final = 20
_WIDE: Final = 100
_UNCUT: Final = 400
_SPARKS: Final = "▁▂▃▄▅▆▇█"
_BUSY: Final = 0.9
_HEALTH: Final = {"healthy": "good", "overloaded": "warn", "degraded": "warn", "down": "bad"}

Mark = tuple[int, int, str]
"""From, to, and one of ``bold``, ``dim``, ``chosen``, ``good``, ``warn``, ``bad``."""


class Line(NamedTuple):
    text: str
    marks: tuple[Mark, ...] = ()

    def cut(self, width: int) -> Line:
        return Line(
            self.text[:width], tuple((a, min(b, width), how) for a, b, how in self.marks if a < width)
        )


Piece = tuple[str, str]
"""A text, and how it looks; empty: as usual."""


def picture(model: Model | None, view: View, width: int, height: int, *, blocks: bool = True) -> list[Line]:
    """All of the screen. ``blocks``: it has characters for bars."""
    columns, rows = width or _UNCUT, height or 1 << 30
    lines = (
        _page(view.page, columns, rows)
        if view.page is not None
        else _table(model, view, columns, rows, blocks=blocks)
    )
    lines = lines[: max(1, rows - 1)]
    if height:
        lines += [Line("")] * (rows - 1 - len(lines))
        lines.append(_last_line(model, view, columns))
    elif view.trouble:
        lines.append(Line(plain(view.trouble)))
    return [_stripped(line).cut(columns) for line in lines[:rows]]


def body_rows(height: int) -> int:
    """How many lines of workers, or of a page, there is room for."""
    return max(1, height - 3)


def _stripped(line: Line) -> Line:
    keep = any(how == "chosen" for _, _, how in line.marks)
    return line if keep else Line(line.text.rstrip(), line.marks)


# ---- lines of pieces


def _joined(pieces: Sequence[Piece], gap: str = "  ") -> Line:
    text, marks = "", []
    for piece, how in pieces:
        if not piece:
            continue
        text += gap if text else ""
        if how:
            marks.append((len(text), len(text) + len(piece), how))
        text += piece
    return Line(text, tuple(marks))


def _fitting(pieces: Sequence[tuple[str, str, int]], width: int) -> list[Piece]:
    """Leave out the pieces with the greatest numbers until the rest fits."""
    left = [each for each in pieces if each[0]]
    while len(left) > 1 and sum(len(text) + 2 for text, _, _ in left) - 2 > width:
        left.remove(max(reversed(left), key=lambda each: each[2]))
    return [(text, how) for text, how, _ in left]


def _beside(left: Line, right: Line, width: int) -> Line:
    """``right`` stands at the right edge."""
    at = max(len(left.text) + 2, width - len(right.text))
    marks = tuple((a + at, b + at, how) for a, b, how in right.marks)
    return Line(f"{left.text:<{at}}{right.text}", left.marks + marks)


# ---- the table


def _table(model: Model | None, view: View, width: int, height: int, *, blocks: bool) -> list[Line]:
    if model is None:
        return []
    head = [_header(model, view, width)]
    if model.health_reason and not view.trouble:
        head.append(_joined([(plain(model.health_reason), _HEALTH.get(model.health, ""))]))
    head.append(Line(""))
    rows, at = _body(shown(model, view), chosen(model, view), view, width, blocks=blocks)
    lines, where = _window(rows, at, max(3, height - len(head) - 1))
    if where:
        head[-1] = _beside(Line(""), _joined([(where, "dim")]), width)
    return [*head, *lines]


def _header(model: Model, view: View, width: int) -> Line:
    health = ("master away", "bad", 0) if view.trouble else (model.health, _HEALTH.get(model.health, ""), 0)
    how = "dim" if view.trouble else "bold"
    figures = [
        (f"{_rate(model.requests_per_s)} req/s", how, 1),
        (f"p99 {_ms(model.p99_ms)}", how, 2),
        (f"5xx {_percent(model.errors)}", "bad" if model.errors else how, 3),
    ]
    who = [
        (plain(model.name), "bold", 0),
        (f"generation {model.generation}", "", 5),
        health,
        ("" if model.phase in {"serving", model.health} else model.phase, "", 4),
        (f"up {age(model.up_s)}", "", 6),
        (f"pid {model.pid}", "", 7),
    ]
    fitting = _fitting([*who, *figures], width - 2)
    left = [each for each in fitting if each[0] in {text for text, _, _ in who}]
    right = [each for each in fitting if each not in left]
    if width == _UNCUT:
        return _joined([*left, *right])
    return _beside(_joined(left), _joined(right), width)


class _Row(NamedTuple):
    """A line of the table: the number of the worker that it shows, 0 for none, and where its pool begins."""

    line: Line
    number: int
    begin: int


def _body(
    found: Sequence[tuple[Pool, list[Worker]]], pick: Worker | None, view: View, width: int, *, blocks: bool
) -> tuple[list[_Row], int]:
    """All lines of the table, and which of them shows the worker that is chosen (-1: none)."""
    columns = _columns([worker for _, workers in found for worker in workers], view, width, blocks=blocks)
    rows: list[_Row] = []
    at, number = -1, 0
    for pool, workers in found:
        if rows:
            rows.append(_Row(Line(""), 0, len(rows)))
        begin = len(rows)
        line = _pool_line(pool, len(workers), view, width, several=len(found) > 1, blocks=blocks)
        rows.append(_Row(line, 0, begin))
        if workers:
            rows.append(_Row(_heads(columns, view), 0, begin))
        for worker in workers:
            number += 1
            at = len(rows) if worker is pick else at
            rows.append(_Row(_worker_line(worker, columns, width, chosen=worker is pick), number, begin))
    return rows, at


def _window(rows: list[_Row], at: int, room: int) -> tuple[list[Line], str]:
    """Lines around the worker that is chosen, below the heads of its pool, and which part of all that is."""
    if len(rows) <= room:
        return [row.line for row in rows], ""
    first = max(0, min(at - room // 2, len(rows) - room))
    part = rows[first : first + room]
    if all(row.number for row in part[:2]):
        part[:2] = rows[part[0].begin : part[0].begin + 2]
    numbers = [row.number for row in part if row.number]
    where = f"{min(numbers)}-{max(numbers)} of {rows[-1].number} workers" if numbers else ""
    return [row.line for row in part], where


def _pool_line(pool: Pool, count: int, view: View, width: int, *, several: bool, blocks: bool) -> Line:
    ready = "" if pool.ready == pool.size else ("bad" if not pool.ready else "warn")
    load = "" if pool.busy is None else f" {pool.busy * 100:.0f} %"
    if pool.busy is None:
        load = f" {requests(pool.active)}"
    busy = f"busy {_sparks(pool.load if width >= _WIDE else pool.load[-BAR:], blocks=blocks)}{load}"
    backlog = "" if pool.backlog is None else f"backlog {pool.backlog:,}"
    pieces = [
        (pool.name, "bold", 0),
        (f"{pool.ready}/{pool.size} ready", ready, 0),
        (pool.scaling, "", 5),
        (busy, "warn" if pool.busy is not None and pool.busy >= _BUSY else "", 1),
        (backlog, "warn" if pool.backlog else "", 2),
        (f"{_rate(pool.requests_per_s)} req/s" if several else "", "", 3),
        (f"p99 {_ms(pool.p99_ms)}" if several else "", "", 4),
        (f"5xx {_percent(pool.errors)}" if several and pool.errors else "", "bad", 5),
        (f"{count} of {len(pool.workers)} shown" if view.filter else "", "", 2),
        (f"{pool.restarts:,} restart{'s' * (pool.restarts > 1)}" if pool.restarts else "", "", 6),
        (plain(pool.note), "warn", 7),
    ]
    line = _joined(_fitting(pieces, width))
    longest, room = _longest(pool), width - len(line.text) - 2
    if longest and room >= _LONGEST_MIN:
        line = Line(
            f"{line.text}  {longest if len(longest) <= room else longest[: room - 3] + '...'}", line.marks
        )
    return line


def _longest(pool: Pool) -> str:
    """Who has been at a request for longest, as it may be out of sight."""
    worker = max(pool.workers, key=lambda each: each.longest_s, default=None)
    if worker is None or worker.longest_s < 1:
        return ""
    return f"{worker.name} for {duration(worker.longest_s)}: {_target(worker)}"


def _sparks(load: Sequence[float], *, blocks: bool) -> str:
    marks = _SPARKS if blocks else "_.:-=+*#"
    return "".join(marks[min(len(marks) - 1, int(each * len(marks)))] for each in load)


# ---- columns


class _Column(NamedTuple):
    name: str
    width: int
    right: bool
    text: Callable[[Worker], str]


def _columns(workers: Sequence[Worker], view: View, width: int, *, blocks: bool) -> list[_Column]:
    """Those that there is room for; which one can do without is left out first. The last has what is left."""
    every: dict[str, tuple[int, bool, Callable[[Worker], str]]] = {
        "slot": (4, True, lambda worker: str(worker.slot)),
        "pid": (7, True, lambda worker: str(worker.pid)),
        "state": (5, False, lambda worker: worker.state),
        "gen": (3, True, lambda worker: str(worker.generation)),
        "up": (7, True, lambda worker: age(worker.up_s)),
        "busy": (4, False, lambda worker: _bar(worker, blocks=blocks)),
        "req/s": (5, True, lambda worker: _rate(worker.requests_per_s)),
        "cpu": (5, True, lambda worker: "" if worker.cpu is None else f"{worker.cpu * 100:.0f} %"),
        "conns": (5, True, lambda worker: f"{worker.connections:,}"),
        "memory": (7, True, lambda worker: size(worker.memory_bytes) if worker.memory_bytes else ""),
        "longest": (7, True, lambda worker: duration(worker.longest_s) if worker.served else ""),
    }
    made = [
        _Column(name, max([least, *(len(text(worker)) for worker in workers)]), right, text)
        for name, (least, right, text) in every.items()
    ]
    spare = ["up", "gen", "pid", "cpu"]
    if view.sort in spare:
        spare.remove(view.sort)
    while spare and sum(each.width + 2 for each in made) + _NOW_MIN + 2 > width:
        gone = spare.pop(0)
        made = [each for each in made if each.name != gone]
    return [*made, _Column("now", 0, False, _now)]


def _heads(columns: Sequence[_Column], view: View) -> Line:
    text, marks = " ", []
    for each in columns:
        name = f"{each.name:>{each.width}}" if each.right else f"{each.name:<{each.width}}"
        if each.name == view.sort:
            start = len(text) + 1 + name.index(each.name)
            marks.append((start, start + len(each.name), "bold"))
        text += f" {name} "
    return Line(text.rstrip(), ((0, len(text), "dim"), *marks))


def _worker_line(worker: Worker, columns: Sequence[_Column], width: int, *, chosen: bool) -> Line:
    text, marks = ">" if chosen else " ", []
    for each in columns:
        cell = plain(each.text(worker))
        how = _how(each.name, worker)
        start = len(text) + 1
        text += f" {cell:>{each.width}} " if each.right else f" {cell:<{each.width}} "
        if how:
            marks.append((start, len(text) - 1, how))
        if each.name == "busy":
            marks += [(start + at, start + at + 1, "dim") for at, char in enumerate(cell) if char in "░."]
    if chosen:
        return Line(f"{text:<{width}}"[:width], ((0, width, "chosen"),))
    return Line(text, tuple(marks))


def _how(column: str, worker: Worker) -> str:
    match column:
        case "state":
            return "" if worker.state == "ready" else "warn"
        case "busy":
            return "warn" if worker.slots > 1 and worker.active >= worker.slots else "good"
        case "longest":
            return "warn" if worker.longest_s >= LONG_S else ""
    return ""


def _bar(worker: Worker, *, blocks: bool) -> str:
    if not worker.slots:
        return f"{worker.active:,}"
    cells = min(worker.slots, BAR)
    full = min(cells, -(-worker.active * cells // worker.slots))
    on, off = ("█", "░") if blocks else ("#", ".")
    return on * full + off * (cells - full)


def _target(worker: Worker) -> str:
    return plain(worker.served[0].request.removesuffix(" HTTP/1.1")) if worker.served else ""


def _now(worker: Worker) -> str:
    """What it serves, and what else is to be known of it."""
    texts = []
    others = max(worker.active, len(worker.served)) - 1
    if worker.left_s is not None:
        texts.append(f"{duration(worker.left_s)} left")
    elif worker.state == "starting":
        texts.append(f"for {duration(worker.up_s)}")
    if worker.served:
        texts.append(_target(worker) + (f", {others:,} more" if others > 0 else ""))
    elif worker.loop_held:
        texts.append("its loop does not answer")
    if worker.replaced and worker.left_s is None:
        texts.append(f"being replaced: it {worker.replaced}")
    return "; ".join(texts)


# ---- pages and the last line


def _page(page: Page, width: int, height: int) -> list[Line]:
    room = body_rows(height)
    found = page.wrapped(width)
    first = first_shown(page, len(found), room)
    lines = found[first : first + room]
    where = f"lines {first + 1}-{first + len(lines)} of {len(found)}" if len(found) > room else ""
    title = _beside(_joined([(plain(page.title), "bold")]), _joined([(where, "dim")]), width)
    if not found:
        return [title, Line(""), _joined([(page.waits, "dim")])]
    return [title, Line(""), *map(Line, lines)]


_KEYS: Final = (
    ("r reverse", 5),
    ("/ filter", 1),
    ("d stacks", 2),
    ("R recycle", 3),
    ("e events", 4),
    ("? help", 0),
    ("q quit", 0),
)


def _last_line(model: Model | None, view: View, width: int) -> Line:
    """What is asked, or what went wrong, or the keys."""
    if view.mode is Mode.FILTER:
        return _joined([(f"/{plain(view.filter)}_", "bold"), ("Enter keeps it, Esc shows all", "dim")])
    if view.mode is Mode.CONFIRM and model is not None and (worker := chosen(model, view)) is not None:
        text = f"Replace {worker.name} (pid {worker.pid}) by a new worker? It finishes what it serves."
        return _joined([(text, "bold"), ("y / n", "bold")])
    if view.trouble:
        return _joined([(plain(view.trouble), "bad")])
    if view.message:
        return _joined([(plain(view.message), "bold")])
    if view.page is not None:
        return _joined([("Up, Down, PageUp, PageDown", "dim"), ("Esc back", "dim")])
    order = f"s sort: {view.sort}" + (" reversed" if view.reverse else "")
    first = [(f"filter: {plain(view.filter)}", "bold", 0)] if view.filter else []
    keys = [(order, "dim", 0), *((text, "dim", number) for text, number in _KEYS)]
    return _joined(_fitting([*first, *keys], width))


# ---- figures


def _rate(per_s: float) -> str:
    return f"{per_s:.1f}" if 0 < per_s < 9.95 else f"{per_s:,.0f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else duration(value / 1000)


def _percent(part: float | None) -> str:
    if part is None:
        return "-"
    return f"{part * 100:.2f} %" if part else "0 %"
