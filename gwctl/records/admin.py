"""The process that serves the admin listener."""

from __future__ import annotations

from typing import ClassVar

from gwctl.records.base import Level, Record


class AdminReady(Record, frozen=True, kw_only=True):
    pid: int
    urls: tuple[str, ...]
    boot_s: float
    memory_bytes: int
    token: bool = False
    """Who has the token may change things."""


class AdminEnded(Record, frozen=True, kw_only=True):
    """Nobody asked it to; it is started again."""

    help: ClassVar = "the admin process ... ended"
    level: Level = "warning"
    pid: int = 0
    """0: there was none yet."""
    reason: str
    retry_s: float


class AdminTokenUnusable(Record, frozen=True, kw_only=True):
    """It was well when the settings were checked."""

    help: ClassVar = "nobody can change anything at the admin listener"
    level: Level = "warning"
    path: str
    reason: str


AboutAdmin = AdminReady | AdminEnded | AdminTokenUnusable
