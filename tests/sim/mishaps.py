"""What can go wrong in the simulated world and how likely it is, and the processes it befalls."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gwctl.durations import PLACES
from gwctl.records import AnyRecord
from gwctl.records.base import TEMPLATE
from gwctl.records.reloads import ReloadAdopted, ReloadRefused
from gwctl.records.report import ProcessReport
from gwctl.records.scaling import GroupNearLimit, PoolNotScaled, PoolScaled
from gwctl.records.workers import SlotKeepsDying, SlotRecovered, WorkerReplaced
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.actions import Spawn
from gwctl.supervisor.core.policy import PoolPolicy


@dataclass(frozen=True)
class Faults:
    """How likely each mishap is, where it can happen."""

    spawn_fails: float = 0.0
    fork_is_late: float = 0.0
    boot_hangs: float = 0.0
    boot_fails: float = 0.0
    dies: float = 0.0
    loses_link: float = 0.0
    leaves: float = 0.0
    drain_hangs: float = 0.0
    quit_ignored: float = 0.0
    unreaped: float = 0.0
    settings_wrong: float = 0.0
    generation_broken: float = 0.0
    unobserved: float = 0.0
    owes: float = 0.0
    swells: float = 0.0
    sticks: float = 0.0
    recovers: float = 0.0
    late: float = 0.0


NO_FAULTS = Faults()
FAULTS = Faults(
    spawn_fails=0.03,
    fork_is_late=0.01,
    boot_hangs=0.02,
    boot_fails=0.03,
    dies=0.3,
    loses_link=0.03,
    leaves=0.05,
    drain_hangs=0.05,
    quit_ignored=0.1,
    unreaped=0.02,
    settings_wrong=0.1,
    generation_broken=0.25,
    unobserved=0.05,
    owes=0.02,
    swells=0.05,
    sticks=0.06,
    recovers=0.5,
    late=0.002,
)


class Process:
    __slots__ = (
        "alive",
        "channel_closed",
        "ending",
        "fails",
        "generation",
        "id",
        "is_template",
        "owed",
        "policy",
        "pool",
        "rate",
        "ready_at",
        "request_at",
        "still_at",
        "swells",
    )

    def __init__(
        self, action: Spawn, policy: PoolPolicy, rate: float, *, swells: bool, fails: bool = False
    ) -> None:
        self.id = action.worker
        self.pool = action.pool
        self.generation = action.generation
        self.is_template = action.slot == TEMPLATE
        self.policy = policy
        self.alive = True
        self.channel_closed = False  # its channel is closed: it can be told nothing
        self.ending = False
        self.rate = rate
        self.ready_at = NEVER
        self.request_at = NEVER  # when it got a request that does not end
        self.still_at = NEVER  # when its loop stopped, with no request in hand
        self.swells = swells
        self.fails = fails  # many of its requests do
        self.owed: list[int] = []  # whom it was asked to fork, and will not

    def requests(self, now: float) -> int:
        return int(max(0.0, now - self.ready_at) * self.rate)

    def figures(self, now: float, rng: random.Random) -> ev.Figures:
        """What it has counted; of one in fifty looks it is any numbers, as the application writes them."""
        if rng.random() < 0.02:
            return ev.Figures(
                rng.randrange(1 << 40), rng.randrange(1 << 40), (rng.randrange(1 << 40),) * PLACES
            )
        requests = self.requests(now)
        bad = int(requests * (0.3 if self.fails else 0.001))
        durations = [0] * PLACES
        durations[30] = requests - bad
        durations[40] = bad
        return ev.Figures(requests, bad, tuple(durations))

    def memory_bytes(self, now: float) -> int:
        """It grows, beyond `SOFT_BYTES` in time; that of one that swells beyond `HARD_BYTES`."""
        grown = 10 + max(0.0, now - self.ready_at) * 8
        return int(grown * 4 if self.swells else min(grown, 150)) * MIB

    def hang(self, now: float, rng: random.Random) -> bool:
        """Hang in one of the ways; true when it gives the request up itself, as under threads."""
        kind = rng.random()
        if 0.25 < kind < 0.6:
            self.request_at = now
        elif kind >= 0.6:
            self.still_at = now
        return kind <= 0.25

    def recover(self) -> None:
        self.request_at = self.still_at = NEVER

    @property
    def sticks(self) -> bool:
        """It does not do as it is told any more."""
        return self.request_at < NEVER or self.still_at < NEVER

    @property
    def will_be_found(self) -> bool:
        """It hangs in a way for which there is a limit."""
        limits = self.policy
        return (self.request_at < NEVER and limits.request_timeout_s > 0) or (
            self.still_at < NEVER and limits.heartbeat_timeout_s > 0
        )

    def observed(self, now: float, idle_from: float, rng: random.Random) -> ev.Observed:
        """What its record on the scoreboard says; nobody asks it for anything from ``idle_from`` on."""
        limit_s = self.policy.request_timeout_s
        request_at = self.request_at
        if request_at == NEVER:
            age_s = rng.expovariate(1 / 2) if rng.random() < 0.3 and self.still_at == NEVER else 0.0
            request_at = now - (min(age_s, 0.5 * limit_s) if limit_s else age_s)
        busy = request_at < now
        served_until = min(now, idle_from)
        return ev.Observed(
            self.id,
            rng.random(),
            requests=self.requests(served_until),
            active=int(busy),
            memory_bytes=self.memory_bytes(served_until),
            private_bytes=max(MIB, self.memory_bytes(served_until) - SHARED_BYTES),
            heartbeat_at=min(now - rng.random() * 0.1, self.request_at, self.still_at),
            busy_since=request_at if busy else 0.0,
            serving="GET /" if busy else "",
            request_limit_s=limit_s if busy else 0.0,
            request_due_at=request_at + limit_s + EXTENSION_S * (self.id % 5 == 0)
            if busy and limit_s
            else 0.0,
        )


NEVER = float("inf")
EXTENSION_S = 3.0
"""What some applications ask for besides their limit."""

MIB = 1 << 20
SOFT_BYTES = 100 * MIB
HARD_BYTES = 200 * MIB
SHARED_BYTES = 5 * MIB


REPORT = ProcessReport(up_s=60.0, requests=100, memory_bytes=50 << 20)
"""What any process was at."""


def told_of(record: AnyRecord) -> list[str]:
    """What a record is about, of that which is counted."""
    match record:
        case WorkerReplaced(stuck=False, reason=reason):
            room = ["ends first" if "no room" in reason else "made room"] if "control group" in reason else []
            return ["is recycled", *room]
        case ReloadRefused(kind="watch"):
            return ["refused by a watch"]
        case SlotKeepsDying():
            return ["keeps dying"]
        case SlotRecovered():
            return ["has recovered"]
        case ReloadAdopted(restart=True, failed=failed):
            return ["restarted" if failed is None else "restarted with a failure"]
        case ReloadRefused(unserved=unserved) if unserved:
            return ["went back from a restart"]
        case PoolScaled(cause=cause) if cause is not None:
            return [f"scaled: {cause}"]
        case PoolScaled(source=source) if " CPUs" in source:
            return ["scaled: allowed"]
        case GroupNearLimit():
            return ["near its limit"]
        case PoolNotScaled(obstacle=obstacle):
            return [f"not scaled: {obstacle}"]
    return []
