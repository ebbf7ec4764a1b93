"""The observer's rules about pools that set their size themselves, and the load that the world puts on them.

- the size changes within the bounds only, upwards to twice as much at most and only when all workers
  serve, downwards by one, and not within ``shrink_after_s`` after it grew;
- not during a reload, nor when a stop was asked for, nor when somebody has set the size by hand, nor
  after a refused reload in a pool that has no template to keep its code;
- a reload keeps the size, unless it brings other bounds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import nan
from typing import TYPE_CHECKING

from gwctl.records.scale_words import AUTOSCALE
from gwctl.records.scaling import PoolScaled
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.policy import PoolPolicy, ScalePolicy
from tests.sim.books import Unsafe

SAMPLE_S = 1.0

if TYPE_CHECKING:
    from tests.sim.observer import Observer


@dataclass
class Scaled:
    """What is remembered of sizes."""

    by_hand: set[str] = field(default_factory=set)
    grown_at: dict[str, float] = field(default_factory=dict)

    def forgive(self, late_s: float) -> None:
        self.grown_at = {pool: at + late_s for pool, at in self.grown_at.items()}

    def begin_anew(self, pool: str) -> None:
        self.by_hand.discard(pool)
        self.grown_at.pop(pool, None)


def judge_scaled(observer: Observer, record: PoolScaled) -> None:
    """A pool has given itself another size; before anything else that is news in this step."""
    name, was, size = record.pool, record.was, record.size
    policy = observer.policies.get(name)
    if policy is None or policy.scale is None or was != observer.sizes[name]:
        raise Unsafe(f"{record} of a pool that does not set its size, or has another")
    if observer.txn is not None or observer.stopping or observer.asked_to_stop:
        raise Unsafe(f"{record} while other things change")
    if name in observer.scaled.by_hand:
        raise Unsafe(f"{record} although the size was set by hand")
    if name in observer.refused_at and not policy.preload:
        raise Unsafe(f"{record} while disk differs from what runs")
    if size != policy.scale.clamp(size):
        raise Unsafe(f"{record} outside of {policy.scale}")
    if size > was and record.cause != "bounds":
        serving = sum(w.serving and observer.in_force(w) for w in observer.workers.values() if w.pool == name)
        if size > 2 * was or serving < was:
            raise Unsafe(f"{record} with {serving} workers that serve")
    if size < was and record.cause != "bounds":
        since = observer.now - observer.scaled.grown_at.get(name, -1e9)
        if size < was - 1 or since < policy.scale.shrink_after_s - 1e-6:
            raise Unsafe(f"{record} {since:.1f} s after it grew")
    if size > was:
        observer.scaled.grown_at[name] = observer.now
    observer.sizes[name] = size


def is_by_itself(record: object) -> bool:
    return isinstance(record, PoolScaled) and record.source == AUTOSCALE


def heard_load(observer: Observer, load: ev.LoadObserved) -> None:
    """It may be looked at again soon: for as long as the pool does not rest."""
    policy = observer.policies.get(load.pool)
    if policy is not None and policy.scale is not None:
        observer.samples.allowed(observer.now + SAMPLE_S)


def asked(observer: Observer, name: str, event: ev.ScaleAsked) -> int:
    """The size that a pool shall have, as somebody asks for it."""
    policy, size = observer.policies[name], observer.sizes[name]
    if event.auto:
        observer.scaled.by_hand.discard(name)
        return policy.scale.clamp(size) if policy.scale is not None else policy.size
    observer.scaled.by_hand.add(name)
    return max(1, (size if event.size is None else event.size) + event.delta)


def same_size(before: PoolPolicy, after: PoolPolicy) -> bool:
    follows = before.by_capacity and after.by_capacity
    if before.scale is None or after.scale is None:
        return before.scale is after.scale and (follows or before.size == after.size)
    return (before.scale.min, before.scale.max) == (after.scale.min, after.scale.max)


def size_after(observer: Observer, name: str, policy: PoolPolicy) -> int:
    """The size in a generation with other settings."""
    size = observer.sizes.get(name)
    if size is None:
        return policy.size
    if same_size(observer.policies[name], policy):
        return size
    return policy.size if policy.scale is None else policy.scale.clamp(size)


# ---- the world's part


def some_bounds(rng: random.Random, least: int) -> ScalePolicy | None:
    """For one pool of three."""
    if rng.random() < 0.65:
        return None
    return ScalePolicy(
        least,
        least + rng.randrange(4),
        rng.choice((0.5, 0.7)),
        rng.choice((1.0, 4.0, 10.0)),
        rng.choice((0.0, 4.0)),
    )


def some_load(rng: random.Random, pool: str, serving: int, *, idle: bool) -> ev.LoadObserved:
    """What is observed of a pool; once in a while it is any numbers, as the application writes them."""
    if rng.random() < 0.02 and not idle:
        return ev.LoadObserved(pool, rng.choice((0.0, 1.0)), rng.choice((0, 5)), nan, 1 << 60, nan, nan, 0, 1)
    pull = 0.0 if idle else rng.choice((0.0, 0.0, 0.5, 1.0, 2.0, 8.0))
    return ev.LoadObserved(
        pool,
        1.0,
        serving,
        min(pull, serving),
        waiting=int(max(0.0, pull - serving) * 3),
        request_s=0.4,
        cpus=rng.choice((0.0, 3.9)),
        free_bytes=rng.choice((None, 1 << 30, 1 << 30, 1 << 20)),
        worker_bytes=50 << 20,
    )
