"""From a parsed head to the scope and task of an ASGI request, or to a WebSocket."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from gwctl.config.model.request_limits import RequestLimits
from gwctl.workers.asgi.departures import Departures
from gwctl.workers.asgi.event_streams import Streams
from gwctl.workers.asgi.request import RECEIVE_BYTES_MAX, AsgiRequest
from gwctl.workers.asgi.scope import BODY_FIELDS, Fields, Scope, ScopeBuilder
from gwctl.workers.balancing.queue_limit import REQUEST_START
from gwctl.workers.drain import LAST_WORDS_S
from gwctl.workers.http1.outbox import Outbox
from gwctl.workers.http1.request_rules import frame_body, wants_continue
from gwctl.workers.http1.runner import Runner
from gwctl.workers.http1.states import BUSY
from gwctl.workers.observe.introspection import BEGAN_AT, Running
from gwctl.workers.runners.asgi_deadlines import AsgiClock, give_up
from gwctl.workers.websocket.handshake import asks_for_websocket

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.http1.connection import ConnectionBase
    from gwctl.workers.http1.forwarded import OriginalRequest
    from gwctl.workers.http1.service import Service

_BEGAN_AT: Final = attrgetter("began_at")


class AsgiRunner(Runner):
    """One per worker process."""

    def __init__(self, service: Service, balancing: Balancing) -> None:
        context = service.context
        super().__init__(service, Outbox(context.loop, context.neutral_context))
        self._queue_limit = balancing.queue
        self._requests: set[AsgiRequest] = set()  # the loop itself refers to tasks weakly
        self._abandoned: set[AsgiRequest] = set()  # of these, who was cancelled and goes on all the same
        settings = context.settings
        limits = RequestLimits(settings.timeouts, context.worker_class, settings.root_path)
        if limits.shortest_s:
            self.clock = AsgiClock(service, self._requests, limits, self.abandon)
        self._builder = ScopeBuilder(service, extendable=self.clock is not None)
        self._departures = Departures(service, self._requests)
        self._streams = Streams(settings.timeouts, self._requests, context.loop)
        self._create_task: Callable[..., asyncio.Task[None] | None] = context.loop.create_task
        self._tell_of_room: Callable[[], None] | None = None
        self._when_ended: Callable[[AsgiRequest], None] = self.ended

    @property
    def active(self) -> int:
        """Requests whose task runs, and is waited for."""
        return len(self._requests) - len(self._abandoned)

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
        waited_for = self._requests - self._abandoned if self._abandoned else self._requests
        first = min(waited_for, key=_BEGAN_AT, default=None)
        return None if first is None else Running(first.what(), first.began_at, 0, first.task)

    def on_sweep(self, now: float) -> None:
        """See to clients that have left, to those a drain sends away, and to tasks that never ran."""
        for request in [each for each in self._requests if each.task is not None and each.task.done()]:
            request.never_began(self._when_ended)
        self._departures.check(now)
        self._streams.check(now)

    def on_drain(self, now: float, *, ending: bool) -> None:
        self._streams.drain(now, ending=ending)

    def on_stay(self) -> None:
        self._streams.stay()

    def on_room(self, tell: Callable[[], None]) -> None:
        self._tell_of_room = tell

    def on_connect(self, connection: ConnectionBase) -> None:
        connection.base = self._builder.for_connection(connection)

    def forwarded(self, original: OriginalRequest) -> Scope:
        """Return what a trusted proxy's word changes in the scope that a connection's requests share."""
        return self._builder.forwarded(original)

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
        self._run(connection, AsgiRequest(self.service, connection, scope, False))

    def _begin_notable(self, connection: ConnectionBase, scope: Scope, notable: Fields) -> None:
        framer = frame_body(
            notable.get(b"content-length"),
            notable.get(b"transfer-encoding"),
            connection.http11,
            self.service.context.limits.body_bytes_max,
        )
        if framer is not None:
            self.service.body_budget.check_memory()
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
            self.service.upgrade(connection, scope)
            return
        request = AsgiRequest(self.service, connection, scope, framer is not None)
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
        coroutine = request.run(self._queue_limit, self._when_ended)
        try:
            request.task = self._create_task(coroutine)
        except BaseException as error:  # noqa: BLE001 - the application's task factory may raise anything
            request.has_no_task(coroutine, error, self.service.context.loop, self._when_ended)
        else:
            if request.task is None:
                request.has_no_task(coroutine, None, self.service.context.loop, self._when_ended)

    def give_up(self, why: str) -> None:
        """Cancel all tasks. Who has no byte of a response is answered with 503; the others' are cut."""
        for request in list(self._requests):
            give_up(request, 503, why, LAST_WORDS_S, self.abandon)

    def abandon(self, request: AsgiRequest) -> None:
        """Wait no more for a request that was given up, if its task still runs."""
        if request in self._requests:
            self._abandoned.add(request)
            if self._tell_of_room is not None:
                self._tell_of_room()
            if self.service.draining:
                self.service.check_drained()

    # ---- news of the connection

    def ended(self, request: AsgiRequest) -> None:
        """The request's task is over."""
        self._requests.discard(request)
        self._abandoned.discard(request)
        if request.waiting_bytes:
            self.service.body_budget.memory_left += request.waiting_bytes  # it was not received
            request.waiting_bytes = 0
        if self.service.draining:
            self.service.check_drained()
        if self._tell_of_room is not None:
            self._tell_of_room()

    def has_responded(self, connection: ConnectionBase) -> bool:
        request: AsgiRequest | None = connection.request
        return request is not None and request.started

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

    def on_client_finished(self, connection: ConnectionBase) -> None:
        if connection.request is not None:
            connection.request.wake()

    def on_disconnect(self, connection: ConnectionBase) -> None:
        self.abandoned(connection)

    def on_writable(self, connection: ConnectionBase) -> None:
        if connection.request is not None:
            connection.request.wake()

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
        return request.waiting_bytes > RECEIVE_BYTES_MAX or self.service.body_budget.memory_left <= 0
