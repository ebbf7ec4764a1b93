"""What the core is told: facts, in the past participle, in the order they were observed.

A worker is named by a number that is never used twice in the life of a fleet (a pid can be).
``luck`` is a random number in [0, 1) that the shell supplies: the core has none of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gwctl.supervisor.core.policy import PoolPolicy

WorkerId = int
RequestId = int
"""Names whoever waits for an answer: a control client's request. 0: nobody waits (a signal)."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """The fork succeeded."""

    worker: WorkerId
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The fork (or what it needs) failed; there is no process."""

    worker: WorkerId
    reason: str
    luck: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker said that it is booted."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class BootFailed:
    """The worker said why it cannot boot. Its `Exited` follows.

    ``kind`` is ``import``, ``lifespan`` or ``boot``.
    """

    worker: WorkerId
    kind: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class DrainStarted:
    """The worker said that it accepts no more. News only when nobody here told it to drain."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """End of file on the channel: a hint only."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Exited:
    """The process is reaped. ``status`` as of os.waitstatus_to_exitcode: negative is a signal."""

    worker: WorkerId
    status: int
    luck: float
    serving: str = ""
    """Request line it was serving, from the scoreboard; empty when idle or unknown."""
    cut: int = 0
    """Requests it did not finish, as far as is known."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Answer to Observe, for each process: what its record on the scoreboard says at that moment.

    Fields of one record may be of different moments: rest no decision on two of them agreeing.
    """

    worker: WorkerId
    luck: float
    requests: int = 0
    """Responses it has finished in its life."""
    active: int = 0
    """Requests in the application now."""
    memory_bytes: int = 0
    """Resident memory of the process; 0: unknown."""
    heartbeat_at: float = 0.0
    """When its serving loop last turned, in monotonic seconds; 0.0: it has not begun to."""
    busy_since: float = 0.0
    """When the request that it serves (the oldest, if there are several) was dispatched; 0.0: idle."""
    serving: str = ""
    """Request line of that one; empty when idle or unknown."""


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    request: RequestId
    source: str
    """For the log: ``SIGHUP`` or ``gwctl reload``."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Answer to Prepare: settings are valid, what is new is bound. All pools of the new generation."""

    generation: int
    policies: Mapping[str, PoolPolicy]


@dataclass(frozen=True, slots=True)
class PrepareFailed:
    """Answer to Prepare: nothing was changed. ``reason`` may have several lines."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class ScaleAsked:
    """Set a pool's size, or change it by ``delta`` (TTIN, TTOU: of every pool when ``pool`` is empty)."""

    request: RequestId
    pool: str
    size: int | None = None
    delta: int = 0


@dataclass(frozen=True, slots=True)
class StopAsked:
    """``quick`` ends workers at once; a second StopAsked escalates (graceful, quick, kill)."""

    request: RequestId
    source: str
    quick: bool = False


WorkerEvent = Spawned | SpawnFailed | Ready | BootFailed | DrainStarted | ChannelClosed | Exited | Observed
Event = WorkerEvent | ReloadAsked | Prepared | PrepareFailed | ScaleAsked | StopAsked
