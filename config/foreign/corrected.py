"""A command line of gwctl with other servers' options in it: what is right for each, and the whole of it corrected."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from gwctl.config import hints
from gwctl.config.foreign import command_line, convert, gunicorn, others, uvicorn, uwsgi
from gwctl.config.foreign.option import Option, Server
from gwctl.config.foreign.translation import Given, Line, Translation, flag_of, masked, translated

_WIDTH: Final = 110
_COLUMN_MAX: Final = 44
_OURS: Final = "ours "
_SERVERS: Final = (
    gunicorn.SERVER,
    uvicorn.SERVER,
    others.HYPERCORN,
    others.GRANIAN,
    others.WAITRESS,
    others.DAPHNE,
    uwsgi.SERVER,
)
"""A flag that several have is meant as the first of them has it."""
_SHARED: Final = frozenset({"-b", "--bind", "-w", "-k", "--threads", "--name"})
"""Ours, which are also gunicorn's: their values count for what other options mean."""


class Corrected(Struct, frozen=True):
    """What to say about a command line."""

    flags: tuple[str, ...]
    """Options that are none here."""
    rows: tuple[tuple[str, str], ...]
    """What was written, and what is right, or why there is nothing."""
    words: tuple[str, ...]
    """The arguments as they should be; empty: of some option nobody knows what is meant."""

    def shown(self, command: str) -> str:
        """Say it to a person who has typed ``command`` and these arguments."""
        width = min(_COLUMN_MAX, max(len(theirs) for theirs, _right in self.rows))
        lines = [f"there {'are' if len(self.flags) > 1 else 'is'} no {', '.join(self.flags)} here:", ""]
        for theirs, right in self.rows:
            beside = f"  {theirs:<{width}}  "
            below = " " * (width + 4)
            lines += textwrap.wrap(right, _WIDTH, initial_indent=beside, subsequent_indent=below)
        if self.words:
            lines += ["", f"  {command} {shlex.join(self.words)}"]
        return "\n".join(lines)


def corrected(words: Sequence[str], ours: Mapping[str, Literal["value", "nothing"]]) -> Corrected | None:
    """Correct the arguments of a command.

    Args:
        words: The arguments.
        ours: The command's own options, and what follows them.

    Returns:
        None if no option of another server is among them.
    """
    taken = command_line.take(_all(ours), words)
    own = [given for given in taken.given if given.option.name.startswith(_OURS)]
    theirs = [masked(given) for given in taken.given if given not in own]
    foreign = [given for given in theirs if given.origin.split("=")[0].split()[0] not in ours]
    if not foreign:
        return None
    result = translated(Server("", (), ()), theirs, defaults=False)
    rows = list(_rows(result, theirs, ours))
    rows += [
        (word, hints.for_flag(word.split()[0].partition("=")[0], ours) or "There is no such option")
        for word in taken.unknown
    ]
    flags = [
        *(given.origin.split("=")[0].split()[0] for given in foreign),
        *(word.split()[0] for word in taken.unknown),
    ]
    right: list[str] = []
    if not taken.unknown:
        kept = [word for given in own for word in _as_written(given)]
        app = result.lines.get("app")
        rest = _called(taken, theirs)
        right = [
            *([str(app.value)] if app and not rest else rest),
            *kept,
            *_settings(result, ours),
        ]
    return Corrected(tuple(flags), tuple(rows), tuple(right))


def _called(taken: command_line.Taken, theirs: Sequence[Given]) -> list[str]:
    """What is no option; the application of a factory with its call."""
    factory = any(given.option.name in {"factory", "call"} for given in theirs)
    if not taken.rest or not factory:
        return taken.rest
    return [convert.as_app(taken.rest[0], factory=True), *taken.rest[1:]]


def _all(ours: Mapping[str, Literal["value", "nothing"]]) -> Server:
    """Options of all, ours before others'."""
    options = [
        Option(f"{_OURS}{flag}", (flag,), "list" if takes == "value" else takes)
        for flag, takes in ours.items()
        if flag not in _SHARED
    ]
    seen = {flag for option in options for flag in option.flags}
    for server in _SERVERS:
        for option in server.options:
            flags = tuple(flag for flag in option.flags if flag not in seen)
            if flags:
                seen.update(flags)
                options.append(replace(option, flags=flags))
    return Server("", (), tuple(options))


def _as_written(given: Given) -> list[str]:
    """Of one of ours: its words, once for each time."""
    flag = given.option.flags[0]
    if given.option.takes == "nothing":
        return [flag]
    return [word for value in given.value for word in (flag, str(value))]


def _rows(result: Translation, theirs: Sequence[Given], ours: Mapping[str, Any]) -> list[tuple[str, str]]:
    """In the order in which they were written; what becomes one setting together stands together."""
    rows: dict[str, list[str]] = {}
    for line in result.lines.values():
        if line.setting != "app" and line.origins:
            rows.setdefault(" ".join(line.origins), []).extend(
                [_shown(_words_of(line, ours)), *filter(None, [line.note])]
            )
    for left in result.left:
        rows.setdefault(left.origin, []).append(left.reason)
    said = " ".join(rows)
    for given in theirs:
        if given.origin not in said:
            rows.setdefault(given.origin, []).append(
                "It is so without it" if given.option.name != "factory" else "module:factory()"
            )
    order = {given.origin: number for number, given in enumerate(theirs)}
    plain = {given.origin for given in theirs if _is_ours(given, result, ours)}
    sorted_rows = sorted(
        rows.items(), key=lambda row: min(n for origin, n in order.items() if origin in row[0])
    )
    return [(origin, "; ".join(dict.fromkeys(right))) for origin, right in sorted_rows if origin not in plain]


def _is_ours(given: Given, result: Translation, ours: Mapping[str, Any]) -> bool:
    """Its flag is one of ours as well, and its value means the same here."""
    line = result.lines.get(given.option.target)
    value = given.value if isinstance(given.value, list) else str(given.value)
    there = (
        line.value if line is not None and isinstance(line.value, list) else str(line.value if line else "")
    )
    return given.origin.split("=")[0].split()[0] in ours and value == there


def _settings(result: Translation, ours: Mapping[str, Any]) -> list[str]:
    return [word for line in result.lines.values() if line.setting != "app" for word in _words_of(line, ours)]


def _words_of(line: Line, ours: Mapping[str, Any]) -> list[str]:
    flag = flag_of(line.setting)
    if flag in ours and not isinstance(line.value, dict):
        values = line.value if isinstance(line.value, list) else [line.value]
        return [word for value in values for word in (flag, _text(value))]
    if isinstance(line.value, dict):
        return [
            word
            for name, value in line.value.items()
            for word in ("--set", f"{line.setting}.{name}={_text(value)}")
        ]
    return ["--set", f"{line.setting}={_text(line.value)}"]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _shown(words: list[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)
