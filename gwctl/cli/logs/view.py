"""How ``gwctl logs`` looks: as the log as text, with a line for each day, or as JSON, one object a line."""

from __future__ import annotations

import datetime as dt
import json
import os
from typing import TextIO

from gwctl.cli.logs.entries import Entry, time_of
from gwctl.log.level import Level
from gwctl.log.output_lines import shown, whom
from gwctl.log.text_lines import escaped, event_line


class LogsView:
    """Writes each entry to ``out`` as it comes."""

    def __init__(self, out: TextIO, *, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json
        self._colour = out.isatty() and "NO_COLOR" not in os.environ
        self._day = dt.datetime.now().astimezone().date()

    def show(self, entry: Entry) -> None:
        self._out.write(self._rendered(entry) + "\n")
        self._out.flush()

    def _rendered(self, entry: Entry) -> str:
        if self._as_json:
            return json.dumps(entry.fields, allow_nan=False)
        if entry.line:
            return escaped(entry.line)
        fields = entry.fields
        at = time_of(fields)
        text = shown(str(fields.get("text", "")), continued=bool(fields.get("continued")))
        if stacktrace := str(fields.get("exception_stacktrace", "")).rstrip("\n"):
            text = f"{text}\n{stacktrace}"
        if at is None:
            return escaped(text)
        at = at.astimezone()
        day = "" if at.date() == self._day else f"-- {at:%A, %d %B %Y}\n"
        self._day = at.date()
        clock = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
        subject = whom(str(fields.get("subject", "")), str(fields.get("stream", "")))
        level = entry.level if entry.level is not None else Level.INFO
        return day + event_line(clock, level, subject, text, colour=self._colour)
