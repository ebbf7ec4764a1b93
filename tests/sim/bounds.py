"""The observer's rules about how many workers there may be at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.books import Unsafe, canaries
from tests.sim.recycling import at_once

if TYPE_CHECKING:
    from tests.sim.observer import Observer


def judge_active(observer: Observer, pool: str) -> None:
    """One was spawned: starting + ready <= size + surge."""
    active = sum(w.active for w in observer.workers.values() if w.pool == pool)
    if active > _active_limit(observer, pool):
        raise Unsafe(f"{active} starting and ready workers in {pool}")


def _active_limit(observer: Observer, pool: str) -> int:
    policy = observer.policies.get(pool)
    size = observer.sizes.get(pool, 0)
    txn = observer.txn
    if txn is not None and pool in txn.policies:
        policy = txn.policies[pool]
        size = max(size, txn.sizes[pool])
    if policy is None:
        raise Unsafe(f"spawned into {pool}, which nobody wants")
    surge = max(1, -(-size * policy.surge_percent // 100)) if policy.surge_percent else policy.surge
    return size + max(surge, canaries(policy, size) if observer.reloads(pool) else at_once(policy, size))


def judge_room(observer: Observer, pool: str) -> None:
    """One was parked, or let go without need: parked + draining <= ``draining_max``."""
    mine = [w for w in observer.workers.values() if w.pool == pool and not w.is_template]
    count = sum(w.state in {"parked", "draining"} for w in mine)
    size = observer.sizes[pool]
    policy = observer.policies[pool]
    largest = size
    txn = observer.txn
    if txn is not None and pool in txn.policies:
        policy = txn.policies[pool]
        largest = max(size, txn.sizes[pool])
    if count > max(policy.draining_max or 2 * largest, size):
        raise Unsafe(f"{count} parked and draining workers in {pool}")
