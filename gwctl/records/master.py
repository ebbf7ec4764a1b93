"""The master's own start and end, and what it looks after: listeners, logs, control socket, systemd."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

from gwctl.records.base import Level, Process, Record, Strength

# ---- the parts


class StopPlan(Struct, frozen=True):
    """How a stop goes on from here."""

    mode: Literal["accept", "drain", "quit", "kill"]
    workers: int
    templates: int = 0
    accept_s: float = 0.0
    """Connections are accepted for so long yet."""
    finish_s: float = 0.0
    """Workers have so long for their requests."""
    gone_s: float = 0.0
    """All are gone within this."""


class WaitedFor(Struct, frozen=True):
    """A process that is to end, and what it was at when it was last looked at."""

    process: Process
    state: str
    state_s: float
    """For how long it has been in it."""
    requests: int = 0
    connections: int = 0
    request: str = ""
    request_s: float = 0.0
    """0: not known."""


# ---- start


class MasterStarted(Record, frozen=True, kw_only=True):
    instance: str
    version: str
    pid: int
    python: str
    config: str
    """The settings file; empty: none."""
    engine: str = "pure Python"
    """Or ``compiled``: which build this is."""


class PrivilegesGivenUp(Record, frozen=True, kw_only=True):
    """By ``master.privileges = "least"``."""

    capabilities: tuple[str, ...]
    """Those that are left."""


AtOom = Literal["one", "taken back", "all"]


class OwnGroups(Record, frozen=True, kw_only=True):
    """Each worker gets a control group of its own."""

    level: Level = "debug"
    path: str
    """The group in which they are."""
    at_oom: AtOom = "one"
    """Whom the kernel kills when that group is at its limit. `one`: a worker; `taken back`: also, as its
    memory.oom.group was 1, and is 0 now; `all`: all of it, as that is 1."""


class NoOwnGroups(Record, frozen=True, kw_only=True):
    """All are in one control group, as nothing else is possible here."""

    level: Level = "debug"
    reason: str


class PoolConfigured(Record, frozen=True, kw_only=True):
    pool: str
    processes: int
    """That it begins with."""
    max: int = 0
    """That it may come to by itself; 0: the number is fixed."""
    why: str = ""
    """How that number came about, if it was not set."""
    urls: tuple[str, ...]


class BindRetried(Record, frozen=True, kw_only=True):
    help: ClassVar = "trying again for"
    level: Level = "warning"
    reason: str
    retry_s: float


class StartFailed(Record, frozen=True, kw_only=True):
    help: ClassVar = "not enough memory: RLIMIT_DATA is ..."
    level: Level = "error"
    reason: str
    exit_status: int


class PoolsServe(Record, frozen=True, kw_only=True):
    """All pools have their full strength, for the first time."""

    pools: tuple[Strength, ...]
    took_s: float


# ---- stop


class StopBegun(Record, frozen=True, kw_only=True):
    """Or made harder: asked for again."""

    source: str
    plan: StopPlan


class StopDrains(Record, frozen=True, kw_only=True):
    """The delay is over."""

    plan: StopPlan


class StopWaits(Record, frozen=True, kw_only=True):
    help: ClassVar = "did not finish within ... of draining"
    waits_for: tuple[WaitedFor, ...]
    """Some of them, the longest request first."""
    more: int = 0


class MasterStopped(Record, frozen=True, kw_only=True):
    took_s: float
    cut: int
    """Requests that were not finished."""
    killed: int = 0
    templates_killed: int = 0


class MasterGaveUp(Record, frozen=True, kw_only=True):
    """Nothing could be started."""

    help: ClassVar = "cannot import ..."
    level: Level = "error"
    exit_status: int
    reason: str
    traceback: str = ""


class InvariantBroken(Record, frozen=True, kw_only=True):
    help: ClassVar = "a bug in gwctl"
    level: Level = "error"
    rule: str


# ---- takeover


class NothingToTakeOver(Record, frozen=True, kw_only=True):
    """No master runs there: it starts like any other."""

    path: str
    """Of the control socket."""


class TakesOver(Record, frozen=True, kw_only=True):
    """It has copies of the listeners of a master that runs."""

    from_pid: int
    program: str
    """What that master is: ``gwctl 0.2.0, Python 3.13.1``."""
    listeners: int


class TookOver(Record, frozen=True, kw_only=True):
    """The place of another master is this one's."""

    help: ClassVar = "took the place of"
    level: Level = "info"
    from_pid: int
    program: str
    took_s: float
    early: bool = False
    """That one has ended before this one was ready."""
    died: bool = False
    """It has not said so."""


