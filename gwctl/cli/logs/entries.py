"""One entry of an event log that is read back: from a line of text, of JSON, or of the journal.

Whatever is in a file may be read: what applications print without `capture_output`, half lines, those of
others. What is no line of ours has no level and no process, and is shown where nobody has asked for some.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from typing import Any, Final, NamedTuple

from gwctl.log.level import Level

LEVELS: Final = {
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "warn": Level.WARNING,
    "warning": Level.WARNING,
    "err": Level.ERROR,
    "error": Level.ERROR,
    "critical": Level.ERROR,
}
"""By all their names."""
_TEXT: Final = re.compile(
    r"(?P<clock>(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{3}) (?P<level>debug|info |warn |error) "
    r"(?P<subject>\S+(?: g[0-9]+)?(?: (?P<stream>stdout|stderr)(?= ))?) +(?P<text>.*)",
    re.DOTALL,
)
_PROCESS: Final = re.compile(r"(?P<pool>[^. ]+)(?:\.(?P<slot>[0-9]{1,9}))?(?: g(?P<generation>[0-9]{1,9}))?")
_PRIORITIES: Final = {
    "7": "debug",
    "6": "info",
    "5": "info",
    "4": "warning",
    "3": "error",
    "2": "critical",
    "1": "critical",
    "0": "critical",
}
_FIELDS: Final = {
    "GWCTL_TIME": "time",
    "GWCTL_INSTANCE": "instance",
    "GWCTL_EVENT": "kind",
    "GWCTL_SUBJECT": "subject",
    "GWCTL_POOL": "pool",
    "GWCTL_SLOT": "slot",
    "GWCTL_GENERATION": "generation",
    "GWCTL_PID": "pid",
    "GWCTL_NUMBER": "number",
    "LOGGER": "logger",
    "GWCTL_REQUEST_ID": "request_id",
    "GWCTL_STREAM": "stream",
    "GWCTL_EXCEPTION_TYPE": "exception_type",
    "GWCTL_EXCEPTION_MESSAGE": "exception_message",
}
"""What the journal's fields are in JSON: see docs/logs.md."""
_NUMBERS: Final = frozenset({"slot", "generation", "pid", "number"})
_NUMBER: Final = re.compile("[0-9]{1,18}")


class Entry(NamedTuple):
    """``fields`` are named as in docs/logs.md, as far as they are known."""

    fields: Mapping[str, Any]
    line: str = ""
    """As it was found, where it is text already."""

    @property
    def level(self) -> Level | None:
        """None: it says none."""
        return LEVELS.get(str(self.fields.get("level", "")))

    @property
    def process(self) -> tuple[str, int | None]:
        """Pool and slot; an empty pool: of neither."""
        pool, slot = self.fields.get("pool", ""), self.fields.get("slot")
        return pool if isinstance(pool, str) else "", slot if isinstance(slot, int) else None


class Wanted(NamedTuple):
    """Which entries are shown."""

    pool: str = ""
    slot: int | None = None
    level: Level = Level.DEBUG

    @property
    def everything(self) -> bool:
        return not self.pool and self.level == Level.DEBUG

    def __call__(self, entry: Entry) -> bool:
        """Tell whether it is one of them."""
        if self.everything:
            return True
        level, (pool, slot) = entry.level, entry.process
        if level is None or level < self.level:
            return False
        return not self.pool or (pool == self.pool and self.slot in {None, slot})


def of_text(line: str) -> Entry:
    """Of a record as text, with its further lines; of any other line, too. Its day is not known."""
    found = _TEXT.fullmatch(line)
    if found is None:
        return Entry({"text": line}, line)
    subject = found["subject"]
    stream = found["stream"] or ""
    fields: dict[str, Any] = {
        "level": {"warn ": "warning"}.get(found["level"], found["level"].strip()),
        "subject": subject.removesuffix(f" {stream}"),
    }
    whose = _PROCESS.fullmatch(fields["subject"])
    if whose is not None and fields["subject"] not in {"master", "admin"}:
        fields["pool"] = whose["pool"]
        fields |= {name: int(whose[name]) for name in ("slot", "generation") if whose[name]}
    if stream:
        fields["stream"] = stream
    return Entry(fields | {"text": found["text"].replace("\n  ", "\n")}, line)


def clock_of(line: str) -> dt.time | None:
    """When a record as text says that it was; None: it is no beginning of one."""
    found = _TEXT.match(line)
    return None if found is None else dt.time.fromisoformat(found["clock"])


def read_json(text: str) -> Any:
    """What is no number (NaN, Infinity, 1e999) is no JSON, though Python takes and gives it.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It has too many levels.
    """
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"not a number: {text}")
    return number


def of_json(line: str) -> Entry | None:
    """None: it is no line of JSON of ours."""
    if not line.startswith("{"):
        return None
    try:
        fields = read_json(line)
    except (ValueError, RecursionError):
        return None
    return Entry(fields) if isinstance(fields, dict) and isinstance(fields.get("text"), str) else None


def time_of(fields: Mapping[str, Any]) -> dt.datetime | None:
    """In the time zone of this machine; None: it says none, or one that no clock here knows."""
    with suppress(ValueError, TypeError, OverflowError, OSError):
        time = dt.datetime.fromisoformat(fields["time"]) if "time" in fields else None
        return time.astimezone() if time is not None and time.tzinfo is not None else None
    return None


def of_journal(line: str) -> Entry | None:
    """Of an entry as ``journalctl -o json`` writes it; None: it is none."""
    try:
        theirs = read_json(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(theirs, dict):
        return None
    values = {name: _value(value) for name, value in theirs.items()}
    message = values.get("MESSAGE", "")
    entry = of_json(message)  # with log.format = "json"
    if entry is not None:
        return entry
    fields: dict[str, Any] = {}
    for name, ours in _FIELDS.items():
        if name in values:
            value = values[name]
            fields[ours] = int(value) if ours in _NUMBERS and _NUMBER.fullmatch(value) else value
    if "time" not in fields:
        fields["time"] = _realtime(values.get("__REALTIME_TIMESTAMP", ""))
    fields["level"] = _PRIORITIES.get(values.get("PRIORITY", ""), "info")
    if "subject" in fields:
        stream = f" {fields['stream']}" if "stream" in fields else ""
        message = message.removeprefix(f"{fields['subject']}{stream}: ")
    else:
        fields["subject"] = values.get("SYSLOG_IDENTIFIER", "")
        fields["kind"] = "journal"
    with suppress(ValueError, RecursionError):
        fields |= {"figures": read_json(values["GWCTL_FIGURES"])} if "GWCTL_FIGURES" in values else {}
    return Entry(fields | {"text": message})


def _value(value: object) -> str:
    """One field: a text, the last of several, or bytes as a list of numbers where it is no text."""
    if isinstance(value, list):
        if value and all(isinstance(each, int) and 0 <= each < 256 for each in value):
            return bytes(value).decode("utf-8", "backslashreplace")
        return _value(value[-1]) if value else ""
    return value if isinstance(value, str) else ""


def _realtime(microseconds: str) -> str:
    try:
        return dt.datetime.fromtimestamp(int(microseconds) / 1e6, dt.UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
