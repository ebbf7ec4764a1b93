"""The observer's rules about workers that are replaced although they work.

- a second worker in a slot is spawned only beside one that was seen to be due, or that somebody
  has named, and not during a reload, nor while what is on disk is not what runs;
- at most ``at_once`` are replaced at the same time, the last of the old processes included,
  and never all of a pool that has several;
- whoever is due serves until its successor does;
- beyond the hard limit of memory a worker is killed in the step that hears of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.policy import PoolPolicy
from tests.sim import groups
from tests.sim.books import Seen, Unsafe
from tests.sim.restarts import may_stay
from tests.sim.templates import keeps_code

if TYPE_CHECKING:
    from tests.sim.observer import Observer


UNREAPED_S = 10.0


def at_once(policy: PoolPolicy, size: int) -> int:
    return min(policy.recycle.at_once, max(1, size - 1))


def _is_worn(seen: Seen, observed: ev.Observed, now: float) -> bool:
    """It may be replaced; with jitter it need not yet."""
    limits, age_s = seen.policy.recycle, now - seen.ready_at if seen.ready_at is not None else 0.0
    rest = 1 - limits.jitter_percent / 100
    return age_s >= seen.policy.healthy_after_s and bool(
        (limits.requests_max and observed.requests >= limits.requests_max * rest)
        or (limits.age_max_s and age_s >= limits.age_max_s * rest)
        or (limits.memory_soft_bytes and observed.memory_bytes > limits.memory_soft_bytes)
    )


def _is_surely_worn(seen: Seen, observed: ev.Observed) -> bool:
    """Whatever its jitter, by what was observed alone."""
    limits = seen.policy.recycle
    return bool(
        (limits.requests_max and observed.requests >= limits.requests_max)
        or (limits.memory_soft_bytes and observed.memory_bytes > limits.memory_soft_bytes)
    )


def _is_too_big(seen: Seen, observed: ev.Observed) -> bool:
    hard = seen.policy.recycle.memory_hard_bytes
    return bool(hard) and observed.memory_bytes > hard and seen.state not in {"requested", "killed"}


def judge_observed(observer: Observer, seen: Seen, observed: ev.Observed) -> None:
    """Note what is to follow from what was observed."""
    if _is_worn(seen, observed, observer.now):
        seen.worn = True
        in_force = seen.serving and observer.in_force(seen)
        seen.surely_worn = seen.surely_worn or (in_force and _is_surely_worn(seen, observed))
    seen.must_die = seen.must_die or _is_too_big(seen, observed)


def asked(observer: Observer, event: ev.RecycleAsked) -> None:
    """Whoever is named, and serves, may be replaced, whatever its age."""
    for seen in observer.workers.values():
        named = seen.pool == event.pool and event.slot in {None, seen.slot}
        if named and seen.serving and observer.in_force(seen):
            seen.worn = True


def let_go_unspawned(observer: Observer) -> None:
    """Whoever has no process yet and is not wanted any more can only be let go in silence."""
    for seen in observer.workers.values():
        txn = observer.txn
        tried = txn is not None and seen.generation == txn.generation
        sizes = txn.sizes if txn is not None and tried else observer.sizes
        heir = observer.reloads(seen.pool) and is_heir(observer, seen)
        surplus = seen.slot >= sizes.get(seen.pool, 0) or heir or not may_stay(observer, seen)
        if seen.state == "requested" and surplus and (tried or observer.in_force(seen)):
            seen.told_to_end = True


def gone(observer: Observer, seen: Seen) -> bool:
    """It holds its slot no more: on its way out, or killed for so long that its slot is given away."""
    return seen.told_to_end or seen.left or observer.now - seen.killed_at >= UNREAPED_S - 1e-6


def _holders(observer: Observer, seen: Seen) -> list[Seen]:
    """Who else has its slot."""
    return [
        w
        for w in observer.workers.values()
        if w.place == seen.place
        and w.generation == seen.generation
        and w is not seen
        and not gone(observer, w)
    ]


def judge_end(observer: Observer, seen: Seen, status: int) -> None:
    """It has ended in the generation in force."""
    if not gone(observer, seen):
        observer.failures.judge_life(seen, status, observer.now, observer._serving(seen.pool))
    elif not (seen.told_to_end or seen.left):  # the news of its end may have come before its time was up
        observer.failures.forget_healthy(seen, observer.now)


def is_heir(observer: Observer, seen: Seen) -> bool:
    older = any(holder.id < seen.id for holder in _holders(observer, seen))
    return older and not gone(observer, seen)


def judge_heir(observer: Observer, seen: Seen) -> None:
    """``seen`` is spawned into the generation in force."""
    holders = _holders(observer, seen)
    if not holders:
        return
    if len(holders) > 1 or not holders[0].serving:
        raise Unsafe(f"spawned beside {holders}")
    if not holders[0].worn:
        groups.judge_made_room(observer, holders[0])
    if observer.reloads(seen.pool) or (is_degraded(observer, seen.pool) and not holders[0].stuck):
        raise Unsafe("recycles during a reload or after one that was refused")
    if not holders[0].succeeded:
        holders[0].succeeded = True
        # Whoever is due has been healthy; one that is stuck is replaced at any age, and has proved nothing.
        observer.failures.forget_healthy(holders[0], observer.now)
    mine = [w for w in observer.workers.values() if w.pool == seen.pool and w.generation == seen.generation]
    replaced = 1 + sum(w.succeeded if w.told_to_end else is_heir(observer, w) for w in mine)
    if replaced > at_once(seen.policy, observer.sizes[seen.pool]):
        raise Unsafe(f"{replaced} are replaced at once in {seen.pool}")


def is_degraded(observer: Observer, pool: str) -> bool:
    """What would be started now in ``pool`` runs something else than the others do."""
    return pool in observer.refused_at and not keeps_code(observer, pool)


def judge_retired(observer: Observer, seen: Seen) -> None:
    """``seen`` is told to drain."""
    planned = observer.stopping or observer.reloads(seen.pool) or not observer.in_force(seen)
    planned = planned or not may_stay(observer, seen)
    if not planned and seen.serving and seen.slot < observer.sizes.get(seen.pool, 0):
        if not any(holder.serving for holder in _holders(observer, seen)):
            groups.judge_ends_first(observer, seen)
        elif not seen.worn:
            raise Unsafe(f"retired {seen}, which was not due")


def judge_rest(observer: Observer) -> None:
    """In the calm nobody is left who is due."""
    worn = [w for w in observer.workers.values() if w.surely_worn and w.serving]
    left = [w for w in worn if not is_degraded(observer, w.pool)]
    if left:
        raise Unsafe(f"{left} are due and were not replaced")
