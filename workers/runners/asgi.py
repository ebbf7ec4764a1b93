"""From a parsed head to the scope and task of an ASGI request, or to a WebSocket."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from gwctl.config.model.request_limits import RequestLimits
from gwctl.workers.asgi.departures import Departures
from gwctl.workers.asgi.event_streams import Streams
from gwctl.workers.asgi.request import RECEIVE_BYTES_MAX, AsgiRequest, IdentifiedRequest
from gwctl.workers.asgi.scope import BODY_FIELDS, Fields, Scope, ScopeBuilder
from gwctl.workers.balancing.queue_limit import REQUEST_START
from gwctl.workers.drain import LAST_WORDS_S
from gwctl.workers.exchange.outbox import Outbox
from gwctl.workers.exchange.runner import Runner
from gwctl.workers.exchange.states import BUSY
from gwctl.workers.observe.introspection import Running
from gwctl.workers.observe.request_ids import current_began_at
from gwctl.workers.runners.asgi_deadlines import AsgiClock, give_up
from gwctl.workers.websocket.handshake import asks_for_websocket

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.forwarded import OriginalRequest
    from gwctl.workers.exchange.service import Service

_BEGAN_AT: Final = attrgetter("began_at")


class AsgiRunner(Runner):
    """One per worker process."""

    def __init__(self, service: Service, balancing: Balancing) -> None:
        context = service.context
        super().__init__(Outbox(context.loop, context.neutral_context))
        self.service = service
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
        identified = settings.request_id_header and settings.request_id_in_response
        self._new_request: type[AsgiRequest] = IdentifiedRequest if identified else AsgiRequest
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
        began_at = current_began_at()  # tasks that the application begins share it
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

    def on_connect(self, exchange: Exchange) -> None:
        exchange.base = self._builder.for_connection(exchange)
        exchange.respond_in_loop()

    def on_stream(self, exchange: Exchange, connection: Exchange) -> None:
        exchange.base = connection.base
        exchange.respond_in_loop()

    def forwarded(self, original: OriginalRequest) -> Scope:
        """Return what a trusted proxy's word changes in the scope that a connection's requests share."""
        return self._builder.forwarded(original)

    def begin(self, exchange: Exchange) -> None:
        """Take the request in ``exchange``.

        Raises:
            Refused: It is not served.
        """
        scope = self._builder.build(exchange)
        notable = self._builder.notable
        if self._queue_limit.behind or (notable is not None and REQUEST_START in notable):
            self._queue_limit.arrives(exchange, notable)
        elif exchange.arrived_at:
            exchange.arrived_at = 0.0  # what was said of the request before
        if (
            notable is not None and not notable.keys().isdisjoint(BODY_FIELDS)
        ) or not exchange.announces_bodies:
            self._begin_notable(exchange, scope, notable or {})
            return
        exchange.fields.reset()
        self._run(exchange, self._new_request(self.service, exchange, scope, False))

    def _begin_notable(self, exchange: Exchange, scope: Scope, notable: Fields) -> None:
        service = self.service
        if exchange.tunnels:
            service.upgrade(exchange, scope)
            return
        body = exchange.take_body(notable, service.context.limits.body_bytes_max, RECEIVE_BYTES_MAX)
        has_body = body != b""
        if has_body:
            service.body_budget.check_memory()
        elif (
            b"upgrade" in notable
            and exchange.upgrades
            and exchange.http11
            and not exchange.eof
            and asks_for_websocket(exchange.method, scope["headers"])
        ):
            service.upgrade(exchange, scope)
            return
        request = self._new_request(service, exchange, scope, has_body)
        if body:
            request.has_come(body)
        self._run(exchange, request)
        if body is None:
            exchange.read_body(request, BUSY)

    def _run(self, exchange: Exchange, request: AsgiRequest) -> None:
        exchange.state = BUSY
        exchange.request = request
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
            give_up(self.service, request, 503, why, LAST_WORDS_S, self.abandon)

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
        if self._abandoned:
            self._abandoned.discard(request)
        if request.waiting_bytes:
            self.service.body_budget.memory_left += request.waiting_bytes  # it was not received
            request.waiting_bytes = 0
        if self.service.draining:
            self.service.check_drained()
        if self._tell_of_room is not None:
            self._tell_of_room()

    def has_responded(self, exchange: Exchange) -> bool:
        request: AsgiRequest | None = exchange.request
        return request is not None and request.started

    def refused(self, exchange: Exchange) -> None:
        """The connection answers for itself; that response is the one that counts."""
        if exchange.request is not None:
            exchange.request.finished = True
            exchange.abandon()

    def on_client_finished(self, exchange: Exchange) -> None:
        if exchange.request is not None:
            exchange.request.wake()

    def on_disconnect(self, exchange: Exchange) -> None:
        exchange.abandon()
        exchange.let_go()  # a request that goes on has what it needs

    def rest(self, exchange: Exchange) -> int:
        """How much of a block waits in send() for the client."""
        request: AsgiRequest | None = exchange.request
        return 0 if request is None else request.rest

    def sent(self, exchange: Exchange) -> int:
        """How much of the present response was written."""
        request: AsgiRequest | None = exchange.request
        return 0 if request is None else request.sent + request.rest
