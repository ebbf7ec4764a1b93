"""What the core is told: facts, in the past participle, in the order they were observed.

A worker is named by a number that is never used twice in the life of a fleet (a pid can be).
``jitter`` is a random number in [0, 1) that the shell supplies: the core has none of its own.
They are structs because defining thirty dataclasses, here and in `actions`, took ten milliseconds of
each start.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from gwctl.records.report import ProcessReport
from gwctl.supervisor.core.policy import PoolPolicy

WorkerId = int
RequestId = int
"""Names whoever waits for an answer: a control client's request. 0: nobody waits (a signal)."""


class Spawned(Struct, frozen=True):
    """The fork succeeded."""

    worker: WorkerId
    pid: int


class SpawnFailed(Struct, frozen=True):
    """The fork (or what it needs) failed; there is no process."""

    worker: WorkerId
    reason: str
    jitter: float


class Ready(Struct, frozen=True):
    """The worker said that it is booted."""

    worker: WorkerId


class BootFailed(Struct, frozen=True):
    """The worker said why it cannot boot. Its `Exited` follows.

    ``kind`` is ``import``, ``lifespan`` or ``boot``.
    """

    worker: WorkerId
    kind: str
    message: str
    traceback: str


class DrainStarted(Struct, frozen=True):
    """The worker said that it accepts no more. News only when nobody here told it to drain."""

    worker: WorkerId
    reason: str = ""
    """Why, when it is known: the shell has told it, as nothing else can be told to it any more."""


class ChannelClosed(Struct, frozen=True):
    """End of file on the channel: a hint only."""

    worker: WorkerId


class Obeyed(Struct, frozen=True):
    """The worker said that it has carried out an order: to serve, or to accept no more."""

    worker: WorkerId
    serving: bool


class Exited(Struct, frozen=True):
    """The process is reaped. ``status`` as of os.waitstatus_to_exitcode: negative is a signal."""

    worker: WorkerId
    status: int
    jitter: float
    serving: str = ""
    """Request line it was serving, from the scoreboard; empty when idle or unknown."""
    cut: int = 0
    """Requests it did not finish, as far as is known."""
    cause: str = ""
    """What the kernel was seen to do to it: the memory it ran out of."""
    frames: str = ""
    """Where the application stood when it died of a fault of its own."""
    report: ProcessReport | None = None
    """What it was at, if that was asked for and it was not killed."""
    reason: str = ""
    """Why that was asked for."""


class Killed(Struct, frozen=True):
    """Answer to Kill: SIGKILL is sent at the end of this turn."""

    worker: WorkerId
    reason: str
    report: ProcessReport | None = None
    """What it was at; None: it was not asked for that before."""


class Spared(Struct, frozen=True):
    """Answer to Spare."""

    worker: WorkerId
    reason: str
    report: ProcessReport


class Stuck(Struct, frozen=True):
    """The worker said that it gave a request up, which goes on to hold one of its threads."""

    worker: WorkerId
    request: str
    age_s: float


class Raised(Struct, frozen=True):
    """The worker told of an exception of its application, of a type and at a place that are new to it."""

    worker: WorkerId
    kind: str
    """Its type."""
    where: str
    """``/srv/shop/views.py:12``; empty: it has no frame."""
    traceback: str


class Observed(Struct, frozen=True):
    """Answer to Observe, for each process: what its record on the scoreboard says at that moment.

    Fields of one record may be of different moments: rest no decision on two of them agreeing.
    """

    worker: WorkerId
    jitter: float = field(name="luck")
    """It goes over an upgrade by the name that it had in 0.2.0."""
    requests: int = 0
    """Responses it has finished in its life."""
    active: int = 0
    """Requests in the application now."""
    connections: int = 0
    """Open now."""
    memory_bytes: int = 0
    """Resident memory of the process; 0: unknown."""
    private_bytes: int = 0
    """What it has written of that itself, and shares with nobody; 0: unknown."""
    heartbeat_at: float = 0.0
    """When its serving loop last turned, in monotonic seconds; 0.0: it has not begun to."""
    busy_since: float = 0.0
    """When the request that it serves was dispatched; 0.0: idle, or not known. Workers that serve several at
    once say it of the oldest, and only while they drain."""
    serving: str = ""
    """Request line of that one; empty when idle or unknown."""
    request_limit_s: float = 0.0
    """How long that one may take; 0.0: as long as it likes, or its worker sees to it."""
    request_due_at: float = 0.0
    """When it will have: later than its limit says if the application asked for more."""


class Figures(Struct, frozen=True):
    """What one worker has counted since its birth, as far as it can be believed."""

    requests: int
    errors: int
    """Those answered with 5xx."""
    durations: tuple[int, ...]
    """By the places of `gwctl.durations`."""


class Measured(Struct, frozen=True):
    """Answer to Measure: the living workers of each pool that was asked for."""

    pools: Mapping[str, Mapping[WorkerId, Figures]]


class LoadObserved(Struct, frozen=True):
    """Answer to Observe for a pool that it names: what its serving workers did since the one before.

    Of those only that served at the one before, too. What they say may be anything.
    """

    pool: str
    seconds: float
    """Since then."""
    workers: int
    """How many are meant."""
    busy: float
    """How many of them were in use, on average."""
    waiting: int = 0
    """Requests and connections that wait, and those that were refused for overload."""
    request_s: float = 0.0
    """For how long a request occupies a worker."""
    cpus: float = 0.0
    """Processors that they used, on average."""
    free_bytes: int | None = None
    """Memory that is left before a limit; None: there is none, or none is known."""
    worker_bytes: int = 0
    """Memory of the largest; 0: not known."""


