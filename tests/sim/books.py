"""The observer's book-keeping: what it has seen of each worker and of the reload under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gwctl.records.base import TEMPLATE
from gwctl.supervisor.core.actions import Spawn
from gwctl.supervisor.core.policy import PoolPolicy

LATE_S = 1.0
DRAIN_MARGIN_S = 3.0

SLACK_S = 0.2
"""What may pass between a deadline and the turn that sees it."""


class Unsafe(AssertionError):
    """The core did what it must never do."""


def canaries(policy: PoolPolicy, size: int) -> int:
    """How many new workers are tried at first, of so many."""
    percent = -(-size * policy.canaries_percent // 100)
    return max(1, min(size, percent if policy.canaries_percent else policy.canaries))


@dataclass(eq=False)
class Seen:
    """A worker, as the messages about it tell."""

    id: int
    pool: str
    slot: int
    generation: int
    policy: PoolPolicy
    state: str = "requested"
    due: float = float("inf")
    """When the core must have acted."""
    ready_at: float | None = None
    served_at: float = 0.0
    serving: bool = False
    told_to_end: bool = False
    left: bool = False
    """It drains unasked."""
    worn: bool = False
    """It was seen to be due for a successor."""
    surely_worn: bool = False
    """It was to be judged so when it was seen, whatever its jitter."""
    stuck: bool = False
    """It gave a request up."""
    ends_first: bool = False
    """It was told to end before a successor is begun, as there is no room for both."""
    succeeded: bool = False
    """A successor of it was spawned."""
    must_die: bool = False
    """It was seen beyond the hard limit of memory."""
    heartbeat_at: float = 0.0
    """As last observed."""
    still_at: float | None = None
    """Since when it was seen idle with a loop that stands still for too long."""
    busy_at: float = 0.0
    """When it was last observed with a request in hand."""
    idle: bool = True
    """No request was in hand when it was last observed."""
    hung_at: float = 0.0
    """When it was last seen to be beyond a limit."""
    last_sample_until: float = 0.0
    """For what is looked at when its time is up; 0.0: that was not seen to be up."""
    looked_again: bool = False
    """Since it was dumped."""
    found_well: bool = False
    """When it was last observed since it was dumped."""
    channel_closed: bool = False
    hangs: bool = False
    """It was dumped for that."""
    killed_at: float = float("inf")
    alive: bool = True
    begun_at: float = 0.0
    template: int | None = None
    """By whom it is forked."""

    @property
    def is_template(self) -> bool:
        return self.slot == TEMPLATE

    @property
    def place(self) -> tuple[str, int]:
        return self.pool, self.slot

    @property
    def active(self) -> bool:
        return not self.is_template and self.state in {"requested", "starting", "ready"}

    def enter(self, state: str, due: float) -> None:
        self.state = state
        self.due = due
        self.serving = False

    def has_proved_itself(self, now: float) -> bool:
        return self.ready_at is not None and now - self.ready_at >= self.policy.healthy_after_s - 1e-6

    def serve(self, now: float) -> None:
        self.enter("ready", float("inf"))
        self.serving = True
        self.served_at = now


@dataclass(eq=False)
class Transaction:
    """A reload, from Prepare to Adopt or Abandon."""

    generation: int
    pools: tuple[str, ...] = ()
    """Those that it is of; empty: all."""
    restarts: bool = False
    """Without overlap."""
    policies: dict[str, PoolPolicy] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    """Pools of the generation before."""
    failed: bool = False
    rolling: bool = False
    """All canaries have passed."""
    canaries: dict[str, float] = field(default_factory=dict)
    """By pool: when its canary has settled: it has served for three quarters of ``settle_s``, and
    been watched."""
    changed_at: float = 0.0
    """The last time that a worker was told to serve or to park."""
    began_at: float = -1.0
    """When a restart began to end what serves."""
    alone_before: dict[str, int] = field(default_factory=dict)
    """By pool: which generation was to be alone then."""

    def touches(self, pool: str) -> bool:
        return not self.pools or pool in self.pools

    def forgive(self, late_s: float, before: float, now: float) -> None:
        """The master was away between ``before`` and ``now``; what had passed by then has passed."""
        self.changed_at = min(now, self.changed_at + late_s)
        for name, at in self.canaries.items():
            if at > before:
                self.canaries[name] = at + late_s

    def told_to_serve(self, seen: Seen, now: float, others: int) -> None:
        """``others`` serve in that pool: then a canary lives without clients at first."""
        if seen.pool not in self.policies or self.restarts:
            return
        self.changed_at = now
        if seen.generation == self.generation and seen.pool not in self.canaries:
            settle_s = self.policies[seen.pool].settle_s
            if others and seen.ready_at is not None and now - seen.ready_at < 0.25 * settle_s - 1e-6:
                raise Unsafe(f"serve to the canary {seen} before it has lived for a while")
            self.canaries[seen.pool] = now + 0.75 * settle_s + self.watched_s(seen.pool)
        elif seen.generation == self.generation and not self.rolling:
            # Another canary: the time counts from when all are ready, and was not yet there to be forgiven.
            until = now + 0.75 * self.policies[seen.pool].settle_s + self.watched_s(seen.pool)
            self.canaries[seen.pool] = min(self.canaries[seen.pool], until)

    def watched_s(self, pool: str) -> float:
        """A pool that is new has nothing to be compared with."""
        return self.policies[pool].watch.watch_s if pool in self.known else 0.0

    def lost(self, seen: Seen, now: float) -> None:
        """A canary cannot settle that is out of reach."""
        mine = seen.generation == self.generation and not seen.is_template
        if mine and self.canaries.get(seen.pool, 0.0) > now:
            self.canaries[seen.pool] = float("inf")

    def new_serving(self, pool: str, workers: Mapping[int, Seen]) -> int:
        return sum(w.serving for w in workers.values() if w.pool == pool and w.generation == self.generation)

    def judge_spawn(self, action: Spawn, workers: Mapping[int, Seen], now: float) -> None:
        """One canary in each pool, or as many as set; others when all of them have settled."""
        if self.failed:
            raise Unsafe("spawned into a generation that has failed")
        mine = [w for w in workers.values() if w.generation == self.generation and w.pool == action.pool]
        if any(w.slot == action.slot and not w.told_to_end for w in mine):
            raise Unsafe(f"two new workers in {action.pool}.{action.slot}")
        if self.restarts:
            return  # all at once
        if sum(not (w.is_template or w.told_to_end) for w in mine) >= canaries(
            self.policies[action.pool], self.sizes[action.pool]
        ):
            self.judge_canaries(now)

    def judge_canaries(self, now: float) -> None:
        """The roll begins when every pool's canary has served for three quarters of its ``settle_s``."""
        if self.rolling:
            return
        for name in self.policies:
            if self.canaries.get(name, float("inf")) > now + 1e-6:
                raise Unsafe(f"rolled before the canary of {name} had settled")
        self.rolling = True

    def judge_park(self, pool: str, workers: Mapping[int, Seen], now: float) -> None:
        """One is parked for each new one that serves; all, when all new ones do."""
        serving = self.new_serving(pool, workers)
        self.judge_canaries(now)
        parked = sum(w.state == "parked" for w in workers.values() if w.pool == pool)
        if parked > serving and serving < self.sizes.get(pool, 0):
            raise Unsafe(f"{parked} parked in {pool} for {serving} new ones that serve")

    def judge_commit(self, workers: Mapping[int, Seen], now: float) -> None:
        """Everything is healthy, and has been for ``settle_s``; a restart is over at once, however it went."""
        if self.restarts and self.failed:
            return
        if self.failed:
            raise Unsafe("adopted a generation that has failed")
        for name, size in self.sizes.items():
            if self.new_serving(name, workers) != size:
                raise Unsafe(f"adopted with {self.new_serving(name, workers)}/{size} in {name}")
        if any(
            w.serving and w.generation != self.generation and w.pool in self.policies
            for w in workers.values()
        ):
            raise Unsafe("adopted while old workers serve")
        long_s = (max(policy.settle_s, self.watched_s(name)) for name, policy in self.policies.items())
        settle_s = max(long_s, default=0.0)
        settle_s = 0.0 if self.restarts else settle_s
        if now - self.changed_at < settle_s - 1e-6:
            raise Unsafe(f"adopted {now - self.changed_at:.3f} s after the last change")


