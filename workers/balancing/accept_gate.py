"""Whether to accept a waiting connection or to leave it to a sibling that has fewer.

A worker's fair share is the pool's connections, those waiting included, divided by the
workers that can take any. One of HTTP/2 may bring many requests at once: a worker that has more
requests than connections is taken to have as many of these (`load`). A worker at its share
declines: the acceptor takes the listener off its loop for `DECLINE_S` and then looks again, so
declining costs a few wakeups and no spinning, and no connection is given to anybody: whoever is
free takes it.

No client may starve by this. A sibling that is stuck in a call, crowded, parked or draining
is not counted. One that shows no activity while a connection waits for it (a stopped
process looks well until its heartbeat is old) is not believed until its record changes. And
after `PATIENCE_S` the connection is accepted whatever the siblings look like.
"""

from __future__ import annotations

from typing import Final

from gwctl.ipc.scoreboard import (
    ACCEPTED,
    ACTIVE,
    BUSY_SINCE,
    CONNECTIONS,
    CROWDED,
    HEARTBEAT_AT,
    REQUESTS,
    Record,
)
from gwctl.workers.balancing.siblings import Siblings, is_late

DECLINE_S: Final = 0.005
BELIEVE_S: Final = 0.02
"""A sibling that could take a connection and has not moved for this long is not believed."""
PATIENCE_S: Final = 0.1
"""No connection is left to siblings for longer."""
_EPISODE_S: Final = 0.5
"""Two looks further apart than this are about different connections."""
_TOLERANCE: Final = 16
"""A worker may have this part of its share more: near balance is not worth a wait."""

_Activity = tuple[float, float, int, int, int]


class Gate:
    """One per worker; ``record`` is its own. ``few``: accepted at once when there is nobody to share with."""

    def __init__(self, siblings: Siblings, record: Record, few: int) -> None:
        self._few = few
        self._siblings = siblings
        self._record = record
        self._since = 0.0  # a connection has been left to others since then; 0.0: none
        self._checked_at = 0.0
        self._seen: dict[int, _Activity] = {}
        self._unresponsive: dict[int, _Activity] = {}
        self.declined = 0

    def room(self, mine: int, waiting: int, now: float) -> int:
        """Return how many of the ``waiting`` connections of a listener to accept now; 0: leave them.

        ``mine`` is how many this worker has, or requests, if those are more.
        """
        if now - self._checked_at > _EPISODE_S:
            self._since = 0.0
        self._checked_at = now
        share, fewer = self._share(mine, waiting, now)
        if not fewer:
            self._since = 0.0
            return share - mine if share > mine else self._few
        if not self._since:
            self._since = now
            self._seen = {each.index: _activity(each) for each in fewer}
        elif now - self._since > PATIENCE_S or not self._any_moves(fewer, now):
            self._since = 0.0
            return self._few
        self.declined += 1
        return 0

    def _share(self, mine: int, waiting: int, now: float) -> tuple[int, list[Record]]:
        """Return this worker's share (0: there is nobody to share with), and who should take one first."""
        able = [each for each in self._siblings.serving(now) if self._responds(each)]
        in_time = [each for each in able if not is_late(each, now)]
        if self._record.words[CROWDED]:
            if in_time:
                return 0, in_time
        else:
            able = in_time
        if not able:
            return 0, able
        total = mine + waiting + sum([load(each) for each in able])
        share = -(-total // (len(able) + 1))
        share += share // _TOLERANCE
        if mine < share:
            return share, []
        return share, [each for each in able if load(each) < mine]

    def _responds(self, sibling: Record) -> bool:
        ignored = self._unresponsive.get(sibling.index)
        if ignored is None:
            return True
        if ignored == _activity(sibling):
            return False
        del self._unresponsive[sibling.index]
        return True

    def _any_moves(self, fewer: list[Record], now: float) -> bool:
        """Tell whether one of ``fewer`` has moved since the connection was left to it, or may yet."""
        moves = False
        for each in fewer:
            activity = _activity(each)
            if self._seen.setdefault(each.index, activity) != activity or now - self._since <= BELIEVE_S:
                moves = True
            else:
                self._unresponsive[each.index] = activity
        return moves


def load(record: Record) -> int:
    """Return how many connections that worker has, or requests on them, if those are more."""
    words = record.words
    return max(words[CONNECTIONS], words[ACTIVE])


def _activity(record: Record) -> _Activity:
    """What changes in a record while its worker lives and works."""
    floats, words = record.floats, record.words
    return (
        floats[HEARTBEAT_AT],
        floats[BUSY_SINCE],
        words[CONNECTIONS],
        words[ACCEPTED],
        words[REQUESTS],
    )
