"""What happens at `connections_max` and `requests_max`: waiting in the backlog, or a fast 503.

Made only where one of the two is set, or who finds no room is to be refused. While the worker is at
a bound, and no silent client makes room (`gwctl.workers.balancing.eviction`),

    wait     it accepts nothing: clients wait in the backlog, where a sibling may take them. What
             is connected already may ask: those requests start when others have ended
    refuse   it answers connections and requests over the bound with 503, Retry-After and
             ``Connection: close``, which costs no call of the application

A refused connection lingers until its client has read the answer. `LINGERING_MAX` of them do at
once: then the oldest is closed for the next one, so refusing needs no more memory than serving, and clients
that are refused and stay keep nobody from being told.

The log says when it begins and, a while after the last, that it is over, with how many.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from gwctl.ipc.scoreboard import REFUSED
from gwctl.workers.balancing.handoff import SharedConnection
from gwctl.workers.balancing.queue_limit import LATE, QueueLimit
from gwctl.workers.exchange.request_rules import Refused
from gwctl.workers.exchange.states import BUSY, CLOSING

if TYPE_CHECKING:
    import asyncio

    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.http1.connection import ConnectionBase
    from gwctl.workers.http1.connections import ConnectionService

RECHECK_S: Final = 0.02
"""While nothing is accepted, the bounds are looked at this often."""
LINGERING_MAX: Final = 64
_OVER_S: Final = 2.0
"""So long after the last refusal or wait it is over: longer, up to `_OVER_MAX_S`, each time that it comes
back sooner than `_BACK_S`. A load that hovers about the bound gives a line a minute, not one a second."""
_OVER_MAX_S: Final = 60.0
_BACK_S: Final = 60.0


class Overload:
    """The bounds of one worker."""

    def __init__(self, service: ConnectionService, queue: QueueLimit) -> None:
        settings = service.context.settings
        self._service = service
        self._queue = queue
        self._connections_max = settings.connections_max or 1 << 62
        self._requests_max = settings.requests_max or 1 << 62
        self.refuses = settings.overload == "refuse"
        self._begin = service.runner.begin
        self._waits_here = bool(settings.requests_max) and not service.runner.requests_wait
        if self._waits_here:
            service.runner.on_room(self.begin_held)
        self._held: deque[Exchange] = deque()
        self._lingering: dict[ConnectionBase, None] = {}  # the oldest first
        self._closed: set[ConnectionBase] = set()  # those of them that are gone in a moment
        self._since = 0.0
        self._last = 0.0
        self._before = 0
        self._over_s = _OVER_S
        self._quiet_since = 0.0

    @property
    def _connections(self) -> int:
        return self._service.connections - self.lingering

    @property
    def connections_full(self) -> bool:
        """Tell whether it is connections that are at their bound."""
        return self._connections >= self._connections_max

    def room(self) -> int:
        """Return how many connections may be accepted to be served now; less than 1: none."""
        if self.refuses or not self._service.runner.has_active(self._requests_max):
            return self._connections_max - self._connections
        return 0

    def note(self) -> None:
        """Say that somebody finds no room."""
        if self.connections_full:
            what = f"{self._connections} connections (connections_max = {self._connections_max})"
        else:
            what = self._requests()
        self._note(self._service.context.loop.time(), what)

    def _requests(self) -> str:
        return f"{self._service.active_requests} requests (requests_max = {self._requests_max})"

    # ---- refusing

    def may_refuse(self) -> bool:
        """Tell whether another connection may be refused; the oldest of too many makes room."""
        return len(self._lingering) < LINGERING_MAX or self.close_oldest()

    @property
    def lingering(self) -> int:
        """How many were refused and are still there, those included that are gone in a moment."""
        return len(self._lingering) + len(self._closed)

    def close_oldest(self) -> bool:
        """Close the refused connection that has lingered longest; False if there is none to close now."""
        oldest = next(iter(self._lingering), None)
        if oldest is None or oldest.transport is None:
            return False  # accepted, but the loop has not got round to it
        del self._lingering[oldest]
        self._closed.add(oldest)
        oldest.transport.abort()
        return True

    def lingers(self, connection: ConnectionBase) -> bool:
        """Tell whether ``connection`` was refused: it is not one of those that are bounded."""
        return connection in self._lingering or connection in self._closed

    def admit(self, connection: ConnectionBase) -> None:
        """Count a connection that is to be refused."""
        self._service.context.record.words[REFUSED] += 1
        self._lingering[connection] = None

    def forget(self, connection: ConnectionBase) -> None:
        self._lingering.pop(connection, None)
        self._closed.discard(connection)

    # ---- requests

    def begin(self, exchange: Exchange) -> None:
        """Begin a request, or do not.

        Raises:
            Refused: There are too many.
        """
        service = self._service
        if not service.runner.has_active(self._requests_max):
            self._begin(exchange)
            return
        self._note(service.context.loop.time(), self._requests())
        if self.refuses:
            service.context.record.words[REFUSED] += 1
            raise Refused(503, "requests_max is reached")
        if not self._waits_here:
            self._begin(exchange)
            return
        exchange.state = BUSY
        exchange.since = monotonic()
        self._held.append(exchange)

    def begin_held(self) -> None:
        """Begin those that have waited, as far as there is room now."""
        while self._held and not self._service.runner.has_active(self._requests_max):
            exchange = self._held.popleft()
            verdict, waited_s = self._queue.judge(exchange, exchange.since)
            if verdict:
                self._drop(exchange, verdict, waited_s)
                continue
            self._service.accounts.own.waited_s += waited_s
            try:
                self._begin(exchange)
            except Refused as refusal:
                exchange.refuse_head(refusal)

    def _drop(self, exchange: Exchange, verdict: int, waited_s: float) -> None:
        """Do not begin a request for which nobody waits."""
        self._queue.note(exchange, verdict, waited_s)
        if verdict == LATE:
            exchange.refuse_head(Refused(503, "queue_timeout_s is over"))
            return
        if exchange.lost:
            exchange.state = CLOSING
        else:
            exchange.drop()

    # ---- the log

    def _note(self, now: float, what: str) -> None:
        self._last = now
        if self._since:
            return
        came_back = self._quiet_since and now - self._quiet_since < _BACK_S
        self._over_s = min(self._over_s * 2, _OVER_MAX_S) if came_back else _OVER_S
        self._since = now
        self._before = self._service.context.record.words[REFUSED]
        does = "answering 503" if self.refuses else "accepting no more for now"
        self._service.context.log.warning(f"overload: {what}: {does}")

    def check_end(self, now: float) -> None:
        """Say so when it is over. Called by the server's sweep."""
        if not self._since or now - self._last < self._over_s:
            return
        refused = self._service.context.record.words[REFUSED] - self._before
        what = f"{refused} refused" if self.refuses else "all were served later"
        self._service.context.log.info(f"overload is over after {self._last - self._since:.1f} s: {what}")
        self._since = 0.0
        self._quiet_since = now


def overload_for(service: ConnectionService, queue: QueueLimit) -> Overload | None:
    """Return the bounds of a worker; None where there are none."""
    settings = service.context.settings
    if not (settings.connections_max or settings.requests_max or settings.overload == "refuse"):
        return None
    return Overload(service, queue)


class RefusedConnection(SharedConnection):
    """A connection over the bound: it is answered before it asks."""

    __slots__ = ()

    serves = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.refuse_unparsed(503, "connections_max is reached")
