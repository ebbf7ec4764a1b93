"""From a parsed head to the scope and task of an ASGI request, or to a WebSocket."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from gwctl.config.model.request_limits import RequestLimits
from gwctl.workers.asgi.departures import Departures
from gwctl.workers.asgi.event_streams import Streams
from gwctl.workers.asgi.request import RECEIVE_BYTES_MAX, AsgiRequest
from gwctl.workers.asgi.scope import BODY_FIELDS, Fields, Scope, ScopeBuilder
from gwctl.workers.balancing.queue_limit import REQUEST_START
from gwctl.workers.drain import LAST_WORDS_S
from gwctl.workers.http1.request_rules import frame_body, wants_continue
from gwctl.workers.http1.states import BUSY
from gwctl.workers.observe.counters import Counters
from gwctl.workers.observe.introspection import BEGAN_AT, Running
from gwctl.workers.runners.asgi_deadlines import RequestClock, give_up
from gwctl.workers.websocket.handshake import asks_for_websocket

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gwctl.workers.http1.connection import ConnectionBase
    from gwctl.workers.http1.forwarded import Facts
    from gwctl.workers.server import Server

_BEGAN_AT: Final = attrgetter("began_at")


class AsgiRunner:
    """One per worker process."""

    accept_batch = 16
    bridge: None = None  # its application needs none

    def __init__(self, server: Server) -> None:
        self.server = server
        self._queue_limit = server.queue
        self._requests: set[AsgiRequest] = set()  # the loop itself refers to tasks weakly
        self._forsaken: set[AsgiRequest] = set()  # of these, who was cancelled and goes on all the same
        limits = RequestLimits(server.settings.timeouts, "asgi", server.settings.root_path)
        self.clock = RequestClock(server, self._requests, limits) if limits.shortest_s else None
        self._builder = ScopeBuilder(server, extendable=self.clock is not None)
        self._departures = Departures(server, self._requests)
        self.streams = Streams(server, self._requests, server.loop)
        self._create_task: Callable[..., asyncio.Task[None] | None] = server.loop.create_task
        self.when_ended: Callable[[Any], None] = self.ended
        server.counters.append(Counters())

    @property
    def active(self) -> int:
        """Requests whose task runs, and is waited for."""
        return len(self._requests) - len(self._forsaken)

    @property
    def background(self) -> int:
        """Requests that go on behind their response: `active` has them."""
        return 0

    def under_way(self) -> list[Running]:
        return [Running(each.what(), each.began_at, 0, each.task) for each in self._requests]

    def current(self) -> Running | None:
        """The request that has the loop at this moment, in whatever task; for a signal's handler to ask."""
        began_at = BEGAN_AT.get()
        for each in self._requests:
            if each.began_at == began_at:
                return Running(each.what(), began_at, 0, each.task)
        return None

    def longest(self) -> Running | None:
        """The request that has run longest. Asked every second, whatever number there are."""
        waited_for = self._requests - self._forsaken if self._forsaken else self._requests
        first = min(waited_for, key=_BEGAN_AT, default=None)
        return None if first is None else Running(first.what(), first.began_at, 0, first.task)

    def batch_begins(self) -> None:
        """Nobody need watch."""

    def relieve(self) -> None:
        """Nothing waits: each request has a task at once."""

    def look(self, now: float) -> None:
        """See to clients that have left, to those a drain sends away, and to tasks that never ran."""
        for request in [each for each in self._requests if each.task is not None and each.task.done()]:
            request.never_began(self.when_ended)
        self._departures.look(now)
        self.streams.look(now)

    def start(self) -> None:
        """Nothing to prepare: tasks run on the server's loop."""

    def end(self) -> None:
        """Tasks end with the loop, or are cancelled with it."""

    def serving(self) -> None:
        """Nothing to hide: the loop is the application's too."""

    def stopped(self) -> None:
        """As for `serving`."""

    def reserve(self) -> None:
        """Nothing but the connection's own descriptor is needed."""

    def release(self) -> None:
        """Nothing was reserved."""

    def accepted(self, connection: ConnectionBase) -> None:
        """Of no concern before its transport stands."""

    def connected(self, connection: ConnectionBase) -> None:
        connection.base = self._builder.for_connection(connection)

    def forwarded(self, facts: Facts) -> Scope:
        """Return what a trusted proxy's word changes in the scope that a connection's requests share."""
        return self._builder.forwarded(facts)

    def begin(self, connection: ConnectionBase) -> None:
        """Take the request in ``connection``'s parser.

        Raises:
            Refused: It is not served.
        """
        scope = self._builder.build(connection)
        notable = self._builder.notable
        if self._queue_limit.behind or (notable is not None and REQUEST_START in notable):
            self._queue_limit.arrives(connection, notable)
        elif connection.arrived_at:
            connection.arrived_at = 0.0  # what was said of the request before
        if notable is not None and not notable.keys().isdisjoint(BODY_FIELDS):
            self._begin_notable(connection, scope, notable)
            return
        connection.parser.reset()
        self._run(connection, AsgiRequest(self.server, connection, scope, False))

    def _begin_notable(self, connection: ConnectionBase, scope: Scope, notable: Fields) -> None:
        framer = frame_body(
            notable.get(b"content-length"),
            notable.get(b"transfer-encoding"),
            connection.http11,
            self.server.limits.body_bytes_max,
        )
        if framer is not None:
            self.server.body_budget.check_memory()
        expect = notable.get(b"expect")
        expecting = expect is not None and wants_continue(expect, connection.http11)
        connection.parser.reset()
        if (
            framer is None
            and b"upgrade" in notable
            and connection.http11
            and not connection.eof
            and asks_for_websocket(connection.method, scope["headers"])
        ):
            self.server.upgrade(connection, scope)
            return
        request = AsgiRequest(self.server, connection, scope, framer is not None)
        body = None if framer is None else connection.body_at_hand(framer, RECEIVE_BYTES_MAX)
        if body is not None:
            request.has_come(body)
        self._run(connection, request)
        if framer is not None and body is None:
            connection.read_body(framer, request, BUSY, expecting)

    def _run(self, connection: ConnectionBase, request: AsgiRequest) -> None:
        connection.state = BUSY
        connection.request = request
        self._requests.add(request)
        coroutine = request.run(self.when_ended)
        try:
            request.task = self._create_task(coroutine)
        except BaseException as error:  # noqa: BLE001 - the application's task factory may raise anything
            request.has_no_task(coroutine, error, self.server.loop, self.when_ended)
        else:
            if request.task is None:
                request.has_no_task(coroutine, None, self.server.loop, self.when_ended)

    def give_up(self, why: str) -> None:
        """Cancel all tasks. Who has no byte of a response is answered with 503; the others' are cut."""
        for request in list(self._requests):
            give_up(request, 503, why, LAST_WORDS_S)

    def abandon(self, request: AsgiRequest) -> None:
        """Wait no more for a request that was given up, if its task still runs."""
        if request in self._requests:
            self._forsaken.add(request)
            if self.server.overload is not None:
                self.server.overload.begin_held()
            if self.server.draining:
                self.server.check_drained()

    # ---- news of the connection

    def ended(self, request: AsgiRequest) -> None:
        """The request's task is over."""
        self._requests.discard(request)
        self._forsaken.discard(request)
        if request.waiting_bytes:
            self.server.body_budget.memory_left += request.waiting_bytes  # it was not received
            request.waiting_bytes = 0
        if self.server.draining:
            self.server.check_drained()

    def has_responded(self, connection: ConnectionBase) -> bool:
        request: AsgiRequest | None = connection.request
        return request is not None and request.started

    def body_failed(self, connection: ConnectionBase, status: int) -> bool:  # noqa: ARG002 - as in WsgiRunner
        """Tell the application what is wrong with its body: ASGI has no message for that."""
        return False

    def abandoned(self, connection: ConnectionBase) -> None:
        """The connection is gone or about to go: tell the application."""
        if connection.request is not None:
            connection.request.detach()
            connection.request = None

    def refused(self, connection: ConnectionBase) -> None:
        """The connection answers for itself; that response is the one that counts."""
        if connection.request is not None:
            connection.request.finished = True
            self.abandoned(connection)

    def client_finished(self, connection: ConnectionBase) -> None:
        if connection.request is not None:
            connection.request.wake()

    def disconnected(self, connection: ConnectionBase) -> None:
        self.abandoned(connection)

    def writable(self, connection: ConnectionBase) -> None:
        if connection.request is not None:
            connection.request.wake()

    def body_complete(self, connection: ConnectionBase) -> None:
        """Not used: an ASGI request runs before its body is complete."""
        raise NotImplementedError

    def rest(self, connection: ConnectionBase) -> int:
        """How much of a block waits in send() for the client."""
        request: AsgiRequest | None = connection.request
        return 0 if request is None else request.rest

    def sent(self, connection: ConnectionBase) -> int:
        """How much of the present response was written."""
        request: AsgiRequest | None = connection.request
        return 0 if request is None else request.sent + request.rest

    def sink_is_full(self, connection: ConnectionBase) -> bool:
        request: AsgiRequest | None = connection.request
        if request is None or not request.waiting_bytes:
            return False
        return request.waiting_bytes > RECEIVE_BYTES_MAX or self.server.body_budget.memory_left <= 0
