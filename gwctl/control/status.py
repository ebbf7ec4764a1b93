"""The status document (``gwctl status --json``): what a master answers, and what its reader gets.

Its fields are a public interface: fields are added, never renamed, and a reader ignores those it does
not know.

Counters are over the life of the pool, dead workers included, so they never jump when a worker is
replaced; what the text shows of rates and latencies is of the last minute.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gwctl.watched import Watched


class WorkerStatus(msgspec.Struct, frozen=True):
    """One worker. Times in seconds; ``slots`` is how many requests it can serve at once, 0 for no limit."""

    slot: int
    pid: int
    state: str
    generation: int
    up_s: float
    requests: int = 0
    errors: int = 0
    requests_per_s: float = 0.0
    active: int = 0
    slots: int = 1
    request: str = ""
    """Request line of what it serves; of one of them when it serves several."""
    request_s: float = 0.0
    connections: int = 0
    memory_bytes: int = 0
    left_s: float | None = None
    """How long a draining worker may still take."""
    replaced: str = ""
    """Why it is being replaced, or shall be; empty when it stays."""
    from_disk: bool = False
    """It was started while what is on disk is not what its siblings run."""
    files: int | None = None
    """Open descriptors; None: the master may not know."""
    files_max: int | None = None


class TemplateStatus(msgspec.Struct, frozen=True):
    """A process that workers of one generation are forked from. Its state is ``ready`` when it can be."""

    pid: int
    state: str
    generation: int
    up_s: float
    memory_bytes: int = 0


class MinuteStatus(msgspec.Struct, frozen=True):
    """What a pool did in the last minute, or since the master was started."""

    seconds: float
    requests: int = 0
    errors: int = 0
    requests_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None


class ScalingStatus(msgspec.Struct, frozen=True):
    """A pool that finds its size itself, within bounds."""

    min: int
    max: int
    paused: str = ""
    """Why it keeps the size that it has, for now; empty: it does not."""
    by_hand: bool = False
    """It does since somebody set the size, and until ``gwctl scale POOL auto``."""
    busy: float | None = None
    """Workers in use, on average over a few seconds; None: not known yet."""
    need: int | None = None
    """Workers that the load takes."""
    held: str = ""
    """What is in the way of more workers: ``max``, ``fails``, ``cpu`` or ``memory``."""

    @property
    def brief(self) -> str:
        """``2 to 16``, and what there is to know of it."""
        notes = ["set by hand"] if self.by_hand else [f"more held back: {self.held}"] if self.held else []
        return ", ".join((f"{self.min} to {self.max}", *notes))


class PoolStatus(msgspec.Struct, frozen=True):
    """One pool; counters over its life, dead workers included."""

    name: str
    worker: str
    threads: int
    size: int
    ready: int
    scaling: ScalingStatus | None = None
    """None: its size is fixed."""
    allowed_as: str = ""
    """Why ``auto`` is as many as it is, as measured last; empty: it is not ``auto``, or not measured yet."""
    urls: tuple[str, ...] = ()
    requests: int = 0
    errors: int = 0
    bytes_out: int = 0
    accepted: int = 0
    refused: int = 0
    """Connections and requests answered with 503 for overload."""
    evicted: int = 0
    """Silent connections closed to make room for new ones."""
    dropped: int = 0
    """Requests not begun: they had waited longer than queue_timeout_s, or their client was gone."""
    requests_per_s: float = 0.0
    """Of the last few seconds."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    minute: MinuteStatus | None = None
    backlog: int | None = None
    """Connections that wait to be accepted, at the TCP listeners; None where the kernel does not tell."""
    backlog_max: int | None = None
    restarts: int = 0
    """Workers that ended unplanned, since the master was started."""
    busy: float | None = None
    """Part of what the ready workers can do at once that is in use; None where there is no limit."""
    note: str = ""
    """What is wrong with it: ``slot 2 keeps dying``."""
    generation: int = 0
    """That of its workers; older than the master's after reloads of other pools. 0: not told."""
    workers: tuple[WorkerStatus, ...] = ()
    templates: tuple[TemplateStatus, ...] = ()
    """With ``preload``; those of previous generations while they are kept."""


class KeptStatus(msgspec.Struct, frozen=True):
    """A generation whose workers are parked for a rollback; ``until`` in seconds since the epoch."""

    generation: int
    until: float
    left_s: float
    workers: dict[str, int]
    """How many of its workers are left, by pool."""


class ReloadStatus(msgspec.Struct, frozen=True):
    """A reload, rollback or restart that is under way."""

    generation: int
    """The one that is tried, or gone back to."""
    source: str
    for_s: float
    """Since it was begun."""
    rollback: bool
    phases: dict[str, str]
    """Where each pool is: ``validate``, ``boot``, ``settle``, ``watch``, ``roll``, ``switch``,
    ``watch-all`` or ``commit``, in a restart ``validate``, ``drain`` or ``start``."""
    restart: bool = False
    watches: tuple[str, ...] = ()
    """Pools that are watched (``watch_s``), sooner or later."""
    watched: tuple[Watched, ...] = ()
    """What has been seen of those that have come so far."""


class PressureStatus(msgspec.Struct, frozen=True):
    """How much work waits for what is short: the part of the last ten seconds in which some did, 0 to 1.

    None: the kernel does not say.
    """

    of: str
    """``group``: the control group's. ``machine``: everybody's."""
    cpu: float | None = None
    memory: float | None = None
    io: float | None = None

    @property
    def known(self) -> dict[str, float]:
        """By the name of what is short."""
        named = (("cpu", self.cpu), ("memory", self.memory), ("io", self.io))
        return {name: value for name, value in named if value is not None}

    @property
    def most(self) -> float:
        return max(self.known.values(), default=0.0)


class MasterStatus(msgspec.Struct, frozen=True):
    """The whole document. ``adopted_at`` is the time of day, in seconds since the epoch."""

    name: str
    pid: int
    version: str
    up_s: float
    generation: int
    phase: str
    accepts_s: float | None = None
    """For how long a master that stops still accepts connections."""
    adopted_at: float | None = None
    adopted_by: str = ""
    degraded: str = ""
    """Why a worker that is replaced runs other code than its siblings; empty when it does not."""
    health: str = ""
    """``healthy``, ``overloaded``, ``degraded``, ``down``, ``starting`` or ``stopping``: see `health`."""
    health_reason: str = ""
    last_reload: str = ""
    """How the last reload or rollback ended; empty before the first."""
    last_reload_at: float | None = None
    refused_at: float | None = None
    """When a reload was first refused since one was adopted; None: none was."""
    kept: KeptStatus | None = None
    """The generation that ``gwctl rollback`` goes back to."""
    reload: ReloadStatus | None = None
    """The one that is under way."""
    config: str = ""
    python: str = ""
    log_to: str = ""
    """Where the event log goes in fact: a file, or what the setting ``log.to`` calls it."""
    pressure: PressureStatus | None = None
    """None: the kernel counts none."""
    pools: tuple[PoolStatus, ...] = ()


def to_json_ready(status: MasterStatus) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(status)
    return document


def from_json_ready(document: dict[str, Any]) -> MasterStatus:
    """Read a master's answer, also of a somewhat newer or older gwctl.

    Raises:
        msgspec.ValidationError: It is something else.
    """
    return msgspec.convert(document, MasterStatus)
