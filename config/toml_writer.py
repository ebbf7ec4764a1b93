"""Values and keys as TOML text: the standard library reads TOML and does not write it.

Used to show a person what was found, to print the settings in force and to write a new
gw.toml. What is written here reads back as the same value (a test holds it against tomllib).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any, Final

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_CHARS_MAX: Final = 60


def key(name: str) -> str:
    """Write one part of a key, quoted where TOML wants that."""
    return name if _BARE_KEY.fullmatch(name) else text(name)


def dotted(path: Iterable[str | int]) -> str:
    """Write a whole key; the index of an element of a list is left out (its line tells)."""
    return ".".join(key(part) for part in path if isinstance(part, str))


def text(value: str) -> str:
    """Write a basic string. JSON's escapes are TOML's too; only DEL must be escaped in TOML alone."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def value(thing: Any) -> str:
    """Write any value that tomllib can return, and tuples as lists."""
    match thing:
        case str():
            return text(thing)
        case bool():
            return "true" if thing else "false"
        case int():
            return str(thing)
        case float():
            return _number(thing)
        case datetime() | date() | time():
            return thing.isoformat()
        case list() | tuple():
            return f"[{', '.join(value(item) for item in thing)}]"
        case Mapping():
            return "{" + ", ".join(f"{key(name)} = {value(item)}" for name, item in thing.items()) + "}"
    raise TypeError(f"TOML has no {type(thing).__name__}")


def shown(thing: Any) -> str:
    """Write a value into a message: as TOML, cut when it is long."""
    whole = value(thing)
    return whole if len(whole) <= _SHOWN_CHARS_MAX else whole[: _SHOWN_CHARS_MAX - 3] + "..."


def number(thing: float) -> str:
    """Write a number as a person would: ``30``, ``0.5``."""
    return str(int(thing)) if math.isfinite(thing) and thing == int(thing) else _number(thing)


def _number(thing: float) -> str:
    return repr(thing)  # inf, -inf and nan are TOML's words as well
