"""What all records have, and the things that many of them are about."""

from __future__ import annotations

import re
from typing import ClassVar, Final, Literal

from msgspec import Struct

Level = Literal["debug", "info", "warning", "error"]

TEMPLATE: Final = -1
"""The slot of a template."""


def _tag(name: str) -> str:
    """``WorkerReady`` is ``worker_ready``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class Record(Struct, frozen=True, kw_only=True, tag_field="record", tag=_tag):
    """One happening, with all its figures. Durations are in seconds, sizes in bytes."""

    level: Level = "info"
    help: ClassVar[str] = ""
    """What docs/troubleshooting.md says about it begins with this, where there is something to do."""

    @property
    def subject(self) -> str:
        """Who it is about, as the log has it in a column."""
        return "master"


class Process(Struct, frozen=True):
    """A worker or a template."""

    pool: str
    slot: int
    """`TEMPLATE` of a template."""
    generation: int
    pid: int
    """0: it has none yet."""

    @property
    def is_template(self) -> bool:
        return self.slot == TEMPLATE

    @property
    def name(self) -> str:
        return f"{self.pool} template" if self.is_template else f"{self.pool}.{self.slot}"

    @property
    def subject(self) -> str:
        """Of a template its pool, as the sentence says that it is one."""
        return f"{self.pool} g{self.generation}" if self.is_template else f"{self.name} g{self.generation}"


class OfProcess(Record, frozen=True, kw_only=True):
    """A record about one worker or template."""

    process: Process

    @property
    def subject(self) -> str:
        return self.process.subject


class OfPool(Record, frozen=True, kw_only=True):
    """A record about one pool, or a slot of it."""

    pool: str

    @property
    def subject(self) -> str:
        return self.pool


class Strength(Struct, frozen=True):
    """How many workers of a pool serve, or could at once, of how many wanted."""

    pool: str
    ready: int
    size: int
