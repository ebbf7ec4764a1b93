"""The call of an ASGI application in a WSGI runner: it waits for what the application has to say.

`BridgedCall.run` begins the request in the application's loop (`gwctl.workers.bridge.event_loop`) and
writes its response to the connection, as `gwctl.workers.http1.call_response` says, until it is complete. It
is over, and never later, when

    the response is complete, or ended early (500, or the connection is cut)
    the client is gone
    the request is given up: its time is over, or its body does not come (`give_up`, `fail`)
    the application's loop ends

While it waits the client is watched. In threads the server's loop does that. Under sync that loop
stands still, so the call waits in poll() for both, and does what the loop would: it reads what of
the request's body the application has room for, answers TLS, and notices that the client has
left. What is not part of the request is left in the socket; of a connection that carries others beside
it all is read, and begins when the call is over.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from contextvars import copy_context
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Final

from gwctl.workers.asgi.departures import SILENT_MAX_S
from gwctl.workers.bridge.event_loop import BRIDGE, SCOPE
from gwctl.workers.bridge.request import BridgedConnection, BridgedRequest, FileSource
from gwctl.workers.observe import request_ids
from gwctl.workers.observe.errors import ClientGone
from gwctl.workers.wsgi.call import WHOLE, WsgiCall

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gwctl.workers.bridge.event_loop import AsgiBridge, BridgedStream
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.service import Service
    from gwctl.workers.wsgi.environ import Environ

_LEFT: Final = getattr(select, "POLLRDHUP", 0)
"""The client sends no more, whatever of it is unread."""
_GONE: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL
_READ_BYTES: Final = 65536
_NOBODY: Final = 0
_NOT: Final = -1


class QueueBell:
    """Rung by any thread, waited for by one."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        self._queue.put(None)

    def wait(self, timeout_s: float | None) -> bool:
        """Return whether it was rung."""
        try:
            self._queue.get(timeout=timeout_s)
            while not self._queue.empty():
                self._queue.get()
        except Empty:
            return False
        return True


class DescriptorBell:
    """The same as a descriptor, which is readable when it was rung."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def ring(self) -> None:
        if self.fd >= 0:
            os.eventfd_write(self.fd, 1)

    def hear(self) -> None:
        """Take it that it was rung, if it was."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)


