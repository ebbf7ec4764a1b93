"""What a master answers to ``metrics`` and ``health``: figures for machines.

All counters are over the life of the master, upgrades included; those of a pool contain its dead workers, so
they never run backwards. Seconds and bytes are plain numbers. How they are called for Prometheus is said in
`gwctl.admin.figures`.
"""

from __future__ import annotations

from typing import Final

import msgspec

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "other")
STATUS_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
"""As they are counted (`gwctl.ipc.scoreboard`): ``none`` had no response, ``1xx`` became WebSockets."""


class Summary(msgspec.Struct, frozen=True):
    """How often something took time, and how much altogether."""

    count: int = 0
    seconds: float = 0.0


class Exemplar(msgspec.Struct, frozen=True):
    """One slow request: how long it took, and when it ended, in seconds since 1970."""

    seconds: float
    at: float
    request_id: str


class Durations(msgspec.Struct, frozen=True):
    """Requests by how long they took. ``counts[i]`` took less than ``2**i * 0.1`` ms, the last any longer."""

    counts: tuple[int, ...] = ()
    seconds: float = 0.0
    """All of them together."""
    exemplars: tuple[Exemplar, ...] = ()
    """Slow ones, one of each doubling at most."""


class WorkerMetrics(msgspec.Struct, frozen=True):
    """One worker that lives. ``requests``, ``accepted`` and ``cpu_s`` are of all that its slot has had."""

    slot: int
    pid: int
    state: str
    generation: int
    up_s: float
    requests: int = 0
    active: int = 0
    connections: int = 0
    accepted: int = 0
    memory_bytes: int = 0
    """Resident."""
    cpu_s: float = 0.0
    lag_s: float = 0.0
    """How late the loop was at its last heartbeat: with a timer, or with what was ready to run."""


class PoolMetrics(msgspec.Struct, frozen=True):
    """One pool, dead workers included."""

    name: str
    worker: str
    """Its worker class."""
    size: int
    """How many workers it is to have."""
    ready: int
    size_min: int | None = None
    """Of a pool that sets its size itself; None: it is fixed."""
    size_max: int | None = None
    need: int | None = None
    """Workers that its load takes; None: not known."""
    ready_min: int = 1
    """With how many it counts as ready."""
    capacity: int | None = None
    """Requests that its ready workers can be at, at once; None: no limit is known."""
    active: int = 0
    requests: dict[str, dict[str, int]] = {}
    """By method, then by class of status, only what there was."""
    durations: Durations = Durations()
    queued: Summary = Summary()
    """How long requests waited in a worker before the application was called."""
    bytes_out: int = 0
    bytes_in: int = 0
    """Of request bodies, as they came."""
    tls: dict[str, int] | None = None
    """Handshakes by how they ended: ``full``, ``resumed``, ``failed``. None: no client has tried one."""
    connections: int = 0
    accepted: int = 0
    refused: int = 0
    evicted: int = 0
    dropped: int = 0
    websockets: int = 0
    """Open now."""
    backlog: int | None = None
    backlog_max: int | None = None
    exits: dict[str, int] = {}
    """Workers that ended, by why."""
    boots: Summary = Summary()
    """From the fork until ready."""
    cpu_s: float = 0.0
    collections: Summary = Summary()
    """Of garbage: while one runs, the process does nothing else."""
    collection_max_s: float = 0.0
    """The longest of the workers that live."""
    workers: tuple[WorkerMetrics, ...] = ()
    processes: tuple[int, ...] | None = None
    """Numbers of all its processes that have not been reaped, templates included. Each is given once.
    None: it is not known who lives."""


class MasterMetrics(msgspec.Struct, frozen=True):
    """The whole document."""

    name: str
    version: str
    pid: int
    up_s: float
    generation: int
    phase: str
    health: str
    """One word, as in status."""
    memory_bytes: int = 0
    cpu_s: float = 0.0
    reloads: dict[str, int] = {}
    """How many ended so: ``adopted``, ``refused``, ``rolled_back``, ``restarted``."""
    reload_seconds: Summary = Summary()
    """Of those that were adopted."""
    upgrades: dict[str, int] = {}
    pressure: dict[str, float] = {}
    """See `gwctl.control.status.PressureStatus`; empty: the kernel counts none."""
    log_lines_lost: int = 0
    events: int = 0
    pools: tuple[PoolMetrics, ...] = ()


class PoolHealth(msgspec.Struct, frozen=True):
    """``started``: it has been ready once."""

    size: int
    ready: int
    ready_min: int
    started: bool


class MasterHealth(msgspec.Struct, frozen=True):
    """What probes ask for: small, and always of this moment."""

    phase: str
    """As in status; ``stopping`` from the moment on in which a stop was asked for."""
    generation: int
    pools: dict[str, PoolHealth]
