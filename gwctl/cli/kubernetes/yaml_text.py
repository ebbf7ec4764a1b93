"""YAML of plain values, with comments: such that readers of YAML 1.1 and 1.2 read it alike.

Maps and lists stand in blocks. A text is written as it is only if nobody could take it for something else:
``no``, ``1e3``, ``2026-01-01`` and ``on`` are quoted, and so is whatever has other characters than those of
names and paths.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

Value = Any
"""None, a truth, a number, a text, a `Said`, or lists and maps of these."""

_WIDTH: Final = 100
_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


class Said(NamedTuple):
    """A value and why it is so."""

    value: Value
    why: str


def documents(values: Iterable[Mapping[str, Value]], *, explain: bool) -> str:
    """All of them as one stream, with reasons as comments if asked for."""
    lines = (line for value in values for line in ("---", *_map(value, explain)))
    return "".join(f"{line}\n" for line in lines)


def bare(value: Value) -> Value:
    """The value without any reasons."""
    match value:
        case Said(value=inner):
            return bare(inner)
        case Mapping():
            return {key: bare(each) for key, each in value.items()}
        case str():
            return value
        case Sequence():
            return [bare(each) for each in value]
        case _:
            return value


def _map(value: Mapping[str, Value], explain: bool) -> Iterator[str]:
    for key, each in value.items():
        yield from _entry(f"{_scalar(key)}:", each, explain)


def _list(value: Sequence[Value], explain: bool) -> Iterator[str]:
    for each in value:
        inner, why = _split(each)
        yield from _comment(why, explain)
        lines = list(_block(inner, explain))
        if not lines:
            yield f"- {_scalar(inner)}"
            continue
        first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
        yield from lines[:first]
        yield f"- {lines[first]}"
        yield from (f"  {line}" for line in lines[first + 1 :])


def _entry(key: str, value: Value, explain: bool) -> Iterator[str]:
    inner, why = _split(value)
    yield from _comment(why, explain)
    lines = list(_block(inner, explain))
    if not lines:
        yield f"{key} {_scalar(inner)}"
        return
    yield key
    yield from (f"  {line}" for line in lines)


def _block(value: Value, explain: bool) -> Iterator[str]:
    """The lines of a map or list that has something in it."""
    if isinstance(value, Mapping):
        yield from _map(value, explain)
    elif isinstance(value, list | tuple):
        yield from _list(value, explain)


def _split(value: Value) -> tuple[Value, str]:
    return (value.value, value.why) if isinstance(value, Said) else (value, "")


def _comment(why: str, explain: bool) -> list[str]:
    if not explain or not why:
        return []
    return textwrap.wrap(why, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _scalar(value: Value) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return _text(value)
        case Mapping():
            return "{}"
        case _:
            return "[]"


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return f'"{"".join(map(_character, value))}"'


def _character(character: str) -> str:
    if found := _ESCAPES.get(character):
        return found
    code = ord(character)
    if 0x20 <= code < 0x7F:
        return character
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