@dataclass(eq=False)
class Failure:
    """What one slot has failed in a row."""

    count: int = 0
    free: int = 0
    """How many of them are not waited for."""
    deaths: int = 0
    at: float = 0.0
    """When the last one was."""
    slow: bool = False
    """The last one was a death too many, beside siblings that serve."""
    ends: int = 0
    """Of workers that had not proved themselves, of any kind: the fleet may count those as deaths that left by
    themselves one soon after the other."""
    perhaps_slow: bool = False
    """The last one may have been a death too many."""


@dataclass(eq=False)
class Failures:
    """What each slot has failed in a row, and what was said of it."""

    counted: dict[tuple[str, int], Failure] = field(default_factory=dict)
    said: set[tuple[str, int]] = field(default_factory=set)
    """That it keeps dying, and not yet that it has recovered."""

    def count(self, place: tuple[str, int], now: float, free: int) -> Failure:
        failure = self.counted.setdefault(place, Failure())
        failure.count += 1
        failure.free = free
        failure.at = now
        failure.slow = failure.perhaps_slow = False
        return failure

    def may_count(self, seen: Seen, siblings: int) -> None:
        """It has ended, or leaves: the fleet may take that for a death."""
        failure = self.counted.setdefault(seen.place, Failure())
        failure.ends += 1
        enough = seen.policy.breaker_failures
        if siblings and enough and failure.ends >= enough:
            failure.perhaps_slow = True  # and stays so until a failure is counted for sure

    def begin_anew(self, pool: str) -> None:
        """A new generation of it is in force."""
        for place in [place for place in self.counted if place[0] == pool]:
            self.forget(place)
        self.said = {place for place in self.said if place[0] != pool}

    def forget(self, place: tuple[str, int]) -> None:
        self.counted.pop(place, None)

    def forget_healthy(self, seen: Seen, now: float) -> None:
        if seen.has_proved_itself(now):
            self.forget(seen.place)

    def judge_life(self, seen: Seen, status: int, now: float, siblings: int) -> None:
        """It has ended unasked; ``siblings`` others of its pool serve."""
        if seen.has_proved_itself(now):
            self.forget(seen.place)
        elif seen.is_template:
            if seen.ready_at is None:
                self.count(seen.place, now, free=1)
        else:
            if (status != 0 or seen.ready_at is None) and not seen.hangs:
                failure = self.count(seen.place, now, free=1)
                failure.deaths += 1
                enough = seen.policy.breaker_failures
                failure.slow = bool(siblings and enough and failure.deaths >= enough)
            self.may_count(seen, siblings)

    def judge_spawn(self, place: tuple[str, int], policy: PoolPolicy, now: float) -> None:
        """Not before the backoff, or the breaker's wait, less a quarter at most."""
        failure = self.counted.get(place, Failure())
        waits = failure.count - failure.free
        longest = 0.0
        if waits > 0:
            longest = min(policy.backoff_max_s, policy.backoff_min_s * 2.0 ** (waits - 1))
        if failure.slow:
            longest = policy.breaker_retry_s
        elif failure.perhaps_slow:
            longest = min(longest, policy.breaker_retry_s)
        if longest and now - failure.at < longest * 0.75 - 1e-6:
            raise Unsafe(f"{failure.count} failures in a row of {place}, tried too soon")
