"""The other workers of the pool, as their records in the scoreboard show them.

Looked at when a connection is accepted and when a request has to wait, never for each
request. Who the siblings are is looked up at most every `REFRESH_S`; what they do is read
each time. A sibling counts while it accepts connections and its loop has turned lately: one
that is parked, draining, stopped or stuck for seconds does not.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from gwctl.ipc.scoreboard import (
    ACTIVE,
    BUSY_SINCE,
    CONNECTIONS,
    CROWDED,
    HEARTBEAT_AT,
    POOL,
    SERVING,
    Record,
    Scoreboard,
)

REFRESH_S: Final = 0.25
FRESH_S: Final = 2.5
"""A heartbeat older than this, more than twice the time between two, comes from a loop that does not turn."""
LATE_S: Final = 0.01
"""A sync worker whose call has lasted longer than this is not about to be free."""


class Siblings:
    """``capacity``: how many requests a worker of this pool can be at, at once."""

    def __init__(self, board: Scoreboard | None, record: Record, capacity: int) -> None:
        self._board = board
        self._record = record
        self._pool = record.words[POOL]
        self._capacity = capacity
        self._records: list[Record] = []
        self._refresh_at = 0.0

    def exist(self) -> bool:
        """Tell whether there are any, in whatever state: one that boots may serve in a moment."""
        return bool(self._known(monotonic()))

    def serving(self, now: float) -> list[Record]:
        """Return the records of those that accept connections and whose loop turns."""
        oldest = now - FRESH_S
        return [
            each
            for each in self._known(now)
            if each.words[SERVING] and each.floats[HEARTBEAT_AT] > oldest and each.words[POOL] == self._pool
        ]

    def _known(self, now: float) -> list[Record]:
        if now >= self._refresh_at:
            self._refresh_at = now + REFRESH_S
            if self._board is not None:
                self._records = self._board.siblings(self._record)
        return self._records

    def have_room(self, connections_max: int) -> bool:
        """Tell whether one of them has fewer connections; looked up anew, as this is for the rare case."""
        self._refresh_at = 0.0
        bound = connections_max or 1 << 62
        return any(each.words[CONNECTIONS] < bound for each in self.serving(monotonic()))

    def free(self) -> set[int]:
        """Return those that could start a request now, by the index of their record."""
        capacity = self._capacity
        return {
            each.index
            for each in self.serving(monotonic())
            if not each.floats[BUSY_SINCE] and each.words[ACTIVE] < capacity
        }


def is_late(record: Record, now: float) -> bool:
    """Tell whether that worker will not be free in a moment."""
    busy_since = record.floats[BUSY_SINCE]
    return bool(record.words[CROWDED]) or (busy_since > 0.0 and now - busy_since > LATE_S)
