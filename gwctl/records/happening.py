"""A record with its place in time: one entry of what `gwctl events` shows.

In JSON it is flat where one looks for things (when, who, how bad, in words) and has what only its kind has in
``figures``. So a reader that knows nothing of kinds can show, sort and filter all of them.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from gwctl.records import AnyRecord
from gwctl.records.base import TEMPLATE, Level, Record
from gwctl.records.sentences import sentence

_LIFTED: Final = ("pool", "slot", "generation", "pid")


class Happening(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record, when it happened, and to whom. What does not apply is left out of the JSON."""

    number: int
    """Counts what this master has told since its start, over reloads and upgrades; the first is 1."""
    time: dt.datetime
    """In UTC, by the clock of the wall, which somebody may set."""
    monotonic: float
    """In seconds, by the machine's clock that nobody sets: the difference of two is how long it was."""
    instance: str
    """`master.name`."""
    kind: str
    level: Level
    subject: str
    """Whom the log names: `master`, a pool, or `pool.slot gN`."""
    pool: str | None = None
    slot: int | None = None
    """Not of a template, which has none."""
    generation: int | None = None
    pid: int | None = None
    text: str
    """What the log says, maybe in several lines."""
    figures: dict[str, Any]
    """Whatever else is known of this kind: seconds, bytes, counts, reasons."""
    cut: bool = False
    """Text and figures are shortened: they were too long to be kept. The log has all of it."""


def kind_of(kind: type[Record]) -> str:
    """``WorkerReady`` is ``worker_ready``."""
    return str(kind.__struct_config__.tag)


KINDS: Final[dict[str, type[Record]]] = {kind_of(each): each for each in get_args(AnyRecord)}
"""All there are, by name."""


def happening(record: Record, number: int, time: float, monotonic: float, instance: str) -> Happening:
    """Place ``record``; ``time`` is in seconds since 1970."""
    figures = msgspec.to_builtins(record)
    del figures["record"], figures["level"]
    whose = figures.pop("process", {})
    if whose.get("slot") == TEMPLATE:
        del whose["slot"]
    for name in _LIFTED:
        if name in figures:
            whose[name] = figures.pop(name)
    return Happening(
        number=number,
        time=dt.datetime.fromtimestamp(time, dt.UTC),
        monotonic=monotonic,
        instance=instance,
        kind=kind_of(type(record)),
        level=record.level,
        subject=record.subject,
        pool=whose.get("pool") or None,
        slot=whose.get("slot"),
        generation=whose.get("generation"),
        pid=whose.get("pid") or None,
        text=sentence(record),
        figures=figures,
    )
