"""Making room for new connections when there is none: who has waited longest without a word goes.

There is none when `connections_max` is reached, or when no descriptor can be had but those that
are kept for the application (`gwctl.workers.transport.fd_reserve`). Then for each connection that waits in
the backlog one is *evicted* whose client the worker is waiting for, in this order:

    1. between two requests, or fresh without a byte (before TLS or a PROXY header too)
    2. answered and closed, but for input that is dropped so that the client can read the answer
    3. in the middle of a head: answered with 408
    4. in a body that comes more slowly than the least rate (`gwctl.workers.balancing.slow_clients`):
       likewise, whether or not the application has begun to read it; not if it has begun to answer
    5. in a response that is taken more slowly than the least rate, for `READER_WAIT_MIN_S`: a reset

the longest wait first, and nobody that has waited for less than `WAIT_MIN_S`. A client whose bytes
are in the kernel's buffer is not silent: the worker was busy. A body that comes, a response that is
taken and what waits for the application alone are never cut here.

Where nobody may go, nobody is silent: they all ask again and again, and who is not connected yet would
never be. So as many as wait are *asked to leave*: their next response says ``Connection: close``.

Siblings that have room come first, but only for a moment (`Patience`): they may be stuck.

Finding who is first needs a look at every connection. So one look finds as many as
`_FOUND_MAX`, and what it found is used up before the next one.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Final

from gwctl.ipc.scoreboard import EVICTED
from gwctl.workers.exchange.states import BODY, BUSY, CLOSING, DISCARD, FLUSH, FRESH, HEAD, IDLE, LINGER
from gwctl.workers.http1.bounds import LINGER_S
from gwctl.workers.http1.hangup import has_unread
from gwctl.workers.http1.time_limits import cut_upload

if TYPE_CHECKING:
    from gwctl.workers.balancing.overload import Overload
    from gwctl.workers.balancing.slow_clients import LeastRates
    from gwctl.workers.http1.connection import ConnectionBase
    from gwctl.workers.http1.connections import ConnectionService

WAIT_MIN_S: Final = 2.0
READER_WAIT_MIN_S: Final = 5.0
"""What a client has begun to read is worth more to it: asking again costs it all that it had."""
PATIENCE_S: Final = 0.1
"""No connection is left to siblings for longer."""
_BELIEVE_AGAIN_S: Final = 1.0
_FOUND_MAX: Final = 256
_LEAVE_S: Final = 1.0
_LINGERS: Final = 1
_UPLOADS: Final = 3
_READERS: Final = 4
_RANKS: Final = {FRESH: 0, IDLE: 0, LINGER: _LINGERS, HEAD: 2}
_REQUESTS: Final = {BODY, BUSY, DISCARD, FLUSH, CLOSING}

_Found = tuple[int, float, int]


class Eviction:
    """Of one worker. Runs in the loop's thread."""

    def __init__(self, service: ConnectionService, rates: LeastRates, overload: Overload | None) -> None:
        self._service = service
        self._rates = rates
        self._overload = overload
        self._found: list[tuple[_Found, ConnectionBase]] = []
        self._leaving: dict[ConnectionBase, float] = {}  # since when
        self._asked: set[ConnectionBase] = set()

    def make_room(self, wanted: int, now: float) -> int:
        """Evict up to ``wanted`` connections; return for how many new ones there will be room in a moment.

        Those that were evicted before and have not quite gone count: nobody is evicted twice.
        """
        self._see_them_off(now)
        room = len(self._leaving)
        searched = False
        while room < wanted:
            if not self._found:
                if searched:
                    break
                searched = True
                self._find_candidates(now)
                continue
            found, connection = self._found.pop()
            if found == self._rank(connection, now):
                self._evict(connection, found, now)
                room += 1
        return room

    def ask_to_leave(self, wanted: int) -> bool:
        """Have ``wanted`` connections, those included that were asked before, end with their next response.

        Return whether there are any.
        """
        self._asked = {connection for connection in self._asked if not connection.lost}
        missing = min(wanted, _FOUND_MAX) - len(self._asked)
        if missing > 0:
            kept = (each for each in self._service.open_connections() if each.state in {IDLE, BUSY})
            chosen = nsmallest(missing, (each for each in kept if each not in self._asked), key=_since)
            for connection in chosen:
                connection.ask_to_leave()
            self._asked.update(chosen)
        return bool(self._asked)

    def _find_candidates(self, now: float) -> None:
        """Find who has waited longest; the last is the first to go."""
        ranked = []
        for connection in self._service.open_connections():
            rank = self._rank(connection, now)
            if rank is not None:
                ranked.append((rank, connection))
        self._found = nsmallest(_FOUND_MAX, ranked)
        self._found.reverse()

    def _rank(self, connection: ConnectionBase, now: float) -> _Found | None:
        """Return where ``connection`` stands among those that may go, the lowest first; None: it stays."""
        if connection.state in _REQUESTS:
            return self._rank_request(connection, now)
        rank = _RANKS.get(connection.state)
        if rank is None:
            return None
        since = connection.linger_until - LINGER_S if rank == _LINGERS else connection.since
        transport = connection.transport
        if now - since < WAIT_MIN_S or transport is None or transport.is_closing() or connection.tail:
            return None
        if rank == _LINGERS:
            overload = self._overload
            return (
                None
                if overload is not None and overload.lingers(connection)
                else (rank, since, id(connection))
            )
        if connection.queued or has_unread(connection.sock) or transport.get_write_buffer_size():
            return None
        return rank, since, id(connection)

    def _rank_request(self, connection: ConnectionBase, now: float) -> _Found | None:
        """Do so for one that sends a body, or takes a response, which began with its present window."""
        since, rates = connection.window_at, self._rates
        if now - since < WAIT_MIN_S or connection in self._leaving:
            return None
        if rates.body_is_slow(connection, now):
            if has_unread(connection.sock) or self._service.runner.has_responded(connection):
                return None
            return _UPLOADS, since, id(connection)
        if now - since >= READER_WAIT_MIN_S and rates.response_is_slow(connection, now):
            return _READERS, since, id(connection)
        return None

    def _evict(self, connection: ConnectionBase, found: _Found, now: float) -> None:
        service = self._service
        rank, since, _ = found
        self._leaving[connection] = now
        service.context.record.words[EVICTED] += 1
        peer = connection.peer
        client = peer[0] if isinstance(peer, tuple) else "a client"
        service.context.throttled.warning(
            "evicted",
            f"no room for new connections ({service.connections} are open): closed the one that has waited "
            f"longest, {now - since:.1f} s, of {client}. `connections_max` and `nofile` say how many a "
            "worker may have; a shorter `keepalive_timeout_s` closes idle ones earlier",
        )
        if rank == _READERS:
            connection.abandon()
            connection.abort()
            return
        if rank == _UPLOADS:
            cut_upload(connection, "no room for it, and its body comes too slowly")
        elif connection.state == HEAD:
            connection.refuse_unparsed(408, "no room for it, and its head has not come")
        if connection.state != BUSY:  # else a call in a thread was told, and answers
            connection.close()

    def _see_them_off(self, now: float) -> None:
        """Drop who has gone, and end those that should have by now: they do not take what they were told."""
        for connection, since in list(self._leaving.items()):
            if connection.lost:
                del self._leaving[connection]
            elif now - since > _LEAVE_S:
                del self._leaving[connection]
                connection.transport.abort()


def _since(connection: ConnectionBase) -> float:
    return connection.since


class Patience:
    """How long connections are left to siblings that seem to have room."""

    def __init__(self) -> None:
        self._since = 0.0
        self._over_at = 0.0

    def wait(self, now: float) -> bool:
        """Tell whether to leave those that wait to siblings for another moment."""
        if now - self._over_at < _BELIEVE_AGAIN_S:
            return False
        if not self._since or now - self._since > _BELIEVE_AGAIN_S:
            self._since = now
        elif now - self._since > PATIENCE_S:
            self._since = 0.0
            self._over_at = now
            return False
        return True
