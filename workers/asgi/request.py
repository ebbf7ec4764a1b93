"""The ASGI runner: one task per request (ASGI 3, HTTP spec version 2.3).

A request's scope and task are made when its head is complete; the body follows while the
application runs. Backpressure works both ways: what the application has not received is
bounded by not reading from the socket, what the client has not taken by making send() wait.

The start of a response is held back until its first body message, so that head and body
leave in one write, and a response whose first block is its last gets a Content-Length. Once
the response is complete the connection goes on; the task may still run (background work).

A client that leaves is an ``http.disconnect``; `gwctl.workers.asgi.departures` tells when one that
only shuts down its side is. What is sent when the connection is lost is ignored, as spec version
2.3 says. Only a stream that goes on and on, since its application does not listen, is ended in
the end: send() then raises `ClientGone`, an OSError (docs/adr/0011).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.ipc.exemplars import EXEMPLAR_S
from gwctl.workers.app import fork_hooks
from gwctl.workers.app.interruption import Interrupted
from gwctl.workers.asgi.extensions import PIECE_BYTES, Extensions
from gwctl.workers.asgi.media_types import is_event_stream
from gwctl.workers.balancing.queue_limit import GONE, QueueLimit
from gwctl.workers.exchange.body_buffer import BodyTooLarge, keep
from gwctl.workers.exchange.heads import as_list
from gwctl.workers.exchange.response import COUNTED, MARKED, NO_BODY, UNTIL_CLOSE
from gwctl.workers.observe import request_ids
from gwctl.workers.observe.disconnects import is_disconnect
from gwctl.workers.observe.errors import ClientGone, NotAsgiError
from gwctl.workers.observe.tracebacks import fault, summary, tell_once

if TYPE_CHECKING:
    from gwctl.workers.exchange.body_budget import BodyBudget
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.service import Service

Message = dict[str, Any]

RECEIVE_BYTES_MAX: Final = 65536
"""Reading pauses while more than this of a body waits for the application."""
HALF_CLOSED_S: Final = 0.2
"""A client that ends its side before its response is complete is gone after so long
(`gwctl.workers.asgi.departures`)."""
LATE_STREAM_S: Final = 10.0
LATE_BLOCKS_MAX: Final = 100
"""So long, and with so many blocks, a stream may go on to be sent to a client that is gone."""
_WHOLE_BYTES_MAX: Final = 65536


class AsgiRequest(Extensions):
    """One request: its receive and send, and the sink of its body."""

    _line: bytes

    __slots__ = (
        "_blocks",
        "_body_done",
        "_body_given",
        "_departure",
        "_detached_at",
        "_dismissed",
        "_gone",
        "_late_blocks",
        "_line",
        "_listeners",
        "_received",
        "_told",
        "_waiters",
        "began_at",
        "status",
        "task",
        "waiting_bytes",
    )

    def __init__(self, service: Service, exchange: Exchange, scope: Message, has_body: bool) -> None:
        self._service = service
        self._exchange = exchange
        self._response = exchange.response
        self.scope = scope
        self._body_done = not has_body
        self._body_given = False
        self._blocks: deque[bytes | bytearray] | None = deque() if has_body else None
        self._waiters: list[asyncio.Future[None]] | None = None
        self._headers = None
        self._trailers = None
        self._slow = None
        # _line is set by http.response.start.
        self._received = 0
        self._departure: asyncio.TimerHandle | None = None  # of a client that may be gone
        self._listeners = 0  # calls of receive() that wait
        self._dismissed = False  # told to end, by a drain
        self._gone = False  # the client is to be taken for gone
        self._told = False  # that the client is gone
        self._detached_at = 0.0
        self._late_blocks = 0
        self.began_at = monotonic()
        self.task: asyncio.Task[None] | None = None
        self.waiting_bytes = 0
        self.detached = False  # the connection is gone, or answers for itself: what is sent goes nowhere
        self.started = False
        self.finished = False
        self.status = 0
        self.sent = 0

    @property
    def _budget(self) -> BodyBudget:
        """What bounds the bodies that were not received yet."""
        return self._service.body_budget

    # ---- called by the loop

    def feed(self, block: bytes) -> None:
        """Take a block of the body.

        Raises:
            BodyTooLarge: The limit is passed.
        """
        assert self._blocks is not None
        size = len(block)
        self._received += size
        limit = self._service.context.limits.body_bytes_max
        if limit and self._received > limit:
            raise BodyTooLarge
        keep(self._blocks, block)
        self.waiting_bytes += size
        budget = self._budget
        budget.memory_left -= size
        if self.waiting_bytes > RECEIVE_BYTES_MAX or budget.memory_left <= 0:
            self._exchange.adjust_reading()
        self.wake()

    def has_come(self, body: bytes) -> None:
        """Take a whole body, before the application is called."""
        assert self._blocks is not None
        self._blocks.append(body)
        self._received = self.waiting_bytes = size = len(body)
        self._budget.memory_left -= size
        self._body_done = True

    def body_end(self) -> None:
        self._body_done = True
        self.wake()

    def wake(self) -> None:
        """Let everybody look again: body, disconnect or room to write."""
        if self._waiters:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def fail(self, status: int) -> bool:  # noqa: ARG002 - the connection answers, or ends
        return False

    def is_full(self) -> bool:
        if not self.waiting_bytes:
            return False
        return self.waiting_bytes > RECEIVE_BYTES_MAX or self._service.body_budget.memory_left <= 0

    def is_due(self) -> bool:
        return False

    def on_room(self) -> None:
        self.wake()

    def abandon(self) -> None:
        """The connection is gone or about to go: tell the application."""
        self.detach()

    def lose_client(self) -> None:
        self.detach()

    def detach(self) -> None:
        if not self.detached:
            self.detached = True
            self._detached_at = monotonic()
        self.wake()

    def half_closed(self) -> None:
        """The client has ended its side: in a moment, if the response is not complete by then, it is gone."""
        if self._departure is None:
            self._departure = asyncio.get_running_loop().call_later(HALF_CLOSED_S, self._leave)

    def _leave(self) -> None:
        self._gone = True
        self.wake()

    @property
    def exchange(self) -> Exchange:
        return self._exchange

    @property
    def listens(self) -> bool:
        """Tell whether this is a stream whose application awaits its client's end, and was not told of it."""
        if not (self.started and self._listeners and self._body_done) or self.finished or self.detached:
            return False
        return not self._dismissed and self._response.framing in {MARKED, UNTIL_CLOSE}

    @property
    def idles(self) -> bool:
        """Tell whether it listens, and its client has taken all that was sent."""
        to = self._exchange
        return self.listens and not (to.write_paused or to.held_bytes())

    @property
    def cut_shows(self) -> bool:
        """Tell whether a length or chunks say that a response which ends here is not whole."""
        return self.started and self._response.cut_shows

    def open_event_stream(self) -> None:
        """Send the head of an event stream whose first event is yet to come: its client waits for that."""
        if self._headers is None or self.started or self.finished or self.detached:
            return
        if is_event_stream(self._headers):
            with contextlib.suppress(Exception):  # of any kind: the first block says so
                self._block(b"")

    def dismiss(self) -> None:
        """Have the application end its stream: its client shall come again, to another worker."""
        self._dismissed = True
        self._response.keep_alive = False
        self.wake()

    @property
    def moved_bytes(self) -> int:
        """How much of bodies the application has taken or given: while that grows, it is at work."""
        return self.sent + self._received - self.waiting_bytes

    # ---- called by the application

    async def receive(self) -> Message:
        if self._blocks is None and not self._body_given:
            self._body_given = True
            return {"type": "http.request", "body": b"", "more_body": False}
        exchange = self._exchange
        if exchange.expecting and not (self.started or self._body_done or self.detached):
            exchange.send_continue()
        while True:
            if self.waiting_bytes:
                return self._take()
            if self.finished or self.detached:
                return {"type": "http.disconnect"}
            if self._body_done and not self._body_given:
                self._body_given = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if self._dismissed:
                return {"type": "http.disconnect"}
            if self._gone or (exchange.eof and exchange.receiving):  # half a body: it broke off
                self._told = True
                return {"type": "http.disconnect"}
            if exchange.eof:
                self.half_closed()
            self._listeners += 1
            try:
                await self._wait()
            finally:
                self._listeners -= 1

    def _take(self) -> Message:
        """Return all of the body that is here."""
        blocks = self._blocks
        assert blocks is not None
        body = bytes(blocks[0]) if len(blocks) == 1 else b"".join(blocks)
        blocks.clear()
        self._budget.memory_left += self.waiting_bytes
        self.waiting_bytes = 0
        self._body_given = self._body_done
        if self._exchange.read_paused and not self.detached:
            self._exchange.adjust_reading()
        return {"type": "http.request", "body": body, "more_body": not self._body_done}

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    async def send(self, message: Any) -> None:
        kind = message["type"]
        if self.detached:
            await self._late(message)
        elif kind == "http.response.body":
            if self._headers is None:
                raise NotAsgiError("http.response.body was sent before http.response.start")
            if self.finished:
                raise NotAsgiError("http.response.body was sent after the response was complete")
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = _as_bytes(body)
            if message.get("more_body", False):
                if self._slow is not None or len(body) > PIECE_BYTES:
                    await self._send_slowly(body, more=True)
                    return
                self._block(body)
                to = self._exchange  # who closes takes all and tells nothing
                if (to.write_paused or to.takes_no_more()) and not self.detached:
                    await self._send_slowly(b"", more=True)
            elif len(body) > PIECE_BYTES or self._slow is not None:
                await self._send_slowly(body, more=False)
            elif self.started:
                self._last(body)
            else:
                self._whole(body)
        elif kind == "http.response.start":
            if self._headers is not None:
                raise NotAsgiError("http.response.start was sent a second time")
            line, status = self._response.heads.asgi_status(message["status"])
            headers = message.get("headers", ())
            # Kept: an iterator gives its fields once, and a list may be changed when this call is over.
            headers = headers.copy() if type(headers) is list else as_list(headers)
            self.status = status
            self._line = line
            self._headers = headers
            if "trailers" in message:
                self._announce(message["trailers"])
        else:
            await self._extension(message)

    async def _late(self, message: Any) -> None:
        """Take no notice of what is sent to a client that is gone.

        Raises:
            ClientGone: It is a stream that nobody else would end.
        """
        await asyncio.sleep(0)  # others' turn, who may be those that listen: nothing here has to wait
        if message.get("more_body", False):
            self._late_blocks += 1
            if self._late_blocks > LATE_BLOCKS_MAX or monotonic() - self._detached_at > LATE_STREAM_S:
                raise ClientGone("the client is gone")

    # ---- the response

    def _begin(self, known: int) -> None:
        """Make the head. Whoever writes it sets ``started``; what fails before that is answered with 500."""
        if self._trailers is not None and self._trailers.wanted:
            known = -1  # a length would leave no place for them
        self._response.begin(self._line, self.status, self._headers, known)

    def _whole(self, body: bytes) -> None:
        """Send a response whose first block is its last."""
        size = len(body)
        response = self._response
        if size <= _WHOLE_BYTES_MAX and self._trailers is None:
            now = monotonic()
            if response.whole(self._line, self.status, self._headers, body, size, now):
                self.started = True
                self.sent = size
                self._finish(now)
                return
        self._begin(size)
        if response.framing == COUNTED and response.left != size:
            raise NotAsgiError(f"the body has {size} bytes, but Content-Length says {response.left}")
        self._last(body)

    def _block(self, body: bytes) -> None:
        """Send a block that others follow."""
        if not self.started:
            self._begin(-1)
        if body:
            self._count(body)
        self.started = True
        self._response.block(body)

    def _last(self, body: bytes) -> None:
        """Send the last block, behind the head if that was made and not sent."""
        response = self._response
        if body:
            self._count(body)
        self.started = True
        if response.framing == COUNTED and response.left:
            response.block(body)
            raise NotAsgiError(f"the body is {response.left} bytes shorter than Content-Length says")
        trailers = self._trailers is not None and self._trailers.follow(response.framing)
        response.end(body, trailers=trailers)
        if not trailers:
            self._finish()

    def _count(self, body: bytes) -> None:
        """Take note that ``body`` is sent.

        Raises:
            NotAsgiError: There is no place for it.
        """
        if self._trailers is not None:
            self._trailers.check_body_open()
        response = self._response
        if response.framing == NO_BODY:
            return
        if response.framing == COUNTED:
            if len(body) > response.left:
                raise NotAsgiError("the body is longer than Content-Length says")
            response.left -= len(body)
        self.sent += len(body)

    def _finish(self, now: float = 0.0) -> None:
        """The response is complete: count it, and let the connection go on."""
        self.finished = True
        exchange = self._exchange
        now = now or monotonic()
        seconds = now - self.began_at
        accounts = self._service.accounts
        accounts.own.add(exchange.method, exchange.target, self.status, self.sent, seconds)
        if seconds >= EXEMPLAR_S:
            accounts.own.remember(seconds, request_ids.of_scope(self.scope))
        if accounts.access is not None:
            accounts.access.add_scope(exchange, self.status, self.sent, seconds, self.scope, self, now)
        if not accounts.flush_due:
            accounts.flush_soon()
        if self._waiters:
            self.wake()
        exchange.responded(self._response.keep_alive, now)

    @property
    def response_headers(self) -> Any:
        """Those that the application has given."""
        return self._headers or ()

    # ---- the task

    def has_no_task(
        self,
        coroutine: Coroutine[Any, Any, None],
        error: BaseException | None,
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[AsgiRequest], None],
    ) -> None:
        """End a request for whose ``coroutine`` the application's own task factory made nothing."""
        coroutine.close()
        # When whoever began it is done with the connection.
        loop.call_soon(self._not_begun, error or TypeError("it returned None"), ended)

    def _not_begun(self, error: BaseException, ended: Callable[[AsgiRequest], None]) -> None:
        """Say that there is no task for this request."""
        fork_hooks.end_if_child(error)
        if isinstance(error, Interrupted):
            self._incomplete("")
        elif not self._given_up():
            self._incomplete(f"the application's task factory raised: {summary(error)}", error)
        ended(self)

    async def run(self, queue: QueueLimit, ended: Callable[[AsgiRequest], None]) -> None:
        """Call the application; never raises."""
        may_be_gone = self.detached or self._exchange.eof or queue.notable
        if may_be_gone and self._drop(self._exchange, queue):
            ended(self)
            return
        context = self._service.context
        context.mark_began(self.began_at)
        try:
            await context.application(self.scope, self.receive, self.send)
        except (ClientGone, Interrupted):
            self._incomplete("")
        except asyncio.CancelledError:
            if not self._given_up():
                self._incomplete(f"the request was cancelled{self._how_far()}")
        except BaseException as error:  # noqa: BLE001 - also SystemExit: a view that exits must not end the worker
            fork_hooks.end_if_child(error)
            passed_on = is_disconnect(error) or (self.detached and isinstance(error, OSError))
            if not (passed_on and (self.finished or self._given_up())):
                tell_once(error)
                self._incomplete(f"the application raised{self._how_far()}: {summary(error)}", error)
        else:
            if not (self.finished or self._given_up()):
                self._incomplete(f"the application returned{self._how_far() or ' without a response'}")
        ended(self)

    def never_began(self, ended: Callable[[AsgiRequest], None]) -> None:
        """End a request whose task was cancelled before its first step: its coroutine saw nothing of that."""
        if not self._given_up():
            self._incomplete("the request was cancelled before it began")
        ended(self)

    def _drop(self, exchange: Any, queue: QueueLimit) -> bool:
        """End before the first step if the client has gone: nobody waits for the rest. False: it has not."""
        if not (self.detached or exchange.has_left(self.began_at)):
            return False
        queue.note(exchange, GONE, monotonic() - self.began_at)
        self.finished = True
        if not self.detached:
            self.detach()
            exchange.drop()
        return True

    def _given_up(self) -> bool:
        """Tell whether the application knows its client gone, as event streams end; then end the response."""
        if self.detached:
            self._incomplete("")
        elif self._dismissed and not self.finished:
            self._end_dismissed()
        elif self._told and not self.finished:
            self._cut()
        else:
            return False
        return True

    def _end_dismissed(self) -> None:
        """End a stream that was told to end, by a drain: properly if its parts are wholes by themselves."""
        if self._trailers is None and not self.rest and is_event_stream(self._headers):
            self._last(b"")
        else:
            self._cut()

    def _how_far(self) -> str:
        if self.finished:
            return " after its response"
        return f" in mid-response; {self._exchange.aborted_as}" if self.started else ""

    def _incomplete(self, why: str, error: BaseException | None = None) -> None:
        """Answer 500 if nothing was sent yet, else abort, unless the response is complete."""
        if why:
            behind = fault(error) if error is not None else None
            self._service.context.log.error(f"{self.what()}: {why}", fault=behind)
        if self.finished or self.detached:
            if not self.finished:
                self._count_cut()
            return
        if self.started:
            self._cut()
            return
        self.started = True
        self.status = 500
        self.sent = self._response.error(500)
        self._finish()

    def what(self) -> str:
        request_id = request_ids.of_scope(self.scope)
        if not self.finished:
            return request_ids.named(self._exchange.what(), request_id)
        # The connection may be at another request; and the scope is the application's to change.
        method, path, query = map(self.scope.get, ("method", "raw_path", "query_string"))
        target = _shown(path) + (f"?{_shown(query)}" if query else "")
        return request_ids.named(f"{method} {self._service.context.shown(target)}", request_id)

    def _cut(self) -> None:
        self._count_cut()
        self.detach()
        self._exchange.cut(b"", self.cut_shows)

    def _count_cut(self) -> None:
        """Count a response that the client did not get in full."""
        self.finished = True
        now = monotonic()
        seconds = now - self.began_at
        accounts, exchange = self._service.accounts, self._exchange
        accounts.own.add(exchange.method, exchange.target, self.status, self.sent, seconds)
        if accounts.access is not None:
            accounts.access.add_scope(exchange, self.status, self.sent, seconds, self.scope, self, now)
        accounts.flush_soon()


class IdentifiedRequest(AsgiRequest):
    """One whose response has a line of the server's own, besides Date and Server: that of its id.

    ``own_line``: as HTTP/1.1 has it, to stand behind the head's first one. Set before the application runs.
    """

    own_line: bytes

    __slots__ = ("own_line",)

    def _whole(self, body: bytes) -> None:
        self._line += self.own_line
        self.own_line = b""  # it is there once, however often the head is made
        AsgiRequest._whole(self, body)  # noqa: SLF001 - our own; super() costs as much again

    def _begin(self, known: int) -> None:
        self._line += self.own_line
        self.own_line = b""
        super()._begin(known)


def _shown(value: Any) -> str:
    """In one line."""
    return value.decode("latin-1") if isinstance(value, bytes) and value.isascii() else repr(value)


def _as_bytes(body: Any) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise NotAsgiError(f"the body of http.response.body must be bytes, not {type(body).__name__}")
