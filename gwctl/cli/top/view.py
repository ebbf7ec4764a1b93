"""What was chosen by keys in ``gwctl top``, and what each key does: pure.

The worker that is chosen is known by its pid, and by its slot when that is gone: a successor is chosen in its
place. A key that asks the master for something returns what to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final

import msgspec

from gwctl.cli.top.model import Model, Pool, Worker
from gwctl.control.protocol import Dump, Events, Method, Profile, Recycle
from gwctl.log.text_lines import escaped
from gwctl.wording import seconds

FILTER_CHARS_MAX: Final = 60
PAGE_LINES_MAX: Final = 2000
"""Of events: the oldest go."""
EVENTS_BEFORE: Final = 200


class Mode(StrEnum):
    """Who gets the next key."""

    TABLE = "table"
    FILTER = "filter"
    CONFIRM = "confirm"
    PAGE = "page"


class Quit(msgspec.Struct, frozen=True):
    """The person wants to leave."""


class Page(msgspec.Struct):
    """A text that is read in place of the table. ``first`` is the line at the top; None: the end is shown."""

    title: str
    lines: list[str] = []
    first: int | None = 0
    follows: bool = False
    """More lines come: at the end it stays there."""
    waits: str = ""
    """What is said while there are no lines."""

    def add(self, line: str) -> None:
        self.lines.append(line)
        if len(self.lines) > PAGE_LINES_MAX:
            del self.lines[0]
            if self.first:
                self.first -= 1

    def wrapped(self, columns: int) -> list[str]:
        """The lines as they fit the screen."""
        return [part for line in self.lines for part in _wrapped(plain(line), columns)]

    def scroll(self, by: int, columns: int, rows: int, *, tail: bool) -> None:
        count = len(self.wrapped(columns))
        top = max(0, first_shown(self, count, rows) + by)
        self.first = None if tail and top >= count - rows else top


def first_shown(page: Page, count: int, rows: int) -> int:
    """The first of ``count`` lines that is to be seen where there are ``rows``."""
    most = max(0, count - rows)
    return most if page.first is None else max(0, min(page.first, most))


_INDENT: Final = 6
_RAGGED: Final = 24


def _wrapped(line: str, columns: int) -> Iterator[str]:
    """A line in pieces, between words where there are some near the edge; the further ones are indented."""
    room = columns
    while len(line) > room > 2 * _INDENT:
        end = line.rfind(" ", room - _RAGGED, room + 1)
        end = end if end > _INDENT else room
        yield line[:end]
        line = " " * _INDENT + line[end:].lstrip(" ")
    yield line[:columns]


class View(msgspec.Struct):
    sort: str = "slot"
    reverse: bool = False
    filter: str = ""
    chosen: tuple[str, int] | None = None
    """Name and pid of a worker."""
    mode: Mode = Mode.TABLE
    page: Page | None = None
    message: str = ""
    """How the last thing that was asked for went."""
    trouble: str = ""
    """The master cannot be asked, and why."""


SORTS: Final[dict[str, Callable[[Worker], float]]] = {
    "slot": lambda worker: -worker.slot,
    "busy": lambda worker: worker.active / worker.slots if worker.slots else worker.active,
    "req/s": lambda worker: worker.requests_per_s,
    "cpu": lambda worker: worker.cpu or 0.0,
    "conns": lambda worker: worker.connections,
    "memory": lambda worker: worker.memory_bytes,
    "longest": lambda worker: worker.longest_s,
}
"""What is greatest stands first."""

HELP: Final = """\
slot      the worker's place in its pool; a successor takes it over
busy      requests in the application, of those it can take at once;
          a number where there is no such limit (asgi)
req/s     requests that ended since the picture before
cpu       processor time since the picture before; 100 % is one processor
conns     open connections
memory    resident, with what it shares with others
longest   for how long it has been serving the oldest of its requests
now       that request, and how many others it serves

p99 and 5xx are of the last ten seconds, in the first picture of a minute.

s         sort by the next column; r reverses the order
/         show only workers whose name, state, pid or requests have a text in
          them; Esc shows all again
Up, Down  choose a worker (also j, k, PageUp, PageDown, Home, End)
d         stacks of the worker that is chosen (gwctl dump); it serves on
p         where it spends its time, for ten seconds (gwctl profile): a flame
          graph is written to this folder. Leaving the page ends it
