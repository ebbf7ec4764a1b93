"""The connection queues of the pools, and their numbers on the scoreboard.

Both last as long as the master knows the pool: over generations, respawns, and the death of
all its workers, so that no connection in the queue is lost with a worker.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gwctl.ipc.connection_queue import ConnectionQueue


class ConnectionQueuesSnapshot(msgspec.Struct, frozen=True):
    """As handed over in an upgrade."""

    numbers: dict[str, int] = {}
    fds: dict[str, tuple[int, int]] = {}


class ConnectionQueues:
    def __init__(self, snapshot: ConnectionQueuesSnapshot | None = None) -> None:
        snapshot = snapshot or ConnectionQueuesSnapshot()
        self._open: dict[str, ConnectionQueue | None] = {
            pool: ConnectionQueue.resumed(fds) for pool, fds in snapshot.fds.items()
        }
        self._numbers: dict[str, int] = dict(snapshot.numbers)

    def snapshot(self) -> ConnectionQueuesSnapshot:
        fds = {pool: queue.fds for pool, queue in self._open.items() if queue is not None}
        return ConnectionQueuesSnapshot(dict(self._numbers), fds)

    def number(self, pool: str) -> int:
        """Return what the scoreboard calls ``pool``: from 1, never used for another."""
        return self._numbers.setdefault(pool, len(self._numbers) + 1)

    def get(self, pool: str) -> ConnectionQueue | None:
        """Return that of ``pool``, made when there is no whole one; None: its workers have none."""
        queue = self._open.get(pool)
        if queue is None or queue.broken:
            if queue is not None:
                queue.close()
            self._open[pool] = queue = ConnectionQueue.open()
        return queue

    def keep_only(self, pools: Iterable[str]) -> None:
        """Close the others: in the master when pools are removed, in a new worker all but its own."""
        for pool in self._open.keys() - set(pools):
            queue = self._open.pop(pool)
            if queue is not None:
                queue.close()
