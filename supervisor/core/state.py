"""Where a fleet stands: all that its decisions rest on, and nothing that decides.

`Fleet` owns one `FleetState` and steps it; the modules that decide about a part of it (`commands`,
`kept`, `stopping`, `upgrade`, `worker_events`, ...) take it as their first argument. What lives on
beyond one step is here, in the pools and in the lives of workers: so it is also what an upgrade
hands over (`snapshot`), whose fields are found by their names here.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import Enum
from math import inf
from typing import Final

from msgspec import Struct, field

from gwctl.records.sentences import DEGRADED
from gwctl.supervisor.core import wording
from gwctl.supervisor.core.actions import Progress
from gwctl.supervisor.core.ending import Ending
from gwctl.supervisor.core.events import WorkerId
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.pool import Pool, Wanted
from gwctl.supervisor.core.reload import Reload
from gwctl.supervisor.core.turn import Turn

SAMPLE_MIN_S: Final = 0.05
"""No sample is due sooner than this, whatever was asked for: the master shall not spin."""

FIRST_WAIT_S: Final = 30.0
"""After the first worker that was replaced for the memory of the control group."""

AWAY_MAX: Final = 64
"""Absences of the master that are remembered."""


class Phase(Enum):
    STARTING = "starting"
    SERVING = "serving"
    RELOADING = "reloading"
    UPGRADING = "upgrading"
    STOPPING = "stopping"


class Queue(Struct):
    """The one reload that may wait, however often it was asked for."""

    waiting: bool = False
    source: str = ""
    requests: list[int] = field(default_factory=list)
    preface: str = ""
    """What the answer begins with: the upgrade that this reload follows."""
    pools: tuple[str, ...] = ()
    """Those that it is of; empty: all."""

    def ask(self, source: str, pools: tuple[str, ...] = ()) -> None:
        """Another reload is asked for; it and what waits already become one."""
        if not self.waiting:
            self.pools = pools
        elif self.pools and pools:
            self.pools = tuple(dict.fromkeys((*self.pools, *pools)))
        else:
            self.pools = ()
        self.waiting, self.source = True, source

    def take(self) -> list[int]:
        taken, self.requests, self.waiting = self.requests, [], False
        return taken


class Kept(Struct, eq=False):
    """A generation that was in force and is parked, so that a rollback can go back to it: see `kept`."""

    generation: int
    since: float
    until: float
    sizes: dict[str, int]
    """Of its pools."""
    policies: dict[str, PoolPolicy]
    differs_since: dict[str, float | None]
    """What `Pool.differs_since` of the pools that go back is when it is in force again."""
    rolled_back: int
    """And `Pool.rolled_back` of them."""
    generations: dict[str, int] = field(default_factory=dict)
    """Of its pools, that of their workers, unless it is ``generation``."""

    def of(self, pool: Pool) -> int:
        """The generation whose workers are kept in ``pool``; 0: none, as it is the one in force there."""
        if pool.name not in self.sizes:
            return 0
        generation = self.generations.get(pool.name, self.generation)
        return 0 if generation == pool.generation else generation

    def disk_changed(self, pools: Container[str], now: float) -> None:
        """A reload of these was refused: what is on disk is what neither generation runs."""
        self.differs_since = {
            name: now if at is None and name in pools else at for name, at in self.differs_since.items()
        }


class UpgradeStage(Enum):
    WAIT = "wait"
    CHECK = "check"
    EXECUTE = "execute"


class Upgrade(Struct, eq=False):
    """Where an upgrade stands: see `upgrade`."""

    source: str
    requests: list[int]
    """Who is answered; without the signals."""
    began_at: float
    stage: UpgradeStage = UpgradeStage.WAIT
    deadline: float | None = None
    """Of the check."""
    to: str = ""
    """What was checked, in words: ``gwctl 0.2.0, Python 3.13.1``."""

    def tell(self, turn: Turn, phase: str, outcome: str, detail: str = "") -> None:
        """Tell whoever waits."""
        turn.actions.extend(Progress(request, "", phase, outcome, detail) for request in self.requests)


class TakeoverStage(Enum):
    BOOT = "boot"
    SETTLE = "settle"
    CLAIM = "claim"


class TakingOver(Struct, eq=False):
    """This fleet is to take the place of another master's: see `takeover`."""

    pid: int
    """Of that master."""
    program: str
    """What it runs: ``gwctl 0.2.0, Python 3.13.1``."""
    stage: TakeoverStage = TakeoverStage.BOOT
    settled_at: float = inf

    @property
    def tries(self) -> bool:
        """A worker that fails ends the takeover."""
        return self.stage is not TakeoverStage.CLAIM

    @property
    def waits(self) -> bool:
        """No worker accepts yet."""
        return self.stage is TakeoverStage.BOOT

    @property
    def next_at(self) -> float:
        """When it has something to do by itself."""
        return self.settled_at if self.stage is TakeoverStage.SETTLE else inf


class HandingOver(Struct, eq=False):
    """Another master has copies of our listeners and is to take our place: see `takeover`."""

    source: str
    since: float
    until: float
    """It is waited for so long."""


class Budget(Struct, eq=False):
    """What is remembered of workers replaced as the control group was near its limit: see `budget`."""

    near: int = 0
    """At how many looks in a row, up to the last one, it was."""
    replaced: WorkerId = 0
    """Who is being replaced for it; 0: nobody."""
    not_before: float = 0.0
    """Nobody is, until then."""
    wait_s: float = FIRST_WAIT_S
    """So long after the next one."""
    well_since: float | None = None
    """Since when it was not near; None: it was when last seen."""
    told: bool = False
    """It was told that nothing can be done, since it was last well for long."""

    def shift(self, seconds: float) -> None:
        """Nobody ran for so long: it does not count."""
        self.not_before += seconds
        self.well_since = None if self.well_since is None else self.well_since + seconds


