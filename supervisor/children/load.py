"""How much the workers of a pool have to do, from sample to sample: by that it may set its size itself.

A worker is in use for the largest of these parts of the time since the last sample
    requests    in which requests ran, of what it can run at once (`Child.slots`). sync: exactly. threads: of
                all its threads; requests that are not over yet count as they stand now. asgi: nothing, as
                requests that wait for something else take no part of a worker.
    processor   that it used, of one CPU: threads share one under the GIL, an event loop has no more.
    loop        asgi: all of it, when its loop was late by `LATE_S`: whoever comes then waits for so long.

What waits: connections in the backlog (TCP), requests for which a worker has no thread or turn yet, and those
that were refused or dropped since the last sample.

All of it is read from records that the workers write (`record_reader`), so each part is cut to what can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from gwctl.ipc.scoreboard import (
    ACTIVE,
    BUSY_SINCE,
    CPU_S,
    DROPPED,
    HEARTBEAT_AT,
    LAG_S,
    MEMORY_BYTES,
    REFUSED,
    REQUESTS,
    SECONDS,
    SERVING,
    Record,
)
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.procfs import resident_bytes
from gwctl.supervisor.core.events import LoadObserved, WorkerId

LATE_S: Final = 0.1
"""A loop that is later with its timer counts as busy."""

HEARTBEAT_S: Final = 1.0
"""Between two heartbeats of a loop that turns, at most."""


class _Counted(Struct, frozen=True):
    """The counters of one worker at a sample."""

    at: float
    ran_s: float
    """All that requests took, with those under way if that is known of them."""
    requests: int
    missed: int
    """Refused and dropped."""
    heartbeat_at: float
    cpu_s: float
    cpu: float
    """The part of a processor that it used before."""


class _Worker(Struct, frozen=True):
    """What one worker did between two samples."""

    seconds: float
    busy: float
    cpu: float
    requests: int
    running: int
    waiting: int


class Loads:
    """The last sample of each worker. ``free_bytes`` is asked for what `LoadObserved` has of that name."""

    def __init__(self, free_bytes: Callable[[], int | None]) -> None:
        self._free_bytes = free_bytes
        self._counted: dict[str, dict[WorkerId, _Counted]] = {}

    def observe(
        self, pools: Sequence[str], children: Iterable[Child], backlog: Callable[[str], int], now: float
    ) -> Iterator[LoadObserved]:
        """Take a sample of each pool: of no worker when none of them served at the one before.

        Others are forgotten: once they are asked for again, what they did in between is no sample.

        Args:
            pools: Their names.
            children: All processes.
            backlog: Says how many connections wait to be accepted, of a pool.
            now: Monotonic seconds.
        """
        for pool in self._counted.keys() - set(pools):
            del self._counted[pool]
        free_bytes = self._free_bytes() if pools else None
        for pool in pools:
            yield self._observe(pool, children, backlog(pool), free_bytes, now)

    def _observe(
        self, pool: str, children: Iterable[Child], backlog: int, free_bytes: int | None, now: float
    ) -> LoadObserved:
        before, counted = self._counted.get(pool, {}), {}
        found: list[_Worker] = []
        largest = 0
        for child in children:
            if child.pool != pool or child.template or child.ready is None:
                continue
            record = child.trusted_record(now)
            if not record.words[SERVING]:
                continue
            last = before.get(child.worker)
            counted[child.worker] = count = _count(record, last, now)
            largest = max(largest, resident_bytes(child.pid) or record.words[MEMORY_BYTES])
            if last is not None and now > last.at:
                found.append(_worker(child, record, last, count))
        self._counted[pool] = counted
        if not found:
            return LoadObserved(pool, 0.0, 0, 0.0)
        seconds = min(each.seconds for each in found)
        busy = sum(each.busy for each in found)
        at_once = max(1, sum(each.requests for each in found), sum(each.running for each in found))
        return LoadObserved(
            pool,
            seconds,
            len(found),
            busy,
            waiting=backlog + sum(each.waiting for each in found),
            request_s=busy * seconds / at_once,
            cpus=sum(each.cpu for each in found),
            free_bytes=free_bytes,
            worker_bytes=largest,
        )


def _count(record: Record, last: _Counted | None, now: float) -> _Counted:
    words, floats = record.words, record.floats
    heartbeat_at, cpu_s, cpu = floats[HEARTBEAT_AT], floats[CPU_S], 0.0
    if last is not None:
        cpu = last.cpu
        if heartbeat_at > last.heartbeat_at:
            cpu = _part((cpu_s - last.cpu_s) / (heartbeat_at - last.heartbeat_at))
    busy_since = floats[BUSY_SINCE]
    return _Counted(
        now,
        floats[SECONDS] + (max(0.0, now - busy_since) if busy_since else 0.0),
        words[REQUESTS],
        words[REFUSED] + words[DROPPED],
        heartbeat_at,
        cpu_s,
        cpu,
    )


def _worker(child: Child, record: Record, last: _Counted, count: _Counted) -> _Worker:
    seconds, slots = count.at - last.at, child.slots
    active = record.words[ACTIVE]
    running = min(active, slots) if slots else active
    busy = count.cpu
    if slots:
        busy = max(busy, _part((count.ran_s - last.ran_s) / seconds / slots))
        if child.serves_many:
            busy = max(busy, running / slots)
    elif _is_late(record, count.at):
        busy = 1.0
    missed = max(0, count.missed - last.missed)
    waiting = missed + (max(0, active - slots) if slots else 0)
    return _Worker(seconds, busy, count.cpu, max(0, count.requests - last.requests), running, waiting)


def _is_late(record: Record, now: float) -> bool:
    heartbeat_at = record.floats[HEARTBEAT_AT]
    silent = heartbeat_at > 0.0 and now - heartbeat_at > HEARTBEAT_S + LATE_S
    return silent or record.floats[LAG_S] > LATE_S


def _part(share: float) -> float:
    """Cut to what can be; what is no number is nothing."""
    return min(1.0, share) if share > 0.0 else 0.0
