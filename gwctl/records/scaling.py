"""How many workers a pool has, and whether there is room for them."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

from gwctl.records.base import Level, OfPool, Record

Cause = Literal["waits", "busy", "quiet", "bounds"]
"""Why a size changes: requests wait, workers are busy, fewer are enough, it is outside of its bounds."""

Obstacle = Literal["max", "fails", "cpu", "memory"]
"""Why a pool stays smaller than it should be."""


class ScaleFigures(Struct, frozen=True):
    """What a pool that sets its size itself went by: the last sample."""

    need: int
    """Workers that it would take."""
    ready: int
    busy: float
    """Workers in use, on average over a few seconds."""
    waiting: int
    """Requests and connections that wait, and those that were refused for overload."""
    min: int
    max: int
    cpus: float
    """Processors that its workers use, on average."""
    cpus_max: float
    """Those that the master may use; 0: not known."""
    free_bytes: int | None
    """Memory that is left before a limit; None: there is none, or none is known."""
    worker_bytes: int
    """Memory of the largest worker; 0: not known."""


class PoolScaled(OfPool, frozen=True, kw_only=True):
    """It is to have another size."""

    was: int
    size: int
    asked: int
    source: str = ""
    """Who asked for it; ``autoscale``: the pool sets its size itself."""
    fixed: bool = False
    """The pool sets its size itself, and does so no more: it was set by hand."""
    released: bool = False
    """The pool sets its size itself again."""
    cause: Cause | None = None
    """Why, if nobody asked."""
    figures: ScaleFigures | None = None
    held: str = ""
    """Why no worker is started for it before the next reload."""


class PoolNotScaled(OfPool, frozen=True, kw_only=True):
    """It needs more workers and does not get them. Told once, until it has had enough for a while."""

    help: ClassVar = "workers are needed"
    level: Level = "warning"
    size: int
    obstacle: Obstacle
    figures: ScaleFigures


class GroupNearLimit(Record, frozen=True, kw_only=True):
    """Its control group is near its memory limit, and replacing a worker would not help.

    Told once, until it has been well for a while.
    """

    help: ClassVar = "the control group holds ... of its ... of memory"
    level: Level = "warning"
    used_bytes: int
    """Without what the kernel takes back before it kills somebody."""
    limit_bytes: int
    workers_bytes: int
    """Resident memory of the workers together; what they share counts for each of them."""
    ours: bool
    """Most of what is held is the workers', but none has grown since it was ready."""


AboutScaling = PoolScaled | PoolNotScaled | GroupNearLimit
