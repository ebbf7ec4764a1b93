"""What a terminal sends for each key, as names: pure.

A character is itself; others are ``up``, ``down``, ``pageup``, ``pagedown``, ``home``, ``end``, ``enter``,
``backspace`` and ``esc``. Escape sequences that are not known are no keys.
"""

from __future__ import annotations

import re
from typing import Final

_NAMED: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "pageup",
    "\x1b[6~": "pagedown",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1bOH": "home",
    "\x1bOF": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1b[7~": "home",
    "\x1b[8~": "end",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x1b": "esc",
}
_KEY: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[ -~]|\x1b|[^\x1b]", re.DOTALL)
_BEGUN: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?\Z")


def keys(text: str, *, ended: bool) -> tuple[list[str], str]:
    """The keys in ``text``, and the beginning of a sequence at its end. ``ended``: nothing follows it."""
    begun = None if ended else _BEGUN.search(text)
    rest = begun[0] if begun is not None else ""
    found = _KEY.findall(text[: len(text) - len(rest)])
    named = [_NAMED.get(each, each) for each in found]
    return [each for each in named if each.isprintable()], rest
