"""What a master answers to ``diff``: the differences between what runs and what it would read now."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Change(StrEnum):
    """What became of a setting, or of a pool."""

    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


class Effect(StrEnum):
    """When a reload applies it."""

    WORKERS = "workers"
    """With the workers that it starts."""
    ADOPTION = "adoption"
    """To the master and its admin process, when the new generation is adopted."""
    RESTART = "restart"
    """Not at all: only when the master is started anew."""


class Difference(msgspec.Struct, frozen=True):
    """One setting, by its dotted name, or one pool; ``old`` and ``new`` are None where there is none."""

    name: str
    change: Change
    effect: Effect
    old: Any = None
    new: Any = None
    old_source: str = ""
    new_source: str = ""
    masked: bool = False
    """The values are not shown: they may be secrets."""


class Differences(msgspec.Struct, frozen=True):
    """The whole answer. With ``problems`` there are no differences: a reload would be refused."""

    name: str
    generation: int
    """That in force."""
    config: str
    """The file; empty when there is none."""
    differences: tuple[Difference, ...] = ()
    problems: tuple[str, ...] = ()
    """As ``gwctl check`` tells them."""
    warnings: tuple[str, ...] = ()
