"""How ``gwctl events`` looks: as the log does, with a line for each day, or one JSON object a line."""

from __future__ import annotations

import datetime as dt
import json
import os
from typing import TextIO

import msgspec

from gwctl.control.protocol import Happened, Lost, News
from gwctl.errors import ControlError
from gwctl.log.level import Level
from gwctl.log.text_lines import event_line


class _Shown(msgspec.Struct, frozen=True):
    """What a line is made of. A master of any version says that much of each event."""

    time: dt.datetime
    level: str
    subject: str
    text: str


class EventsView:
    """Writes each event to ``out`` as it comes."""

    def __init__(self, out: TextIO, *, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json
        self._colour = out.isatty() and "NO_COLOR" not in os.environ
        self._day = dt.datetime.now().astimezone().date()

    def show(self, news: News) -> None:
        """Raises ControlError: it is no event."""
        match news:
            case Happened(event=event):
                self._write(json.dumps(event) if self._as_json else self._line(_shown(event)))
            case Lost(count=count):
                self._write(json.dumps({"lost": count}) if self._as_json else _lost(count))

    def _line(self, event: _Shown) -> str:
        at = event.time.astimezone()
        day = "" if at.date() == self._day else f"-- {at:%A, %d %B %Y}\n"
        self._day = at.date()
        clock = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
        level = Level.__members__.get(event.level.upper(), Level.INFO)
        return day + event_line(clock, level, event.subject, event.text, colour=self._colour)

    def _write(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()


def _shown(event: dict[str, object]) -> _Shown:
    try:
        return msgspec.convert(event, _Shown)
    except msgspec.ValidationError as error:
        raise ControlError(f"the master's event is not understood ({error}); try --json") from None


def _lost(count: int) -> str:
    return f"({count} events were lost: more happened than was read)"
