"""The format of unit files: systemd.syntax(7)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

_WIDTH: Final = 100
INSTANCE: Final = "\0"
"""Stands for the name of a template's instance, until it is written."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9@%_+=:,./~^\0-]+")
_LINE: Final = re.compile(r"([A-Za-z0-9-]+)\s*=\s*(.*)")


class Directive(Struct, frozen=True):
    """One line of a unit."""

    section: str
    key: str
    value: str
    why: str = ""
    """What it is for; empty where its name says it."""


class UnitFile(Struct, frozen=True):
    """A unit that is there: what each section says, in the order of the lines."""

    directives: tuple[Directive, ...]
    has_socket: bool = False
    """A socket unit of its name is beside it: that belongs to it without a word."""
    passed: tuple[str, ...] = ()
    """Under which names the socket units that are beside it pass their sockets."""

    def all(self, key: str, section: str = "Service") -> list[str]:
        """The values of a directive, as they count: an empty one forgets those before it."""
        values: list[str] = []
        for each in self.directives:
            if (each.section, each.key) == (section, key):
                values = [*values, each.value] if each.value else []
        return values

    def one(self, key: str, section: str = "Service") -> str:
        """The last value; empty when there is none."""
        return next(reversed(self.all(key, section)), "")

    def is_on(self, key: str) -> bool:
        """A switch, as systemd reads it."""
        return self.one(key).lower() in {"1", "yes", "y", "true", "t", "on"}


def rendered(directives: Iterable[Directive], *, explain: bool) -> str:
    """The text of a unit, with its reasons as comments if asked for."""
    return "\n".join(_lines(directives, explain=explain)) + "\n"


def _lines(directives: Iterable[Directive], *, explain: bool) -> Iterator[str]:
    section = ""
    for each in directives:
        if each.section != section:
            if section:
                yield ""
            section = each.section
            yield f"[{section}]"
        if explain and each.why:
            yield from textwrap.wrap(each.why, _WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield f"{each.key}={each.value}"


def parsed(text: str) -> UnitFile:
    """Read a unit. What is no directive is left out: that is for `systemd-analyze verify`."""
    section, found, lines = "", [], iter(text.splitlines())
    for raw in lines:
        line = raw.strip()
        while line.endswith("\\"):
            line = f"{line[:-1]} {_continued(lines)}"
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif (match := _LINE.fullmatch(line)) and line[0] not in "#;":
            found.append(Directive(section, match[1], match[2].strip()))
    return UnitFile(tuple(found))


def passes(name: str, text: str) -> str:
    """Under which name the socket unit ``name`` passes its sockets."""
    return parsed(text).one("FileDescriptorName", "Socket") or name


def _continued(lines: Iterator[str]) -> str:
    """The next line that is no comment."""
    return next((line.strip() for line in lines if line.strip()[:1] not in {"#", ";"}), "")


def plain(text: str) -> str:
    """Write ``text`` where systemd reads all of the line as it is, blanks and quotes included."""
    return text.replace("%", "%%").replace(INSTANCE, "%i")


def word(text: str, *, command: bool = False) -> str:
    """Write ``text`` so that systemd reads it as one word: no specifier, in a command no variable either."""
    text = text.replace("%", "%%")
    if command:
        text = text.replace("$", "$$")
    if _PLAIN.fullmatch(text):
        return text.replace(INSTANCE, "%i")
    quoted = text.replace(INSTANCE, "%i").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quoted}"'


def seconds_of(text: str) -> float | None:
    """A time span of systemd.time(7) in seconds; None: no limit, or not understood."""
    if not text or text in {"0", "infinity"}:
        return None
    units = {
        "us": 1e-6,
        "ms": 1e-3,
        "": 1,
        "s": 1,
        "sec": 1,
        "m": 60,
        "min": 60,
        "h": 3600,
        "hr": 3600,
        "d": 86400,
    }
    total = 0.0
    for number, unit in re.findall(r"([\d.]+)\s*([a-z]*)", text):
        if unit not in units:
            return None
        total += float(number) * units[unit]
    return total
