"""The observer's rules about pools that go by what the machine allows, and workers replaced for the group's memory.

- the size is at least one, at most what processors allow, and not more than the smallest of the workers that were
  seen would have room for;
- it changes for that reason not during a reload or a stop, nor when somebody has set it, nor where respawns would
  run something else; and where nothing was given or taken it does not go up after it went down
  before `FORGET_S` have passed;
- for the memory of the group one worker at a time is replaced, that has lived, when the group was seen to be near
  its limit twice in a row, and not within `WAIT_S` after the one before had ended;
- one for whose successor there is no room ends first, if another serves; while one does, nobody is begun in its place
  before it has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gwctl.records.scaling import PoolScaled
from gwctl.supervisor.core import events as ev
from tests.sim.books import Seen, Unsafe

if TYPE_CHECKING:
    from tests.sim.observer import Observer

FORGET_S = 600.0
WAIT_S = 30.0
NEAR = 0.7
AGAIN_S = 1.0
EPSILON_S = 1e-6
UNREAPED_S = 10.0


@dataclass
class Groups:
    """What is remembered of it."""

    allows: ev.CapacityMeasured | None = None
    changed: dict[str, tuple[ev.CapacityMeasured, bool, float]] = field(default_factory=dict)
    """By pool: what was allowed when its size changed last, whether it became less, and when."""
    own_bytes: dict[int, int] = field(default_factory=dict)
    """By worker, the least that it was seen to have written itself."""
    near: int = 0
    replaced: Seen | None = None
    """Who is being replaced for the memory of the group."""
    ended_at: float = -1e9

    def begin_anew(self, pool: str) -> None:
        self.changed.pop(pool, None)


def is_by_capacity(record: object) -> bool:
    return isinstance(record, PoolScaled) and " CPUs" in record.source


def judge_measured(observer: Observer, record: PoolScaled) -> None:
    """A pool was given the size that is allowed."""
    name, was, size, groups = record.pool, record.was, record.size, observer.groups
    policy, allows = observer.policies.get(name), groups.allows
    if policy is None or not policy.by_capacity or was != observer.sizes[name] or allows is None:
        raise Unsafe(f"{record} of a pool that does not go by that")
    if observer.txn is not None or observer.stopping or observer.asked_to_stop:
        raise Unsafe(f"{record} while other things change")
    if name in observer.scaled.by_hand or (name in observer.refused_at and not policy.preload):
        raise Unsafe(f"{record}, although it was set, or others would be begun")
    if not 1 <= size <= allows.processes:
        raise Unsafe(f"{record} where {allows}")
    seen = [groups.own_bytes[w.id] for w in observer.workers.values() if w.id in groups.own_bytes]
    if size > 1 and seen and allows.memory_bytes and size * min(seen) > allows.memory_bytes:
        raise Unsafe(f"{record} where {allows}, and none is smaller than {min(seen)}")
    before = groups.changed.get(name)
    if before is not None and size > was:
        then, fell, at = before
        if then == allows and fell and observer.now - at < FORGET_S - EPSILON_S:
            raise Unsafe(f"{record} {observer.now - at:.0f} s after it became less, for nothing")
    groups.changed[name] = (allows, size < was, observer.now)
    observer.sizes[name] = size


def heard_capacity(observer: Observer, event: ev.CapacityMeasured) -> None:
    observer.groups.allows = event


def heard_observed(observer: Observer, seen: Seen, event: ev.Observed) -> None:
    """The least of what its pool's workers were seen to take bounds how many there can be."""
    if event.private_bytes:
        own = observer.groups.own_bytes
        own[seen.id] = min(own.get(seen.id, event.private_bytes), event.private_bytes)


def heard_group(observer: Observer, event: ev.GroupMemoryObserved) -> None:
    groups = observer.groups
    groups.near = groups.near + 1 if event.used_bytes > NEAR * event.limit_bytes else 0
    observer.samples.allowed(observer.now + AGAIN_S)


def ended(observer: Observer, seen: Seen) -> None:
    if observer.groups.replaced is seen:
        observer.groups.replaced, observer.groups.ended_at = None, observer.now


def judge_made_room(observer: Observer, seen: Seen) -> None:
    """``seen``, which is due for nothing else, is being replaced: by a successor, or it ends first."""
    groups = observer.groups
    if not seen.policy.recycle.memory_group_percent or groups.near < 2:
        raise Unsafe(f"replaces {seen}, which is not due, and the group is well")
    if groups.replaced is not None and groups.replaced is not seen:
        raise Unsafe(f"replaces {seen} for the group beside {groups.replaced}")
    if not seen.has_proved_itself(observer.now):
        raise Unsafe(f"replaces {seen} for the group, so young")
    since = observer.now - groups.ended_at
    if groups.replaced is None and since < WAIT_S - EPSILON_S:
        raise Unsafe(f"replaces {seen} for the group {since:.1f} s after another one")
    groups.replaced, seen.worn = seen, True


def judge_ends_first(observer: Observer, seen: Seen) -> None:
    """``seen`` is told to drain without a successor."""
    judge_made_room(observer, seen)
    if not observer._serving(seen.pool, seen):
        raise Unsafe(f"{seen} ends first, and nobody serves")
    observer.failures.forget_healthy(seen, observer.now)
    seen.ends_first = True


def judge_spawn(observer: Observer, seen: Seen) -> None:
    """Nobody is begun beside one for which there is no room."""
    for other in observer.workers.values():
        same = other.place == seen.place and other.generation == seen.generation
        unreaped = observer.now - other.killed_at >= UNREAPED_S - EPSILON_S
        if same and other.ends_first and not unreaped and observer._serving(seen.pool):
            raise Unsafe(f"began {seen} beside {other}, for which there is no room")
