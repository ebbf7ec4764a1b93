"""Lines of the event log as JSON: one object a line, by the names that records have.

What a master tells is a record, and its line is what ``gwctl events --json`` shows. What workers write,
libraries and the application is no record, but has the same fields as far as they apply (`LogLine`).
docs/logs.md has the names and what OpenTelemetry calls them; docs/adr/0031 why they are these.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from gwctl import json_text

_CONTROLS: Final = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
"""Those that JSON need not escape, and what some readers take for ends of lines."""
_SEVERITIES: Final = {"debug": 5, "info": 9, "warning": 13, "error": 17, "critical": 21}
"""OpenTelemetry's SeverityNumber."""
_ITEMS: Final = 8
_LEAST_CHARS: Final = 32
_decode: Final = msgspec.json.decode


class Origin(NamedTuple):
    """Which process of which master writes."""

    instance: str = ""
    pool: str = ""
    slot: int = -1
    """Below 0: it has none, as a template."""
    generation: int = 0


NOBODY: Final = Origin()


class Fault(NamedTuple):
    """An exception behind a line."""

    type: str
    message: str
    stacktrace: str
    where: str = ""
    """The innermost frame: ``/srv/shop/views.py:12``; empty: there is none."""


class More(NamedTuple):
    """What is known of a line besides its text."""

    kind: str = "worker"
    logger: str = ""
    level: str = ""
    """Where it is none of `gwctl.log.Level`: ``critical``."""
    fault: Fault | None = None
    figures: dict[str, Any] | None = None
    stream: str = ""
    """It was printed there: ``stdout`` or ``stderr``."""
    continued: bool = False
    """It goes on where the line before of the same stream and process ended."""


NOTHING_MORE: Final = More()


class LogLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line that is no record's. What does not apply is left out."""

    time: dt.datetime
    level: str
    severity_number: int
    instance: str = ""
    kind: str
    subject: str
    pool: str = ""
    slot: int | None = None
    generation: int = 0
    pid: int
    logger: str = ""
    request_id: str = ""
    stream: str = ""
    continued: bool = False
    text: str
    exception_type: str = ""
    exception_message: str = ""
    exception_stacktrace: str = ""
    figures: dict[str, Any] | None = None
    cut: bool = False


def line_of(
    at: float,
    level: str,
    subject: str,
    pid: int,
    text: str,
    origin: Origin,
    more: More,
    request_id: str = "",
) -> LogLine:
    """Make the line of what is no record; ``at`` is in seconds since 1970."""
    fault = more.fault or Fault("", "", "")
    level = more.level or level
    return LogLine(
        time=dt.datetime.fromtimestamp(at, dt.UTC),
        level=level,
        severity_number=_SEVERITIES[level],
        instance=origin.instance,
        kind=more.kind,
        subject=subject,
        pool=origin.pool,
        slot=origin.slot if origin.slot >= 0 else None,
        generation=origin.generation,
        pid=pid,
        logger=more.logger,
        request_id=request_id,
        stream=more.stream,
        continued=more.continued,
        text=text.rstrip("\n"),
        exception_type=fault.type,
        exception_message=fault.message,
        exception_stacktrace=fault.stacktrace,
        figures=more.figures,
    )


def record_line(happening: Struct, level: str) -> dict[str, Any]:
    """Make the line of a record: a `gwctl.records.happening.Happening`."""
    return {**msgspec.to_builtins(happening), "severity_number": _SEVERITIES[level]}


def encoded(line: LogLine | Mapping[str, Any]) -> bytes:
    """The object on one line, with its end."""
    return _ended(json_text.encode(line))


def _ended(line: bytes) -> bytes:
    return escaped_controls(line) + b"\n"


def escaped_controls(lines: bytes) -> bytes:
    """Escape in JSON what need not be, but controls a terminal or ends lines for some."""
    return _CONTROLS.sub(_escape, lines) if _CONTROLS.search(lines) else lines


def _escape(found: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(found[0].decode())


def fitting(line: bytes, bytes_max: int) -> bytes:
    """The same line in ``bytes_max`` at most: its texts and lists are cut, evenly, and it says so."""
    if len(line) <= bytes_max:
        return line
    fields = {**_decode(line), "cut": True}
    chars = bytes_max
    while chars > _LEAST_CHARS:
        chars //= 2
        short = _ended(json_text.encode(shortened(fields, chars)))
        if len(short) <= bytes_max:
            return short
    fields.pop("figures", None)  # of more than anybody has thought of
    return _ended(json_text.encode(shortened(fields, chars)))


def shortened(value: Any, chars: int) -> Any:
    """``value`` with long texts and lists in it cut."""
    match value:
        case str() if len(value) > chars:
            return f"{value[:chars]}..."
        case dict():
            return {key: shortened(each, chars) for key, each in value.items()}
        case list() | tuple():
            return [shortened(each, chars) for each in value[:_ITEMS]]
    return value
