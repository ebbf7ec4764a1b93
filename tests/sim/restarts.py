"""The observer's rules about restarts.

- Nobody is begun, worker or template, while a process of another generation is there in that pool; but for one
  that was killed and that the kernel does not let go of.
- The same holds when it goes back, until nobody of the new generation is left.
- Whoever is not to be there may be the last that serves, and ends all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.books import Seen, Transaction, Unsafe

if TYPE_CHECKING:
    from tests.sim.observer import Observer

UNREAPED_S = 10.0


def begin(observer: Observer, txn: Transaction) -> None:
    """The settings are valid: what serves is to end."""
    txn.began_at, txn.alone_before = observer.now, dict(observer.alone)
    for name in filter(txn.touches, {*observer.sizes, *txn.policies}):
        observer.alone[name] = txn.generation
        observer.failures.begin_anew(name)
    observer._scaled = True  # who has no process yet is let go in silence


def go_back(observer: Observer, txn: Transaction) -> None:
    """What runs then is what is on disk. One that was given up before its settings were read has not begun."""
    if txn.began_at == observer.now:
        observer.alone = txn.alone_before
        return
    for name in [name for name in observer.alone if txn.touches(name)]:
        observer.alone[name] = observer.generations.get(name, 0)
        observer.refused_at.pop(name, None)
    observer._scaled = True


def _others(observer: Observer, pool: str) -> list[Seen]:
    mine = observer.alone[pool]
    return [
        w
        for w in observer.workers.values()
        if w.pool == pool and w.generation != mine and observer.now - w.killed_at < UNREAPED_S - 1e-6
    ]


def judge_spawn(observer: Observer, seen: Seen) -> None:
    if seen.pool not in observer.alone:
        return
    if others := _others(observer, seen.pool):
        raise Unsafe(f"began {seen} beside {others}")
    if observer.txn is None or not observer.txn.restarts:
        del observer.alone[seen.pool]  # it has gone back
    elif seen.generation != observer.alone[seen.pool]:
        raise Unsafe(f"began {seen} in a pool where generation {observer.alone[seen.pool]} is to be alone")


def may_stay(observer: Observer, seen: Seen) -> bool:
    """It is not to end for a restart."""
    return observer.alone.get(seen.pool, seen.generation) == seen.generation
