"""What happens to workers and templates, from the fork to the end."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

from gwctl.records.base import Level, OfPool, OfProcess
from gwctl.records.report import ProcessReport

# ---- the parts


class Death(Struct, frozen=True):
    """An exit that nobody asked for."""

    status: int
    """As of os.waitstatus_to_exitcode: negative is a signal."""
    cause: str = ""
    """What the kernel was seen to do to it."""
    ready_s: float | None = None
    """For how long it had been ready; None: it was not yet."""
    serving: str = ""
    """The request line it was at."""
    killed_by_others: bool = False
    """By SIGKILL, which gwctl did not send."""


class Retry(Struct, frozen=True):
    """When its slot is tried again."""

    wait_s: float = 0.0
    """0: at once."""
    failures: int = 0
    """In a row, this one included."""
    within_s: float = 0.0
    held: str = ""
    """Why it is not before a reload, whatever the slot's record says."""


# ---- begun


class WorkerBooting(OfProcess, frozen=True, kw_only=True):
    level: Level = "debug"
    stage: str


class WorkerReady(OfProcess, frozen=True, kw_only=True):
    worker_class: str
    boot_s: float
    import_s: float
    """0: it was forked from a template."""
    memory_bytes: int
    parser: str


class SpawnFailed(OfProcess, frozen=True, kw_only=True):
    help: ClassVar = "could not be started: ... was refused"
    level: Level = "error"
    reason: str
    retry: Retry


class StartedWhileDegraded(OfProcess, frozen=True, kw_only=True):
    """It runs what is on disk, which is not what its siblings run."""

    help: ClassVar = "started while degraded"
    level: Level = "warning"


class ForkUnanswered(OfProcess, frozen=True, kw_only=True):
    help: ClassVar = "its fork was asked for ... and has not been answered"
    level: Level = "error"
    waited_s: float


# ---- ended


class WorkerDied(OfProcess, frozen=True, kw_only=True):
    help: ClassVar = "died: exit status N"
    level: Level = "error"
    death: Death
    retry: Retry
    traceback: str = ""


class WorkerFailed(OfProcess, frozen=True, kw_only=True):
    """It was ended, or ended itself, for a reason that was known before its exit."""

    help: ClassVar = "did not end within"
    level: Level = "error"
    kind: str
    reason: str
    retry: Retry
    traceback: str = ""


class WorkerLeft(OfProcess, frozen=True, kw_only=True):
    """By itself, with exit status 0."""

    help: ClassVar = "left by itself (exit status 0), while serving"
    serving: str = ""
    retry: Retry
    traceback: str = ""


class WorkerGone(OfProcess, frozen=True, kw_only=True):
    """It was killed, or asked for its stacks: another record has said why."""

    level: Level = "debug"
    retry: Retry
    traceback: str = ""


class WorkerDrains(OfProcess, frozen=True, kw_only=True):
    """Nobody here told it to."""

    reason: str
    retry: Retry


class WorkerDraining(OfProcess, frozen=True, kw_only=True):
    level: Level = "debug"
    requests: int
    connections: int


class WorkerFinished(OfProcess, frozen=True, kw_only=True):
    """A planned end."""

    level: Level = "debug"
    took_s: float


class WorkerEndedEarly(OfProcess, frozen=True, kw_only=True):
    """It was to go, and ended otherwise than by finishing."""

    help: ClassVar = "ended with ... while"
    level: Level = "warning"
    status: int
    cause: str = ""
    state: str
    took_s: float
    traceback: str = ""


class WorkerUnreaped(OfProcess, frozen=True, kw_only=True):
    """Killed, and still there."""

    help: ClassVar = "was killed ... ago and is still there: it hangs in the kernel"
    level: Level = "error"
    waited_s: float


class WorkerKilled(OfProcess, frozen=True, kw_only=True):
    help: ClassVar = "request timeout: ..."
    level: Level = "error"
    reason: str
    report: ProcessReport | None = None
    """None: it was not asked what it is at."""


class WorkerRecovered(OfProcess, frozen=True, kw_only=True):
    """It was to be killed, and need not be."""

    help: ClassVar = "recovered and goes on"
    level: Level = "warning"
    reason: str
    report: ProcessReport


class WorkerEndedUnasked(OfProcess, frozen=True, kw_only=True):
    """It was about to be killed, and ended by itself."""

    help: ClassVar = "request timeout: ..."
    level: Level = "error"
    reason: str
    report: ProcessReport


class KeptWorkerDied(OfProcess, frozen=True, kw_only=True):
    """One of the generation that a rollback would go back to."""

    help: ClassVar = "while its generation was kept"
    level: Level = "warning"
    reason: str
    left: int
    size: int
    traceback: str = ""