R         replace it by a new one of the same code (gwctl recycle)
e         what happened, and what happens (gwctl events --follow)
q         quit; on a page as this one, back to the table""".splitlines()


def shown(model: Model, view: View) -> list[tuple[Pool, list[Worker]]]:
    """The pools, and those of their workers that the filter lets through, in order."""
    wanted = view.filter.lower()
    found = []
    for pool in model.pools:
        workers = [worker for worker in pool.workers if not wanted or _matches(worker, wanted)]
        key = SORTS[view.sort]
        workers.sort(key=lambda worker: (worker.slot, worker.pid))
        workers.sort(key=key, reverse=not view.reverse)
        found.append((pool, workers))
    return found


def _matches(worker: Worker, wanted: str) -> bool:
    texts = (worker.name, worker.state, str(worker.pid), *(each.request for each in worker.served))
    return any(wanted in text.lower() for text in texts)


def chosen(model: Model, view: View) -> Worker | None:
    """The worker that is chosen, or who has taken its place; None: none is."""
    if view.chosen is None:
        return None
    name, pid = view.chosen
    workers = [worker for _, workers in shown(model, view) for worker in workers]
    same = [worker for worker in workers if worker.pid == pid] or [
        worker for worker in workers if worker.name == name
    ]
    return same[-1] if same else None


def press(view: View, model: Model | None, key: str, columns: int, rows: int) -> Method | Quit | None:
    """Do what ``key`` is for; return what is to be asked of the master. ``columns`` and ``rows`` fit in."""
    view.message = ""
    match view.mode:
        case Mode.FILTER:
            _type(view, key)
            return None
        case Mode.PAGE:
            return _turn(view, key, columns, rows)
        case Mode.CONFIRM:
            view.mode = Mode.TABLE
            worker = chosen(model, view) if model is not None else None
            if key in {"y", "Y"} and worker is not None:
                view.message = f"{worker.name}: replacing it"
                return Recycle(worker.pool, worker.slot)
            return None
        case Mode.TABLE:
            return _table(view, model, key, rows)


def _type(view: View, key: str) -> None:
    match key:
        case "enter":
            view.mode = Mode.TABLE
        case "esc":
            view.mode, view.filter = Mode.TABLE, ""
        case "backspace":
            view.filter = view.filter[:-1]
        case _ if len(key) == 1 and key.isprintable() and len(view.filter) < FILTER_CHARS_MAX:
            view.filter += key


_STEPS: Final = {"up": -1, "k": -1, "down": 1, "j": 1}


def _turn(view: View, key: str, columns: int, rows: int) -> Quit | None:
    page = view.page
    if page is None or key in {"esc", "q", "enter"}:
        view.mode, view.page = Mode.TABLE, None
        return None
    steps = _STEPS | {"pageup": -rows, "pagedown": rows, " ": rows, "home": -(1 << 30), "end": 1 << 30}
    if key in steps:
        page.scroll(steps[key], columns, rows, tail=page.follows)
    return None


def _table(view: View, model: Model | None, key: str, rows: int) -> Method | Quit | None:
    match key:
        case "q":
            return Quit()
        case "s":
            names = list(SORTS)
            view.sort, view.reverse = names[(names.index(view.sort) + 1) % len(names)], False
        case "r":
            view.reverse = not view.reverse
        case "/":
            view.mode = Mode.FILTER
        case "esc":
            view.filter, view.chosen = "", None
        case "?" | "h":
            view.mode, view.page = Mode.PAGE, Page("what the columns and keys mean", list(HELP))
        case "e":
            view.mode, view.page = (
                Mode.PAGE,
                Page("events", first=None, follows=True, waits="nothing has happened yet"),
            )
            return Events(follow=True, last=EVENTS_BEFORE, level="info")
        case "d" | "p" | "R":
            return _about_chosen(view, model, key)
        case _ if model is not None:
            _choose(view, model, key, rows)
    return None


def _about_chosen(view: View, model: Model | None, key: str) -> Method | None:
    worker = chosen(model, view) if model is not None else None
    if worker is None:
        view.message = "choose a worker first, with the arrow keys"
        return None
    view.chosen = (worker.name, worker.pid)
    if key == "R":
        view.mode = Mode.CONFIRM
        return None
    view.mode = Mode.PAGE
    if key == "p":
        wish = Profile(worker.name)
        waits = f"sampling {worker.name} for {seconds(wish.seconds)} ..."
        view.page = Page(f"profile of {worker.name}", waits=waits)
        return wish
    view.page = Page(f"stacks of {worker.name}", waits=f"asking {worker.name}, pid {worker.pid} ...")
    return Dump(worker.name)


def _choose(view: View, model: Model, key: str, rows: int) -> None:
    workers = [worker for _, workers in shown(model, view) for worker in workers]
    steps = _STEPS | {"pageup": -rows, "pagedown": rows, "home": -len(workers), "end": len(workers)}
    if not workers or key not in steps:
        return
    now = chosen(model, view)
    if now is None:
        at = len(workers) - 1 if key in {"up", "k", "end"} else 0
    else:
        at = max(0, min(workers.index(now) + steps[key], len(workers) - 1))
    view.chosen = (workers[at].name, workers[at].pid)


def plain(text: str) -> str:
    """``text`` on one line of a terminal: nothing in it controls that, or turns the direction of writing."""
    text = escaped(" ".join(text.split("\n"))).expandtabs(4)
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
