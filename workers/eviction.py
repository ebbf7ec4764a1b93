"""Making room for new connections when there is none: who has waited longest without a word goes.

There is none when `connections_max` is reached, or when no descriptor can be had but those that
are kept for the application (`gwctl.workers.descriptors`). Then for each connection that waits in
the backlog one is *evicted* whose client the worker is waiting for, in this order:

    1. between two requests, or fresh without a byte (before TLS or a PROXY header too)
    2. answered and closed, but for input that is dropped so that the client can read the answer
    3. in the middle of a head: answered with 408
    4. in a body that comes more slowly than the least rate (`gwctl.workers.slow_clients`): likewise

the longest wait first, and nobody that has waited for less than `WAIT_MIN_S`. A client whose bytes
are in the kernel's buffer is not silent: the worker was busy. A request that the application
has, a body that comes and a response are never cut here.

Siblings that have room come first, but only for a moment (`Patience`): they may be stuck.

Finding who is first needs a look at every connection. So one look finds as many as
`_FOUND_MAX`, and what it found is used up before the next one.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Final

from gwctl.scoreboard import EVICTED
from gwctl.workers.states import BODY, FRESH, HEAD, IDLE, LINGER, LINGER_S, has_unread

if TYPE_CHECKING:
    from gwctl.workers.connection import ConnectionBase
    from gwctl.workers.server import Server

WAIT_MIN_S: Final = 2.0
PATIENCE_S: Final = 0.1
"""No connection is left to siblings for longer."""
_BELIEVE_AGAIN_S: Final = 1.0
_FOUND_MAX: Final = 256
_LEAVE_S: Final = 1.0
_LINGERS: Final = 1
_UPLOADS: Final = 3
_RANKS: Final = {FRESH: 0, IDLE: 0, LINGER: _LINGERS, HEAD: 2, BODY: _UPLOADS}

_Found = tuple[int, float, int]


class Eviction:
    """Of one worker. Runs in the loop's thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._found: list[tuple[_Found, ConnectionBase]] = []
        self._leaving: dict[ConnectionBase, float] = {}  # since when

    def make_room(self, wanted: int, now: float) -> int:
        """Evict up to ``wanted`` connections; return for how many new ones there will be room in a moment.

        Those that were evicted before and have not quite gone count: nobody is evicted twice.
        """
        self._see_them_off(now)
        room = len(self._leaving)
        looked = False
        while room < wanted:
            if not self._found:
                if looked:
                    break
                looked = True
                self._look(now)
                continue
            found, connection = self._found.pop()
            if found == self._rank(connection, now):
                self._evict(connection, now - found[1], now)
                room += 1
        return room

    def _look(self, now: float) -> None:
        """Find who has waited longest; the last is the first to go."""
        ranked = []
        for connection in self._server.open_connections():
            rank = self._rank(connection, now)
            if rank is not None:
                ranked.append((rank, connection))
        self._found = nsmallest(_FOUND_MAX, ranked)
        self._found.reverse()

    def _rank(self, connection: ConnectionBase, now: float) -> _Found | None:
        """Return where ``connection`` stands among those that may go, the lowest first; None: it stays."""
        rank = _RANKS.get(connection.state)
        if rank is None:
            return None
        if rank == _UPLOADS:
            return self._rank_upload(connection, now)
        since = connection.linger_until - LINGER_S if rank == _LINGERS else connection.since
        transport = connection.transport
        if now - since < WAIT_MIN_S or transport is None or transport.is_closing() or connection.tail:
            return None
        if rank == _LINGERS:
            overload = self._server.overload
            return (
                None
                if overload is not None and overload.lingers(connection)
                else (rank, since, id(connection))
            )
        if connection.queued or has_unread(connection.sock) or transport.get_write_buffer_size():
            return None
        return rank, since, id(connection)

    def _rank_upload(self, connection: ConnectionBase, now: float) -> _Found | None:
        since = connection.window_at
        if now - since < WAIT_MIN_S or not self._server.rates.body_is_slow(connection, now):
            return None
        return None if has_unread(connection.sock) else (_UPLOADS, since, id(connection))

    def _evict(self, connection: ConnectionBase, waited_s: float, now: float) -> None:
        server = self._server
        self._leaving[connection] = now
        server.record.words[EVICTED] += 1
        peer = connection.peer
        client = peer[0] if isinstance(peer, tuple) else "a client"
        server.seldom.warning(
            "evicted",
            f"no room for new connections ({server.connections} are open): closed the one that has waited "
            f"longest, {waited_s:.1f} s, of {client}. `connections_max` and `nofile` say how many a worker "
            "may have; a shorter `keepalive_timeout_s` closes idle ones earlier",
        )
        if connection.state == HEAD:
            connection.refuse_unparsed(408, "no room for it, and its head has not come")
        elif connection.state == BODY:
            connection.refuse(408, "no room for it, and its body comes too slowly")
        connection.close()

    def _see_them_off(self, now: float) -> None:
        """Drop who has gone, and end those that should have by now: they do not take what they were told."""
        for connection, since in list(self._leaving.items()):
            if connection.lost:
                del self._leaving[connection]
            elif now - since > _LEAVE_S:
                del self._leaving[connection]
                connection.transport.abort()


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