class BridgedCall(WsgiCall):
    """One request of an ASGI application."""

    __slots__ = (
        "_bell",
        "_bridge",
        "_carrier",
        "_check_at",
        "_connection",
        "_given",
        "_lost",
        "_passed_at",
        "_scope",
        "_shut_at",
        "_tell",
        "_watched",
        "request",
    )

    def __init__(self, service: Service, exchange: Exchange, environ: Environ) -> None:
        super().__init__(service, exchange, environ)
        self._connection: Any = exchange if exchange.carrier is None else None  # of its own
        self._carrier: Any = exchange.carrier
        bridge: AsgiBridge = environ[BRIDGE]
        self._bridge = bridge
        self._scope = environ[SCOPE]
        self._bell: Any = QueueBell() if bridge.bell_fd < 0 else DescriptorBell(bridge.bell_fd)
        self._given = _NOT
        self._lost = False
        self._shut_at = self._passed_at = 0.0
        self._check_at = inf if bridge.bell_fd < 0 else monotonic() + service.sweep_s
        self._watched = True
        self._tell: Callable[[], None] | None = None
        self.request: BridgedRequest | None = None

    @property
    def response_headers(self) -> Any:
        return self.request.response_headers if self.request is not None else ()

    @property
    def task(self) -> asyncio.Task[None] | None:
        return self.request.task if self.request is not None else None

    @property
    def cut_shows(self) -> bool:
        request = self.request
        return request is not None and request.cut_shows and not self.response.client_gone

    # ---- any thread

    def what(self) -> str:
        return request_ids.named(self.exchange.what(), request_ids.of_scope(self._scope))

    def ring(self) -> None:
        self._bell.ring()

    def give_up(self, status: int) -> bool:
        """Cancel the application's task and answer with ``status`` if nothing was sent yet, else cut."""
        self._given = status  # first: that the task ends is not the application's word then
        if self.request is not None:
            self._bridge.tell(self.request.cancel)
        self._bell.ring()
        return True

    @property
    def given_up(self) -> bool:
        return self._given != _NOT

    def fail(self, status: int) -> None:
        """The body will not be complete: answer ``status`` unless something was sent; 0: nobody is there."""
        self._given = status
        self._tell_left()
        self._bell.ring()

    def client_finished(self) -> None:
        """The client sends no more."""
        self._shut_at = monotonic()
        if self.request is not None:
            self._bridge.tell(self.request.far.finish_reading)
        self._bell.ring()

    def client_lost(self) -> None:
        """The connection is gone."""
        self._lost = True
        self._bell.ring()

    def explain(self, tell: Callable[[], None]) -> None:
        """Have the call ``tell`` the master what the worker is at. A signal's handler may call this."""
        self._tell = tell
        self._bell.ring()

    def _extend(self, seconds: float) -> None:
        """Let this request take ``seconds`` more from now."""
        assert self._bridge.extend is not None
        self._bridge.extend(self, seconds)

    # ---- the call

    def run(self) -> None:
        self.response.call = self  # from here on the server's loop tells of the client
        self._bridge.current = self
        try:
            self._converse()
        except ClientGone:
            self._client_is_gone()
        except BaseException as error:  # noqa: BLE001 - a mistake here, or what a signal's handler raises
            self._failed(error)
            self._tell_left()
        self.response.call = None
        self._bridge.current = None
        self._ended = True
        self.ended_at = monotonic()
        self._end_body()

    def _converse(self) -> None:
        source = self._source()
        extend = self._extend if self._bridge.extend is not None else None
        far = BridgedConnection(self._service, self.exchange, self._bell, source)
        request = BridgedRequest(self._service, far, self._scope, source is not None, extend)
        self.request = request
        self._prepare()
        if self.exchange.lost:
            raise ClientGone
        if self._given != _NOT:
            self._give_up(far)
            return
        self._bridge.begin(request, copy_context())
        while True:
            over = far.over  # before what is taken: nothing follows it
            pieces = far.pipe.take()
            if pieces:
                self._pass_on(pieces)
            if over and not far.is_cut:
                break
            if self._given != _NOT:
                self._give_up(far)
                return
            if over:
                break
            if self._lost:
                raise ClientGone
            if far.write_paused:
                self._bridge.tell(far.resume)
            if not pieces:
                self._await_news()
        self.status, self.sent = request.status, request.sent
        self.aborted = far.is_cut
        self.keep_alive = far.goes_on and not far.is_cut

    def _source(self) -> Any:
        """Return what gives the body; None: there is none."""
        return None

    def _prepare(self) -> None:
        """What there is to do before the application is called."""

    def _end_body(self) -> None:
        """What there is to do when the call is over."""

    def _pass_on(self, pieces: list[Any]) -> None:
        if not self.head_sent and self.response.begins(pieces):
            self.head_sent = WHOLE  # for what this call could say of it
            self.exchange.expecting = False  # too late to ask for the body
        self.response.pass_on(pieces)
        self._passed_at = now = monotonic()
        if now >= self._check_at:
            self._check(now)

    def _give_up(self, far: BridgedConnection) -> None:
        """End without the application's word, unless it has had the last one meanwhile."""
        whole = far.over and not far.is_cut  # before the rest is taken: what comes later is dropped
        pieces = far.pipe.close()
        status = self._given
        request = self.request
        assert request is not None
        if whole:
            if pieces:
                self._pass_on(pieces)
            self.status, self.sent = request.status, request.sent
        elif self.head_sent or status == _NOBODY:
            self.status, self.sent = request.status, request.sent
            self.aborted = True
        else:
            self._answer(status)
        self.keep_alive = False

    def _client_is_gone(self) -> None:
        self._tell_left()
        request = self.request
        if request is not None:
            request.far.pipe.close()
            self.status, self.sent = request.status, request.sent
        self.keep_alive = False
        self.aborted = True

    def _tell_left(self) -> None:
        if self.request is not None:
            self._bridge.tell(self.request.leave)

    # ---- waiting

    def _await_news(self) -> None:
        """Wait until there may be something to do."""
        if self._bridge.bell_fd < 0:
            if not self._bell.wait(self._patience_s(reads=False)):
                self._too_late()
        elif self._carrier is not None:
            self._await_news_beside_others()
        else:
            self._await_news_alone()
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    def _await_news_beside_others(self) -> None:
        """Do so under sync for one of the exchanges of a connection."""
        if self._take_body():
            return
        patience_s = self._patience_s(reads=True)
        wait_s = self._service.sweep_s if patience_s is None else min(patience_s, self._service.sweep_s)
        if not self._carrier.poll(wait_s, self._bridge.bell_fd):
            self.client_lost()
        self._bell.hear()
        now = monotonic()
        if patience_s is not None and self._patience_s(reads=True) == 0.0:
            self._too_late()
        elif now >= self._check_at:
            self._check(now)

    def _take_body(self) -> bool:
        """Take what has come of the body and there was no room for; return whether there was anything."""
        return False

    def _await_news_alone(self) -> None:
        """Do so under sync for an exchange that has its connection to itself."""
        reads = self._reads()
        tls = self._connection.tls
        if reads and tls is not None and tls.pump(b""):
            return
        poll = select.poll()
        poll.register(self._bridge.bell_fd, select.POLLIN)
        if self._watched:
            left = 0 if self._shut_at else _LEFT
            poll.register(self._connection.sock, left | (select.POLLIN if reads else 0))
        patience_s = self._patience_s(reads)
        wait_s = self._service.sweep_s if patience_s is None else min(patience_s, self._service.sweep_s)
        found = poll.poll(wait_s * 1000)
        now = monotonic()
        if not found and patience_s is not None and patience_s <= wait_s:
            self._too_late()
        elif now >= self._check_at:
            self._check(now)
        for fd, events in found:
            if fd == self._bridge.bell_fd:
                self._bell.hear()
            else:
                self._see(events, reads)

    def _check(self, now: float) -> None:
        """Do what the server's sweep would, were its loop not held by this call."""
        self._check_at = now + self._service.sweep_s
        self._bridge.check_in_call(now)
        if self._carrier is not None:
            self._carrier.sweep(now)

    def _reads(self) -> bool:
        """Tell whether the socket is to be read: TLS has its ends in what is read."""
        connection = self._connection
        tls = connection.tls
        if self._shut_at or not self._watched or connection.read_paused:
            return False
        return tls is not None or not _LEFT

    def _patience_s(self, reads: bool) -> float | None:  # noqa: ARG002 - for those with a body
        """Return how long to wait at most: a client that has left and is sent nothing holds no thread."""
        if not self._shut_at:
            return None
        return max(0.0, max(self._shut_at, self._passed_at) + SILENT_MAX_S - monotonic())

    def _too_late(self) -> None:
        """That was too long."""
        self._lost = True

    def _see(self, events: int, reads: bool) -> None:
        """Something has happened on the client's socket."""
        if events & select.POLLIN and reads:
            self._read()
        elif events & _GONE:
            self._watched = False
            self.client_lost()
        elif events & _LEFT:
            self._no_more()

    def _no_more(self) -> None:
        """The client has closed, or shut down its side: it may wait for the response all the same."""
        self.client_finished()

    def _read(self) -> None:
        """Do what the server's loop does when there is input."""
        connection = self._connection
        tls = connection.tls
        try:
            data = connection.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.client_lost()
            return
        if data and tls is not None:
            tls.pump(data)
        elif data:
            connection.data_received(data)
        if not data or (tls is not None and tls.ended):
            self._no_more()