class SlowRequest(OfProcess, frozen=True, kw_only=True):
    """It runs on; nothing is done to it."""

    help: ClassVar = "slow: ... has run"
    level: Level = "warning"
    request: str
    age_s: float
    limit_s: float
    frames: tuple[str, ...] = ()
    """Where its thread or task is, the innermost first; empty if nobody could say."""


class SlowRequestEnded(OfProcess, frozen=True, kw_only=True):
    request: str
    status: int
    """0: there was no response."""
    took_s: float


class ProfileBegun(OfProcess, frozen=True, kw_only=True):
    """Somebody has asked for a profile of it: `gwctl profile`."""

    level: Level = "info"
    seconds: float
    """For how long it goes on at most."""
    memory: bool = False
    """By tracemalloc, which slows it down."""
    by: str = ""
    """Which of the allowed users has asked; empty: root, or the master's own."""


class TemplateFailed(OfProcess, frozen=True, kw_only=True):
    """Before it was ready."""

    help: ClassVar = "No worker can be started before"
    level: Level = "error"
    reason: str
    died: bool
    """It ended by itself; else it was ended for the reason."""
    retry: Retry
    traceback: str = ""


class TemplateEnded(OfProcess, frozen=True, kw_only=True):
    """Its workers live on."""

    help: ClassVar = "Its workers go on; another template is started"
    level: Level = "warning"
    how: Literal["died", "killed", "left"]
    reason: str = ""
    from_disk: bool = False
    """The next one will import what is on disk, which is not what runs."""


# ---- replaced


class WorkerReplaced(OfProcess, frozen=True, kw_only=True):
    """Another one was begun that will take its place."""

    reason: str
    stuck: bool = False
    """It holds a request that cannot be ended; else it is recycled."""


class RecyclingPostponed(OfProcess, frozen=True, kw_only=True):
    """It is due, and another one would run what is on disk."""

    help: ClassVar = "is due to be recycled ... It is kept until the next good reload"
    level: Level = "warning"
    reason: str


class SlotKeepsDying(OfPool, frozen=True, kw_only=True):
    help: ClassVar = "keeps dying"
    level: Level = "error"
    slot: int
    deaths: int
    within_s: float
    retry_s: float
    ready: int
    size: int


class SlotRecovered(OfPool, frozen=True, kw_only=True):
    slot: int
    ready_s: float
    ready: int
    size: int


# ---- what the master knows it by


class ChannelBroken(OfProcess, frozen=True, kw_only=True):
    help: ClassVar = "broke the protocol of its channel"
    level: Level = "error"
    reason: str


class ChannelClosed(OfProcess, frozen=True, kw_only=True):
    """Its process lives: something in it closed a descriptor that is not its own."""

    help: ClassVar = "lives on without its channel to the master"
    level: Level = "error"


class ChannelLost(OfProcess, frozen=True, kw_only=True):
    """The kernel does not watch it any more."""

    help: ClassVar = "the channel to ... cannot be watched"
    level: Level = "error"
    reason: str


class NoPidfd(OfProcess, frozen=True, kw_only=True):
    help: ClassVar = "no pidfd for pid"
    level: Level = "warning"
    reason: str


class ScoreboardDoubted(OfProcess, frozen=True, kw_only=True):
    help: ClassVar = "cannot be true"
    level: Level = "warning"
    doubt: str


class OutputHeld(OfProcess, frozen=True, kw_only=True):
    """What is printed is captured, and this is more than is taken. At most once a minute of a pool."""

    help: ClassVar = "prints faster to ... than is taken"
    level: Level = "warning"
    stream: str
    lines_per_s: int
    pool_lines_per_s: int


class OutputGivenUp(OfProcess, frozen=True, kw_only=True):
    """A child process of a worker that has ended holds its pipe, and so do others of the pool."""

    help: ClassVar = "which has ended, is read no more"
    level: Level = "warning"
    stream: str


AboutWorkers = (
    WorkerBooting
    | WorkerReady
    | SpawnFailed
    | StartedWhileDegraded
    | ForkUnanswered
    | WorkerDied
    | WorkerFailed
    | WorkerLeft
    | WorkerGone
    | WorkerDrains
    | WorkerDraining
    | WorkerFinished
    | WorkerEndedEarly
    | WorkerUnreaped
    | WorkerKilled
    | WorkerRecovered
    | WorkerEndedUnasked
    | KeptWorkerDied
    | SlowRequest
    | SlowRequestEnded
    | ProfileBegun
    | TemplateFailed
    | TemplateEnded
    | WorkerReplaced
    | RecyclingPostponed
    | SlotKeepsDying
    | SlotRecovered
    | ChannelBroken
    | ChannelClosed
    | ChannelLost
    | NoPidfd
    | ScoreboardDoubted
    | OutputHeld
    | OutputGivenUp
)
