"""The process that serves the admin listener."""

from __future__ import annotations

from typing import ClassVar, Literal

from gwctl.records.base import Level, Record


class AdminReady(Record, frozen=True, kw_only=True):
    pid: int
    urls: tuple[str, ...]
    boot_s: float
    memory_bytes: int
    token: bool = False
    """Who has the token may change things."""
    statsd: str = ""
    """Where figures are sent; empty: nowhere."""


AdminFault = Literal["boot", "silent", "term", "protocol", "unwatched"]
"""Not ready in time; its loop does not turn; not ended when told to; it said what is not for it to say; the
kernel has no room to watch it."""


class AdminKilled(Record, frozen=True, kw_only=True):
    """Written before the signal is sent."""

    help: ClassVar = "the admin process ... is killed"
    level: Level = "warning"
    pid: int
    fault: AdminFault
    after_s: float = 0.0
    """How long was waited for it."""
    detail: str = ""


class AdminEnded(Record, frozen=True, kw_only=True):
    """Nobody asked it to; it is started again."""

    help: ClassVar = "the admin process ... ended"
    level: Level = "warning"
    pid: int = 0
    """0: there was none yet."""
    reason: str = ""
    """What it said of its failure, or why there is none. Empty: its status is all that is known."""
    status: int = 0
    """As `os.waitstatus_to_exitcode` has it."""
    retry_s: float


class AdminTokenUnusable(Record, frozen=True, kw_only=True):
    """It was well when the settings were checked."""

    help: ClassVar = "nobody can change anything at the admin listener"
    level: Level = "warning"
    path: str
    reason: str


class MetricsFolderUnusable(Record, frozen=True, kw_only=True):
    """For metrics of applications."""

    help: ClassVar = "no folder for the application's metrics"
    level: Level = "warning"
    reason: str


AboutAdmin = AdminReady | AdminKilled | AdminEnded | AdminTokenUnusable | MetricsFolderUnusable
