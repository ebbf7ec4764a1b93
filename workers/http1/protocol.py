"""One HTTP/1.1 connection: bytes to requests, whatever the worker class.

A `Connection` is the asyncio Protocol of one client. It parses heads, frames bodies, and
gives each request to the process's runner (sync, threads or asgi), which answers and then
calls `responded`. One request at a time: what a client sends ahead waits in `tail`.

The states are described in `gwctl.workers.exchange.states`.

Times: ``since`` is when the present state began or last made progress; the server compares it
with the state's limit in one sweep over all connections. No connection has a timer of its own.

The loop's thread owns all of this, with one exception: in a `threads` worker the thread that
answers releases the connection by storing IDLE itself. So whatever the loop notices while the
state is BUSY is noted in ``attention`` first, and then the state is looked at again; the
thread stores the state first, and then looks at ``attention``. One of them sees the other.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from gwctl.masking import masked, masked_head
from gwctl.workers.exchange.body_budget import BodiesFull
from gwctl.workers.exchange.body_buffer import BodyTooLarge, not_kept
from gwctl.workers.exchange.exchange import Sink
from gwctl.workers.exchange.request_rules import Refused
from gwctl.workers.exchange.states import BODY, BUSY, CLOSING, DISCARD, FLUSH, HANDED_OFF, HEAD, IDLE, LINGER
from gwctl.workers.http1.body_framing import ChunkedFramer, FramingError
from gwctl.workers.http1.call_response import CallResponse
from gwctl.workers.http1.connection import ConnectionBase
from gwctl.workers.http1.hangup import hang_up
from gwctl.workers.http1.head_validator import HeadJudge
from gwctl.workers.http1.request_rules import check_unusual_method, split_target
from gwctl.workers.http1.response import LoopResponse

_HTTP_11: Final = (1, 1)
_METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
}


class Connection(ConnectionBase, asyncio.Protocol):
    __slots__ = ()

    # ---- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.held_bytes = transport.get_write_buffer_size  # type: ignore[attr-defined]
        service = self.service
        service.runner.on_connect(self)
        if service.forwarding is not None:
            service.forwarding.connected(self)

    def respond_in_loop(self) -> None:
        self.collects = self.tls is None
        self.response = LoopResponse(self, self.transport.write)

    def respond_in_calls(self) -> None:
        self.collects = self.tls is None
        output = self.sock if self.tls is None else self.tls.output_for_sync()
        self.response = CallResponse(self, output)

    def respond_in_threads(self) -> None:
        self.collects = self.tls is None
        if self.tls is not None:
            self.output.close()
            self.output = self.tls.output_for_threads()
        self.response = CallResponse(self, self.output)

    def data_received(self, data: bytes) -> None:
        if self.queued:
            self.service.outbox.send()
        if self.state > IDLE or self.tail:
            self._received_late(data)
        elif len(data) > self.slice_bytes:
            self.tail = data
            self.tail_at = 0
            self.resume()
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """Note that nothing more comes. A client that only shut down its side is still answered."""
        if self.framer is not None and self.framer.behind:
            context = self.service.context
            context.loop.call_soon(self._eof_behind_chunks, context=context.neutral_context)
            return True
        self.eof = self.attention = True
        self.eof_at = monotonic()
        if self.queued:
            self.service.outbox.send()
        state = self.state
        if state == BUSY:
            self.service.runner.on_client_finished(self)
            return True
        if state <= HEAD:
            return bool(self.tail)
        return state in {FLUSH, CLOSING} or (state == BODY and self.framer is None)

    def _eof_behind_chunks(self) -> None:
        """The end has its turn when all that came before it has been taken."""
        if not (self.lost or self.eof_received()):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.lost = self.attention = True
        if self.state != HANDED_OFF:  # else it goes on in a sibling
            hang_up(self.sock)
        if self.state == BODY:
            self.abandon()
        self.tail = b""
        self.judge = None
        self.end_receiving()
        self.service.runner.on_disconnect(self)
        if self.state != BUSY:
            self.state = CLOSING
            self.let_go()
        self.service.forget(self)

    def pause_writing(self) -> None:
        self.write_paused = True
        self.unsent = self.transport.get_write_buffer_size()
        self.since = monotonic()

    def resume_writing(self) -> None:
        self.write_paused = False
        self.window_at = monotonic()
        self.window_bytes = self.received
        if self.service.context.settings.loop == "asyncio":  # whose transport must not be closed in this call
            self.service.context.loop.call_soon(
                self._go_on_writing, context=self.service.context.neutral_context
            )
        else:
            self._go_on_writing()

    def _go_on_writing(self) -> None:
        if self.lost:
            return
        if self.request is not None:
            self.request.on_room()
        else:
            self.tell_when_empty(False)
        if self.state == FLUSH:
            self._next()
        elif self.state == BODY and self.framer is None:
            self.service.runner.body_complete(self)

    # ---- heads

    def _parse(self, data: bytes) -> bool:
        """Feed the parser; give a complete request to the runner. Return whether the head is done with.

        ``data`` is at most `slice_bytes`: no line of a head that is complete in it exceeds a limit.
        """
        parser = self.parser
        try:
            parser.feed(data)
        except Exception as error:  # noqa: BLE001 - both parsers have types of their own, and faults
            return self._judge(data, error)
        if not parser.is_complete:
            return self._judge(data, None)
        rest = parser.remaining()
        if rest:
            data = data[: -len(rest)]
            self._give_back(rest)
        method = parser.method
        target = parser.path
        self.head = data
        # The C parser takes lines that end in LF, and more than one blank in the request line. So: the
        # line ends where method, target, version and two blanks end, and each line has its CRLF.
        end = len(method) + len(target) + 10
        if data[end] == 13 and data.count(b"\r\n") == len(parser.headers) + 2:
            # Others than HTTP/1 are refused: that is the version. To ask the parser is 1 % of a request.
            self.http11 = data[end - 1] == 49  # "1"
        else:
            judge = HeadJudge(self.service.context.limits)
            status = judge.add(data)
            if status:
                self.refuse_unparsed(status, judge.why)
                return True
            self.head = method + b" " + target  # it began with an empty line
            self.http11 = parser.http_version == _HTTP_11
        self.is_head = method == b"HEAD"
        self.keep_alive = parser.should_keep_alive
        try:
            self.target = target.decode("latin-1")
            known = _METHODS.get(method)
            if known is None:
                self.method = method.decode("ascii")
                check_unusual_method(method, target)
            else:
                self.method = known
            if target[0] == 47 and 35 not in target and target.isascii():  # begins with "/", has no "#"
                self.authority = ""
            else:
                self.target, self.authority = split_target(target)
            if self.tail:
                self.attention = True
            self._begin(self)
        except Refused as refusal:
            self.refuse_head(refusal)
        return True

    def _give_back(self, rest: bytes) -> None:
        """Put what followed the head back: it is the end of what was fed."""
        if self.tail:
            self.tail_at -= len(rest)
        else:
            self.tail = rest
            self.tail_at = 0

    def resume(self) -> None:
        """Go on with what waits in `tail`, up to the end of one head."""
        if self.queued:  # input that came before this turn asked for another one
            self.service.outbox.send()
        while self.tail and self.state <= HEAD:
            tail, at = self.tail, self.tail_at
            self.pipelined = self.pipelined or self.state == IDLE
            piece = tail[at : at + self.slice_bytes]
            self.tail_at = at + len(piece)
            if self.tail_at >= len(tail):
                self.tail = b""
            if self._parse(piece) if self.judge is None else self._collect(piece):
                break
        self.adjust_reading()

    def _judge(self, data: bytes, error: Exception | None) -> bool:
        """Refuse the head in ``data``, or begin to collect it if there is nothing wrong so far.

        The parser refused it (``error``) or did not see its end. Return whether it is done with.
        """
        self.parser.reset()
        judge = HeadJudge(self.service.context.limits)
        status = judge.add(data)
        if not status and judge.end:
            status = judge.refusal()
            if not status:
                status = 400
                self.service.context.throttled.error(
                    "parser",
                    f"the parser does not take a request that seems sound; answered with 400: "
                    f"{masked(repr(error))}, {masked_head(data[: judge.end])!r}",
                )
        if status:
            self.refuse_unparsed(status, judge.why)
            return True
        self.judge = judge
        self.state = HEAD
        self.since = monotonic()
        return self._wait_for_more()

    def _collect(self, data: bytes) -> bool:
        """Take the next part of a head. The parser gets the whole: it judges only whole ones reliably."""
        judge = self.judge
        assert judge is not None
        status = judge.add(data)
        if status:
            self.refuse_unparsed(status, judge.why)
            return True
        if not judge.end:
            return self._wait_for_more()
        self.judge = None
        head = bytes(judge.data[: judge.end])
        rest = bytes(judge.data[judge.end :])
        if rest:
            self._give_back(rest)
        return self._parse(head)

    def _wait_for_more(self) -> bool:
        if self.eof and not self.tail:
            self.close()
        return False

    # ---- bodies

    def read_body(self, sink: Sink, state: int) -> None:
        self.framer, self.incoming = self.incoming, None
        self.sink = sink
        self.state = state
        self.since = self.window_at = monotonic()
        self.received = self.window_bytes = 0
        if self.tail:
            data = self.tail[self.tail_at :]
            self.tail = b""
            self.attention = self.eof
            self._body_data(data)
            if self.eof:
                self.catch_up()  # nothing else comes: it is all of the body, or not
        if state == BODY and self.receiving:
            if self.eof:
                self.abandon()
                self.close()
                return
            self.send_continue()
        self.adjust_reading()

    def _received_late(self, data: bytes) -> None:
        """Take bytes that are not the start of what comes next."""
        if self.framer is not None:
            self._body_data(data)
        elif self.state >= LINGER:
            now = monotonic()
            if now < self.linger_until:
                self.since = now
        elif self.state == HEAD and not self.tail:
            self.tail = data
            self.tail_at = 0
            self.resume()
        else:
            self.tail = self.tail[self.tail_at :] + data
            self.tail_at = 0
            self.attention = True
            if self.state <= HEAD:
                self.service.context.loop.call_soon(self.resume)
            else:
                self.adjust_reading()

    def _body_data(self, data: bytes, later: bool = True) -> None:
        framer = self.framer
        assert framer is not None
        assert self.sink is not None
        self.since = monotonic()
        self.received += len(data)
        self.expecting = False
        if framer.behind and data:
            assert isinstance(framer, ChunkedFramer)
            framer.hold(data)
            return
        try:
            rest = framer.feed(data, self.sink)
        except FramingError as fault:
            self._body_failed(400, str(fault))
        except BodyTooLarge:
            self._body_failed(
                413, f"the body is larger than body_bytes_max ({self.service.context.limits.body_bytes_max})"
            )
        except BodiesFull as full:
            self._body_failed(503, str(full))
        except OSError as error:
            self._body_failed(
                not_kept(self.what(), self.service.context.throttled, error), "its body could not be kept"
            )
        else:
            if rest is not None:
                self.end_receiving(len(rest))
                self.tail = rest
                self.tail_at = 0
                if rest:
                    self.attention = True
                self._body_end()
            elif framer.behind and later:
                self.service.context.loop.call_soon(
                    self._body_goes_on, context=self.service.context.neutral_context
                )
                self.adjust_reading()

    def _body_goes_on(self) -> None:
        """Take more of the chunks that one turn of the loop had no time for."""
        if self.framer is not None and self.framer.behind:
            self._body_data(b"")
            if self.read_paused:
                self.adjust_reading()

    def catch_up(self) -> bool:
        found = False
        while self.framer is not None and self.framer.behind:
            found = True
            self._body_data(b"", later=False)
        if found:
            self.adjust_reading()
        return found

    def _body_end(self) -> None:
        if self.state == BUSY:
            self.request.body_end()
        elif self.state == DISCARD:
            self._next()
        elif not self.write_paused:
            self.service.runner.body_complete(self)

    def _body_failed(self, status: int, why: str) -> None:
        if self.state == DISCARD:
            self.linger()
        elif self.request is not None and self.request.fail(status):
            self.adjust_reading()
        elif self.service.runner.has_responded(self):
            self.abandon()
            self.abort()
        else:
            self.refuse(status, why)
