"""An ASGI application under the WSGI runners (sync, threads): its event loop, and what runs on it.

The loop turns in a thread of its own, begun after the fork: so the runner's thread waits for the
application as it waits for a WSGI one, and what the application does when its response is
complete goes on without holding the client, the runner's thread, or other requests. The lifespan
runs there too. A request is a task with a context of its own (`gwctl.workers.bridge.request`), called
for by the thread that has the connection (`gwctl.workers.bridge.call`).

The loop turns until the process ends, whatever the application does to it
(`gwctl.workers.app.event_loop.keep_turning`).

    under_way()    what runs: requests, the longest first, and what others left behind their responses
    give_up()      cancel it

docs/adr/0015-bridges.md tells why it is so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from contextvars import Context
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakSet

from gwctl.workers.app.event_loop import keep_turning, new_loop
from gwctl.workers.app.own_threads import start_thread
from gwctl.workers.asgi.event_streams import Streams
from gwctl.workers.asgi.request import RECEIVE_BYTES_MAX, AsgiRequest
from gwctl.workers.asgi.scope import Fields, ScopeBuilder
from gwctl.workers.exchange.body_buffer import NO_BODY
from gwctl.workers.observe import request_ids
from gwctl.workers.observe.introspection import Running
from gwctl.workers.wsgi.body_stream import READ_BYTES, FedStream

if TYPE_CHECKING:
    from gwctl.config.model.timeouts import Timeouts
    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.bridge.request import BridgedRequest
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.forwarded import OriginalRequest
    from gwctl.workers.exchange.service import Service
    from gwctl.workers.observe.access_log import AccessLog
    from gwctl.workers.wsgi.call import WsgiCall
    from gwctl.workers.wsgi.environ import Environ

SCOPE: Final = "asgi.scope"
BRIDGE: Final = "gwctl.bridge"
"""Where the scope and the bridge are in what a runner passes around as the environ."""
_END_S: Final = 1.0


class Call(Protocol):
    """A call in progress (`gwctl.workers.bridge.call.BridgedCall`)."""

    request: BridgedRequest | None

    def ring(self) -> None: ...
    def fail(self, status: int) -> None: ...
    def client_lost(self) -> None: ...
    def explain(self, tell: Callable[[], None]) -> None: ...


class AsgiBridge:
    """One per worker process. ``loop`` is the application's."""

    def __init__(
        self, service: Service, balancing: Balancing, extend: Callable[[Any, float], None] | None
    ) -> None:
        """``extend`` gives a request more time; None where requests have no limit."""
        self._service = service
        self._queue = balancing.queue
        self.rates = balancing.rates
        self.extend = extend
        self.loop: asyncio.AbstractEventLoop = new_loop(service.context.settings.loop)
        self._create_task: Callable[..., asyncio.Task[None] | None] = self.loop.create_task
        self._builder = ScopeBuilder(service, extendable=extend is not None)
        self._requests: set[BridgedRequest] = set()  # the loop itself refers to tasks weakly
        self.streams = BridgedStreams(service.context.settings.timeouts, self._requests, self)  # type: ignore[arg-type]
        self._ending = False
        self._thread: threading.Thread | None = None
        self._abandoned = False  # all of them
        self._given_up: WeakSet[asyncio.Task[None]] = WeakSet()
        self._drains = False
        self.current: Call | None = None
        """Under sync, the call in progress."""
        self.bell_fd = -1
        """Where a call under sync is rung; in threads each call has a bell of its own."""

    @property
    def thread_id(self) -> int:
        return self._thread.ident or 0 if self._thread is not None else 0

    def start(self) -> None:
        self._thread = start_thread(self._take_turn, "gwctl-asgi")

    def ring_by_descriptor(self) -> None:
        """Have calls wait for a descriptor, beside which they can watch their client's."""
        self.bell_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def _take_turn(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            keep_turning(
                self.loop, lambda: self._ending or self.loop.is_closed(), self._service.context.throttled
            )
        finally:
            for request in list(self._requests):
                request.far.abort()

    def tell(self, function: Callable[[], None]) -> None:
        """Have ``function`` called in the application's loop, unless that is closed; any thread."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function)

    def end(self) -> None:
        """Cancel what runs, wait for it a moment, and close the loop; that of a worker ends with it."""
        self._ending = True
        thread = self._thread
        if thread is not None and thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._tidy(), self.loop)
            thread.join(2 * _END_S)
        if self._requests or (thread is not None and thread.is_alive()):
            return  # what goes on there rings yet: the number of its bell must not become another's
        if not self.loop.is_closed():
            self.loop.close()
        if self.bell_fd >= 0:
            os.close(self.bell_fd)
            self.bell_fd = -1

    async def _tidy(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END_S)
        await self.loop.shutdown_asyncgens()
        self.loop.stop()

    # ---- what runners ask for; the server loop's thread

    @property
    def notable(self) -> Fields | None:
        """Fields of the request built last that the server itself looks at."""
        return self._builder.notable

    def for_connection(self, exchange: Exchange) -> dict[str, Any]:
        return self._builder.for_connection(exchange)

    def forwarded(self, original: OriginalRequest) -> dict[str, Any]:
        return self._builder.forwarded(original)

    def build(self, exchange: Exchange) -> Environ:
        """Return what a runner passes around as the environ of a request.

        Raises:
            Refused: It is not served.
        """
        scope = self._builder.build(exchange)
        notable = self._builder.notable
        if notable is not None and notable.get(b"upgrade", b"").lower() == b"websocket":
            what = f"{exchange.method} {exchange.target.partition('?')[0]} asks for a WebSocket"
            self._service.context.throttled.warning(
                "websocket",
                f"{what}, and {self._service.context.worker_class} workers have none: served as a plain "
                'request. worker = "asgi" has them',
            )
        return {SCOPE: scope, "wsgi.input": NO_BODY, BRIDGE: self}

    @staticmethod
    def log_access(
        access: AccessLog,
        exchange: Exchange,
        environ: Environ,
        call: WsgiCall,
        seconds: float,
        ended_at: float,
    ) -> None:
        access.add_scope(exchange, call.status, call.sent, seconds, environ[SCOPE], call, ended_at)

    @staticmethod
    def request_id(environ: Environ) -> object:
        """The same of a request's id."""
        return request_ids.of_scope(environ[SCOPE])

    def under_way(self) -> list[Running]:
        """Return what is not over, also behind its response (``thread`` is 0 then)."""
        return [
            Running(each.what(), each.began_at, 0 if each.far.over else each.thread, each.task)
            for each in list(self._requests)
        ]

    @property
    def background(self) -> int:
        """How many requests are not over although nobody waits for their response any more."""
        if self._abandoned:
            return 0
        return sum([each.finished and each.task not in self._given_up for each in list(self._requests)])

    def give_up(self, clean_up_s: float) -> None:
        """Cancel all requests; after ``clean_up_s`` nobody waits for them any more."""
        self.tell(self._cancel_all)
        self._service.context.loop.call_later(clean_up_s, self._abandon_all)

    def abandon(self, task: asyncio.Task[None]) -> None:
        """Wait no more for a request that was given up, if its ``task`` still runs."""
        self._given_up.add(task)
        self._service.check_drained()

    def _abandon_all(self) -> None:
        self._abandoned = True
        self._service.check_drained()

    def check_in_call(self, now: float) -> None:
        """Under sync, in the midst of a call: do what the sweep does for streams, and hear of a drain."""
        notice = self._service.context.notice
        drains = notice()  # the order waits until the call is over
        if drains and not self._drains:
            notice.begin()
            self.streams.drain(now, ending=True)
        self._drains = drains
        self.streams.check(now)

    def interrupt(self) -> None:
        """Under sync: end the call in progress, as if its client were gone. For a signal's handler."""
        current = self.current
        if current is not None:
            current.client_lost()

    def explain(self, tell: Callable[[], None]) -> None:
        """Under sync: have the call in progress ``tell`` what it is at. A signal's handler may call this."""
        current = self.current
        if current is not None:
            current.explain(tell)

    def _cancel_all(self) -> None:
        for request in list(self._requests):
            if request.task is not None:
                request.task.cancel()

    # ---- what calls ask for; any thread

    def begin(self, request: BridgedRequest, context: Context) -> None:
        """Have ``request`` run in a copy of ``context``."""
        self.loop.call_soon_threadsafe(self._begin, request, context=context)

    def _begin(self, request: BridgedRequest) -> None:
        self._requests.add(request)
        request.far.adjust_reading()
        coroutine = request.run(self._queue, self._ended)
        try:
            request.task = self._create_task(coroutine)
        except BaseException as error:  # noqa: BLE001 - the application's task factory may raise anything
            request.has_no_task(coroutine, error, self.loop, self._ended)
        else:
            if request.task is None:
                request.has_no_task(coroutine, None, self.loop, self._ended)

    def _ended(self, request: AsgiRequest) -> None:
        self._requests.discard(request)
        request.far.let_go()  # type: ignore[attr-defined]
        if self._service.draining:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                self._service.context.loop.call_soon_threadsafe(self._service.check_drained)


class BridgedStreams(Streams):
    """Looks after the event streams of the application's loop, asked from another thread."""

    def __init__(self, timeouts: Timeouts, requests: set[AsgiRequest], bridge: AsgiBridge) -> None:
        super().__init__(timeouts, requests, bridge.loop)
        self._bridge = bridge

    def drain(self, now: float, *, ending: bool) -> None:
        self._bridge.tell(partial(super().drain, now, ending=ending))

    def stay(self) -> None:
        self._bridge.tell(super().stay)

    def check(self, now: float) -> None:
        self._bridge.tell(partial(super().check, now))


class BridgedStream(FedStream):
    """The body of a request that is called before it is complete (``body_buffering = false``).

    The connection feeds it, in whatever thread reads the socket; the application's loop takes.
    """

    def __init__(self, bridge: AsgiBridge, service: Service, exchange: Exchange) -> None:
        super().__init__(service, exchange)
        self._bridge = bridge
        self._bridged: Call | None = None

    def attach(self, call: Call | None) -> None:
        """The call begins, or is over."""
        self._bridged = call

    def feed(self, block: bytes) -> None:
        super().feed(block)
        self._tell()

    def body_end(self) -> None:
        super().body_end()
        self._tell()

    def fail(self, status: int) -> bool:
        super().fail(status)
        if self._bridged is not None and self.failure is not None:
            self._bridged.fail(self.failure)
        return True

    def _tell(self) -> None:
        if self._bridged is not None and self._bridged.request is not None:
            self._bridge.tell(self._bridged.request.far.adjust_reading)

    def _let_go(self) -> None:
        super()._let_go()
        if self._bridged is not None:
            self._bridged.ring()  # under sync it is the call that reads

    def pour(self, request: AsgiRequest) -> None:
        buffer = bytearray(READ_BYTES)
        while request.waiting_bytes <= RECEIVE_BYTES_MAX and not self.closed:
            if not (self.waiting or self._ended):
                return
            size = self.readinto(buffer)
            if not size:
                self.close()
                request.body_end()
                return
            request.feed(bytes(memoryview(buffer)[:size]))

    def expires_in(self) -> float:
        """Return after how many seconds the client is too late with more of it."""
        limit_s = self._service.context.settings.timeouts.body_timeout_s
        return max(0.0, self._exchange.since + limit_s - monotonic())