class BridgedBodyCall(BridgedCall):
    """The same with a body: received already, or on its way."""

    __slots__ = ("_input", "_stream")

    has_body: ClassVar[bool] = True

    def __init__(self, service: Service, exchange: Exchange, environ: Environ) -> None:
        super().__init__(service, exchange, environ)
        self._input = environ["wsgi.input"]
        raw = getattr(self._input, "raw", None)
        self._stream: BridgedStream | None = raw if hasattr(raw, "attach") else None

    def _source(self) -> Any:
        return self._stream if self._stream is not None else FileSource(self._input)

    def _prepare(self) -> None:
        if self._stream is not None:
            exchange = self.exchange
            exchange.window_at = monotonic()  # others' time is over
            exchange.window_bytes = exchange.received
            self._stream.attach(self)
            if self._stream.failure is not None:
                self.fail(self._stream.failure)

    def _end_body(self) -> None:
        if self._stream is not None:
            self._stream.attach(None)
            if self._stream.failure is not None:
                self.keep_alive = False
        if self.request is not None:
            self._bridge.tell(self.request.far.close_source)
        self._service.body_budget.release(self._input)

    def _check(self, now: float) -> None:
        super()._check(now)
        if self._connection is not None:
            self._bridge.rates.check(self._connection, now)

    def _take_body(self) -> bool:
        exchange, stream = self.exchange, self._stream
        if stream is None or not exchange.receiving or stream.failure is not None:
            return False
        if exchange.read_paused and not stream.full:
            exchange.adjust_reading()  # the application has taken some of it
        return exchange.catch_up()

    def _reads(self) -> bool:
        connection = self._connection
        stream = self._stream
        if stream is None or connection.framer is None or stream.failure is not None:
            return super()._reads()
        if connection.read_paused and not stream.full:
            connection.catch_up()
            connection.adjust_reading()  # the application has taken some of it
        return self._watched and not self._shut_at and not connection.read_paused

    def _patience_s(self, reads: bool) -> float | None:
        exchange = self.exchange
        if self._stream is None or not reads or not exchange.receiving or exchange.expecting:
            return super()._patience_s(reads)
        if self._carrier is not None and (exchange.read_paused or self._carrier.is_full):
            return super()._patience_s(reads)  # it is we who keep it from coming
        return self._stream.expires_in()

    def _too_late(self) -> None:
        if self._stream is None or self._shut_at:
            super()._too_late()
        else:
            self._stream.fail(408)