class TakeoverIncomplete(Record, frozen=True, kw_only=True):
    """Something of what the master before had could not be had."""

    help: ClassVar = "after the takeover"
    level: Level = "error"
    reason: str


class TakeoverBegun(Record, frozen=True, kw_only=True):
    """A new master has copies of this one's listeners, and boots."""

    source: str


class TakeoverRefused(Record, frozen=True, kw_only=True):
    help: ClassVar = "is not taken over"
    level: Level = "warning"
    source: str
    reason: str


class TakeoverEnded(Record, frozen=True, kw_only=True):
    """It came to nothing: this master serves on."""

    help: ClassVar = "is not taken over"
    level: Level = "warning"
    source: str
    reason: str


# ---- what it looks after


class NoControlSocket(Record, frozen=True, kw_only=True):
    help: ClassVar = "no control socket"
    level: Level = "warning"
    reason: str


class ControlSocketWarning(Record, frozen=True, kw_only=True):
    help: ClassVar = "may write in ..., and replace the control socket"
    level: Level = "warning"
    warning: str


class ControlRefused(Record, frozen=True, kw_only=True):
    """A process of another user wanted to control this master."""

    help: ClassVar = "control: refused"
    level: Level = "warning"
    pid: int
    uid: int
    owner_uid: int
    """Who may, besides root."""
    allowed: tuple[int, ...] = ()
    """And those that the settings name."""
    count: int = 1
    """Of such since the last record about them."""


class SystemdUnreachable(Record, frozen=True, kw_only=True):
    help: ClassVar = "systemd cannot be notified"
    level: Level = "warning"
    reason: str


class ListenersNotKept(Record, frozen=True, kw_only=True):
    """In systemd's store, over restarts and crashes."""

    help: ClassVar = "systemd keeps at most"
    level: Level = "warning"
    listeners: int
    kept_max: int


class ListenerDamaged(Record, frozen=True, kw_only=True):
    """By code in the workers that share it."""

    help: ClassVar = "was shut down"
    level: Level = "error"
    pool: str
    address: str
    damage: Literal["blocking", "shut_down", "unix_shut_down"]
    mended: bool = True
    reason: str = ""
    """Why it could not be mended."""
    bound_by_us: bool = True
    """A reload can bind it anew; else a restart must."""


class LogLevelChanged(Record, frozen=True, kw_only=True):
    source: str
    was: str
    to: str
    for_s: float | None = None
    """For how long; None: until it is changed again, by a reload at the latest."""


class AccessLogsReopened(Record, frozen=True, kw_only=True):
    files: int
    workers: int
    events: str = ""
    """The file of the event log, if that was reopened, too."""


class LogNotReopened(Record, frozen=True, kw_only=True):
    help: ClassVar = "writing to the old file goes on"
    level: Level = "error"
    reason: str


AboutMaster = (
    MasterStarted
    | PrivilegesGivenUp
    | PoolConfigured
    | BindRetried
    | StartFailed
    | PoolsServe
    | StopBegun
    | StopDrains
    | StopWaits
    | MasterStopped
    | MasterGaveUp
    | InvariantBroken
    | OwnGroups
    | NoOwnGroups
    | NothingToTakeOver
    | TakesOver
    | TookOver
    | TakeoverIncomplete
    | TakeoverBegun
    | TakeoverRefused
    | TakeoverEnded
    | NoControlSocket
    | ControlSocketWarning
    | ControlRefused
    | SystemdUnreachable
    | ListenersNotKept
    | ListenerDamaged
    | LogLevelChanged
    | AccessLogsReopened
    | LogNotReopened
)