class FleetState(Struct, eq=False):
    """Read it freely; only the core changes it."""

    pools: dict[str, Pool]
    """By name; also those that a reload tries, and those removed whose workers drain."""
    generation: int = 1
    """The one in force. In pools that the last reloads left alone the workers have an older one."""
    rolled_back: int = 0
    """The generation from which it was gone back to the one in force, in some pool; 0: in none."""
    kept: Kept | None = None
    """The generation that a rollback goes back to."""
    not_kept: str = ""
    """Why there is none, when there was one."""
    last_reload: str = ""
    """How the last reload or rollback ended, in a line; empty before the first."""
    last_reload_at: float = 0.0
    """When that was."""
    refused_at: float | None = None
    """When a reload was first refused since one was adopted; None: none was."""
    reload: Reload | None = None
    """The reload or rollback under way."""
    queue: Queue = field(default_factory=Queue)
    numbered: int = 0
    """The highest generation number given to any worker."""
    upgrade: Upgrade | None = None
    """The upgrade that was asked for."""
    taking_over: TakingOver | None = None
    """Whose place it is to take."""
    handing_over: HandingOver | None = None
    """Who is to take its place."""
    budget: Budget = field(default_factory=Budget)
    """Of the control group's memory."""
    ending: Ending | None = None
    """The end under way."""
    finished: bool = False
    """Finish was returned; nothing more will be."""
    broken: str = ""
    """The invariant that failed; empty as it should be."""
    sample_at: float = inf
    """When the shell shall read the scoreboard next. Bring it forward with `sample_by`."""
    away: list[tuple[float, float]] = field(default_factory=list)
    """The last times when the master came late, and how late."""
    ever_ready: bool = False
    """Some worker was."""
    began_at: float = 0.0
    begun: bool = False
    """The first step was taken."""
    served: bool = False
    """All pools once had their full strength."""
    dirty: set[str] = field(default_factory=set)
    """Pools that something happened to, to be looked at in this step."""
    next_at: float | None = None
    """When to step even without news; None: not before there are any."""

    # ---- what it is

    @property
    def phase(self) -> Phase:
        if self.ending is not None:
            return Phase.STOPPING
        if not self.served:
            return Phase.STARTING
        if self.reload is not None:
            return Phase.RELOADING
        return Phase.SERVING if self.upgrade is None else Phase.UPGRADING

    @property
    def executing(self) -> bool:
        """The new program is to be executed now."""
        return self.upgrade is not None and self.upgrade.stage is UpgradeStage.EXECUTE

    @property
    def draining(self) -> Ending | None:
        """The end under way, once connections are accepted no more."""
        return None if self.ending is None or self.ending.accepting else self.ending

    def accepts_for(self, now: float) -> float | None:
        """For how many seconds a fleet that stops still accepts; None: it does not stop, or not any more."""
        if self.ending is None or not self.ending.accepting:
            return None
        return max(0.0, self.ending.accept_until - now)

    @property
    def disk_differs(self) -> bool:
        """A reload was refused: what is on disk is not what runs. (Where it was gone back, that is meant.)"""
        return any(pool.differs_since is not None and not pool.rolled_back for pool in self.pools.values())

    @property
    def degraded(self) -> str:
        """Why what runs is not what a respawn would run; empty when it is."""
        found = [pool for pool in self.pools.values() if pool.degraded]
        if not found:
            return ""
        rolled_back = any(pool.rolled_back for pool in found)
        return wording.rolled_back(self.rolled_back) if rolled_back else DEGRADED

    @property
    def reload_waits(self) -> bool:
        """Another reload was asked for while one is under way."""
        return self.queue.waiting

    def size_of(self, pool: str, generation: int) -> int:
        """How many workers ``pool`` shall have in ``generation``, or may come to by itself."""
        if self.reload is not None and generation == self.reload.candidate_of(pool):
            size, scale = self.reload.sizes[pool], self.reload.policies[pool].scale
        else:
            size, scale = self.pools[pool].size, self.pools[pool].policy.scale
        return size if scale is None else max(size, scale.max)

    def away_since(self, since: float) -> float:
        """Return for how long since then this master itself did not run."""
        return sum(late_s for at, late_s in self.away if at > since)

    # ---- what is wanted

    def wanted(self, pool: Pool) -> Wanted:
        """What is wanted of a pool now."""
        kept = self.kept.of(pool) if self.kept is not None else 0
        if self.reload is not None and self.reload.touches(pool.name):
            return self.reload.wanted(pool, kept)
        degraded = pool.degraded
        recycle, hold = not degraded and self.ending is None, degraded and pool.rolled_back > 0
        wait = self.taking_over is not None and self.taking_over.waits
        return Wanted(pool.generation, recycle=recycle, kept=kept, hold=hold, alone=pool.alone, wait=wait)

    def sample_by(self, at: float, turn: Turn) -> None:
        """Have the scoreboard read at ``at`` at the latest; by itself it is every `deadlines.SAMPLE_S`."""
        self.sample_at = min(self.sample_at, max(at, turn.now + SAMPLE_MIN_S))


def initial(policies: Mapping[str, PoolPolicy], generation: int = 1) -> FleetState:
    """A fleet of which nothing is there yet."""
    pools = {name: Pool(name, policy, policy.size, generation) for name, policy in policies.items()}
    return FleetState(pools, generation, numbered=generation)
