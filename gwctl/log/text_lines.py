"""Lines of the event log as text.

    10:02:11.204 info  master     gwctl 0.1.0 pid 4120, ...
    10:02:11.630 info  web.0 g1   pid 4133 ready in 0.42 s

The subject column says who: ``master``, a pool, or ``pool.slot gN`` of a worker. Control characters are
written as escapes: what a client sends and an application raises may end up here, and be read on a terminal.
"""

from __future__ import annotations

from typing import Final

from gwctl.log.level import Level

_NAMES: Final = {Level.DEBUG: "debug", Level.INFO: "info", Level.WARNING: "warn", Level.ERROR: "error"}
_ESCAPES: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"
}
_COLOURS: Final = {Level.WARNING: "\x1b[33m", Level.ERROR: "\x1b[31m", Level.DEBUG: "\x1b[2m"}


def event_line(clock: str, level: Level, subject: str, text: str, *, colour: bool) -> str:
    """Lay out one event: further lines of ``text`` are indented; nothing in it is a control."""
    first, *rest = text.splitlines() or [""]
    head = f"{clock} {_NAMES[level]:<5} {subject:<10} "
    line = escaped(head + first + "".join(f"\n  {more}" for more in rest))
    return f"{_COLOURS[level]}{line}\x1b[0m" if colour and level in _COLOURS else line


def escaped(text: str) -> str:
    """``text`` for a terminal: what controls it is shown instead, but for tabs and ends of lines."""
    return text.translate(_ESCAPES)
