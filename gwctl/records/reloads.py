"""Reloads, rollbacks and upgrades: what was asked for, and what became of it."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from gwctl.records.base import Level, Record, Strength
from gwctl.watched import Watched

# ---- the parts


class Keeping(Struct, frozen=True):
    """What became of the generation before, if it was to be kept for a rollback."""

    generation: int
    keep_s: float
    """For how long it is kept; 0: it is not."""
    lost: tuple[str, ...] = ()
    """Why not: what only that one serves. Empty: none of its workers is left."""


class NewWorkerFailed(Struct, frozen=True):
    """Of a restart, which goes on: there is nothing better to go back to."""

    pool: str
    kind: str
    """As of `ReloadRefused`."""
    reason: str
    traceback: str = ""


class Unserved(Struct, frozen=True):
    """For how long no worker of a pool has served, for a restart."""

    pool: str
    for_s: float
    over: bool
    """One serves again; else it is so far."""


class Standing(Struct, frozen=True):
    """What serves after a reload that was not adopted."""

    generation: int
    pools: tuple[Strength, ...]
    disk_differs: bool = False
    """What is on disk is not what runs."""
    forked_alike: bool = False
    """Whoever has to be replaced still runs the same code, of a template."""


# ---- reload and rollback


class ReloadIgnored(Record, frozen=True, kw_only=True):
    source: str
    reason: str


class ReloadWaits(Record, frozen=True, kw_only=True):
    """For the one under way."""

    source: str


class ReloadBegun(Record, frozen=True, kw_only=True):
    source: str
    generation: int
    previous: int
    rollback: bool = False
    restart: bool = False
    """Without overlap: what serves ends before what is new is begun."""
    only: tuple[str, ...] = ()
    """Of these pools; empty: of all."""


class ReloadAdopted(Record, frozen=True, kw_only=True):
    level: Level = "info"
    source: str
    generation: int
    previous: int
    rollback: bool = False
    restart: bool = False
    """Without overlap: what served had ended before."""
    unserved: tuple[Unserved, ...] = ()
    """What the restart has cost."""
    failed: NewWorkerFailed | None = None
    """The first new worker of the restart that could not be had. It is tried again, as after any crash."""
    took_s: float
    pools: tuple[Strength, ...]
    """Those that it has replaced, and what serves in them."""
    only: tuple[str, ...] = ()
    """The pools that it was asked for; empty: all."""
    removed: tuple[str, ...] = ()
    """Pools that it does not have; what is left of their workers drains."""
    not_applied: tuple[str, ...] = ()
    """What else differs in the settings, in words."""
    missing: tuple[Strength, ...] = ()
    """Pools of a rollback that are not whole, and will not be before the next reload."""
    watched: tuple[Watched, ...] = ()
    """Of each pool that is watched, what was seen last."""
    keeping: Keeping | None = None


class ReloadRefused(Record, frozen=True, kw_only=True):
    help: ClassVar = "generation N was not adopted"
    level: Level = "error"
    source: str
    generation: int
    rollback: bool = False
    only: tuple[str, ...] = ()
    """The pools that it was asked for; empty: all."""
    unserved: tuple[Unserved, ...] = ()
    """Of a restart that had ended the workers of before."""
    pool: str = ""
    phase: str
    kind: str
    """import, lifespan, boot, spawn, exit, settings, stall, watch, unknown (such a pool there is not), ..."""
    reason: str
    traceback: str = ""
    """Of the application; where its requests failed too often, of its first exceptions."""
    dumped_pid: int = 0
    """Where that process stood is in a record of its own, which follows."""
    watched: Watched | None = None
    """What was seen, if it was refused for that."""
    standing: Standing | None = None
    """None: nothing, as the master stops."""


class RestartRefused(Record, frozen=True, kw_only=True):
    source: str
    reason: str


class RollbackRefused(Record, frozen=True, kw_only=True):
    source: str
    reason: str


class GenerationReleased(Record, frozen=True, kw_only=True):
    """It was kept for a rollback, and is no more."""

    generation: int
    reason: str


# ---- settings


class SettingsWarning(Record, frozen=True, kw_only=True):
    """The settings are valid, and somebody should see this."""

    help: ClassVar = "whoever put it there would choose where ... writes"
    level: Level = "warning"
    text: str


class RestartNeeded(Record, frozen=True, kw_only=True):
    help: ClassVar = "has changed in the file; it takes effect when the master is started anew"
    level: Level = "warning"
    setting: str


# ---- upgrade


class UpgradeRefused(Record, frozen=True, kw_only=True):
    help: ClassVar = "upgrade ... refused"
    level: Level = "warning"
    source: str
    reason: str


class UpgradeWaits(Record, frozen=True, kw_only=True):
    """For the reload under way."""

    source: str


class UpgradeChecking(Record, frozen=True, kw_only=True):
    source: str


class UpgradeFailed(Record, frozen=True, kw_only=True):
    help: ClassVar = "The program that ran goes on"
    level: Level = "error"
    source: str
    reason: str


class UpgradeGivenUp(Record, frozen=True, kw_only=True):
    """The fleet stops."""

    source: str


class MasterUpgraded(Record, frozen=True, kw_only=True):
    source: str
    was: str
    to: str
    took_s: float
    workers: int
    templates: int = 0


class ProgramChanged(Record, frozen=True, kw_only=True):
    """Another version of gwctl is on disk."""

    help: ClassVar = "Run gwctl upgrade"
    level: Level = "warning"
    installed: str
    runs: str


class NoProgramCopy(Record, frozen=True, kw_only=True):
    help: ClassVar = "no copy of this program"
    level: Level = "warning"
    reason: str


class GenerationUnreadable(Record, frozen=True, kw_only=True):
    """After an upgrade, settings that were handed over lack something for new workers."""

    help: ClassVar = "can be started; mend it and reload"
    level: Level = "error"
    generation: int
    problem: str


AboutReloads = (
    ReloadIgnored
    | ReloadWaits
    | ReloadBegun
    | ReloadAdopted
    | ReloadRefused
    | RestartRefused
    | RollbackRefused
    | GenerationReleased
    | SettingsWarning
    | RestartNeeded
    | UpgradeRefused
    | UpgradeWaits
    | UpgradeChecking
    | UpgradeFailed
    | UpgradeGivenUp
    | MasterUpgraded
    | ProgramChanged
    | NoProgramCopy
    | GenerationUnreadable
)