class GroupMemoryObserved(Struct, frozen=True):
    """Answer to Observe where a control group of the master has a limit: of the one that is nearest to it."""

    limit_bytes: int
    used_bytes: int
    """Without what the kernel takes back before it kills somebody."""


class CapacityMeasured(Struct, frozen=True):
    """What machine and control groups allow: said while `scaling.differs` from what pools go by."""

    processes: int
    """By affinity and quota."""
    cpus: float
    """Processors; 0: not known."""
    why: str
    """That in words."""
    memory_bytes: int = 0
    """For all of us; 0: not known."""
    master_bytes: int = 0
    """What the master holds of it."""


class ReloadAsked(Struct, frozen=True):
    request: RequestId
    source: str
    """For the log: ``SIGHUP`` or ``gwctl reload``."""
    pools: tuple[str, ...] = ()
    """Only these; empty: all."""


class Prepared(Struct, frozen=True):
    """Answer to Prepare or Restore: settings are valid, what is new is bound. All its pools."""

    generation: int
    policies: Mapping[str, PoolPolicy]
    warnings: tuple[str, ...] = ()
    """No reason to refuse, but whoever asked should see them: a certificate that has expired."""
    keep_s: float = 0.0
    """How long the generation before this one is kept for a rollback; 0: not at all."""
    lost: tuple[str, ...] = ()
    """What that one serves and this one does not: pools, addresses. Then it cannot be kept."""
    left: tuple[str, ...] = ()
    """What differs in the settings and is not applied, as other pools were asked for; in words."""
    changed: bool = False
    """The settings of its pools are others than those in force."""


class PrepareFailed(Struct, frozen=True):
    """Answer to Prepare or Restore: nothing was changed. ``reason`` may have several lines."""

    generation: int
    reason: str
    unknown: bool = False
    """It was asked for a pool that neither the settings nor the generation in force have."""


class RollbackAsked(Struct, frozen=True):
    """Go back to the generation that is kept."""

    request: RequestId
    source: str


class RestartAsked(Struct, frozen=True):
    """Reload without overlap: what serves ends before what is new is begun."""

    request: RequestId
    source: str
    pools: tuple[str, ...] = ()
    """Only these; empty: all."""


class ScaleAsked(Struct, frozen=True):
    """Set a pool's size, or change it by ``delta`` (TTIN, TTOU: of every pool when ``pool`` is empty)."""

    request: RequestId
    pool: str
    size: int | None = None
    delta: int = 0
    source: str = ""
    """For the log: ``SIGTTIN`` or ``gwctl scale``."""
    auto: bool = False
    """As the settings say it, instead: their size, or within their bounds by itself."""


class RecycleAsked(Struct, frozen=True):
    """Replace a pool's workers, or that in one slot, one after the other, each when its successor serves."""

    request: RequestId
    pool: str
    slot: int | None = None


class StopAsked(Struct, frozen=True):
    """``quick`` ends workers at once; a second StopAsked escalates (delayed, graceful, quick, kill)."""

    request: RequestId
    source: str
    quick: bool = False
    delay_s: float = 0.0
    """How long connections are still accepted before a graceful stop begins to drain."""


class UpgradeAsked(Struct, frozen=True):
    request: RequestId
    source: str
    """For the log: ``SIGUSR2`` or ``gwctl upgrade``."""


class UpgradeChecked(Struct, frozen=True):
    """Answer to CheckUpgrade: the new program can restore this fleet. ``to`` says what it is."""

    to: str


class UpgradeFailed(Struct, frozen=True):
    """Answer to CheckUpgrade or ExecuteUpgrade: everything is as it was. May have several lines."""

    reason: str


class Upgraded(Struct, frozen=True):
    """Answer to ExecuteUpgrade, by the new program: it has restored everything."""

    was: str
    to: str
    took_s: float
    """Since ExecuteUpgrade."""
    outdated: tuple[WorkerId, ...] = ()
    """Templates that cannot go on: what they fork would write to a scoreboard of another layout."""


class TakeoverAsked(Struct, frozen=True):
    """Another master is to take this one's place, and wants copies of its listeners."""

    request: RequestId
    source: str
    """For the log: ``gwctl start --takeover, pid 12``."""
    patience_s: float
    """It will be ready within this, or never."""


class SuccessorEnded(Struct, frozen=True):
    """That master has ended or was not to be had; or answer to OfferListeners: nothing could be given."""

    reason: str


class SuccessorReady(Struct, frozen=True):
    """That master serves, and this one may go."""


class Succeeded(Struct, frozen=True):
    """The place of the master before is ours. ``asked``: answer to Claim, or said by it when it stops."""

    asked: bool = True


class TakeoverDenied(Struct, frozen=True):
    """The master before keeps its place after all."""

    reason: str


WorkerEvent = (
    Spawned
    | SpawnFailed
    | Ready
    | BootFailed
    | DrainStarted
    | ChannelClosed
    | Obeyed
    | Exited
    | Killed
    | Spared
    | Observed
    | Stuck
)
UpgradeEvent = UpgradeAsked | UpgradeChecked | UpgradeFailed | Upgraded
TakeoverEvent = TakeoverAsked | SuccessorEnded | SuccessorReady | Succeeded | TakeoverDenied
Event = (
    WorkerEvent
    | Measured
    | Raised
    | LoadObserved
    | CapacityMeasured
    | GroupMemoryObserved
    | ReloadAsked
    | RollbackAsked
    | RestartAsked
    | Prepared
    | PrepareFailed
    | ScaleAsked
    | RecycleAsked
    | StopAsked
    | UpgradeEvent
    | TakeoverEvent
)
