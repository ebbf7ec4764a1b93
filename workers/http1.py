"""One HTTP/1.1 connection: bytes to requests, whatever the worker class.

A `Connection` is the asyncio Protocol of one client. It parses heads, frames bodies, and
gives each request to the process's runner (sync, threads or asgi), which answers and then
calls `responded`. One request at a time: what a client sends ahead waits in `tail`.

The states are described in `gwctl.workers.states`.

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

from gwctl.workers.body import BodyTooLarge
from gwctl.workers.connection import ConnectionBase
from gwctl.workers.framing import Framer, FramingError, Sink
from gwctl.workers.parser import refusal_status
from gwctl.workers.policy import Refused, split_target
from gwctl.workers.states import (
    BODY,
    BUSY,
    CLOSING,
    DISCARD,
    FLUSH,
    HEAD,
    LINGER,
    SLICE_BYTES,
)

_HTTP_11: Final = (1, 1)
_METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
}


class Connection(ConnectionBase, asyncio.Protocol):
    __slots__ = ()

    # ---- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        server = self.server
        server.runner.connected(self)
        if server.forwarding is not None:
            server.forwarding.connected(self)

    def data_received(self, data: bytes) -> None:
        if self.state > HEAD or self.tail:
            self._received_late(data)
        elif len(data) > SLICE_BYTES:
            self.tail = data
            self.tail_at = 0
            self.resume()
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """Note that nothing more comes. A client that only shut down its side is still answered."""
        self.eof = self.attention = True
        state = self.state
        if state == BUSY:
            self.server.runner.client_finished(self)
            return True
        if state <= HEAD:
            return bool(self.tail)
        return state in {FLUSH, CLOSING} or (state == BODY and self.framer is None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.lost = self.attention = True
        if self.state == BODY:
            self.server.runner.abandoned(self)
        self.tail = b""
        self.framer = self.sink = None
        self.server.runner.disconnected(self)
        if self.state != BUSY:
            self.state = CLOSING
        self.server.forget(self)

    def pause_writing(self) -> None:
        self.write_paused = True
        self.unsent = self.transport.get_write_buffer_size()
        self.since = monotonic()

    def resume_writing(self) -> None:
        self.write_paused = False
        self.server.runner.writable(self)
        if self.state == FLUSH:
            self._next()
        elif self.state == BODY and self.framer is None:
            self.server.runner.body_complete(self)

    # ---- heads

    def _parse(self, data: bytes) -> bool:
        """Feed the parser; give a complete request to the runner. Return whether one was complete."""
        parser = self.parser
        try:
            parser.feed(data)
        except Exception as error:  # noqa: BLE001 - sorted in _refuse_head: both parsers have types of their own
            self._refuse_head(error, data)
            return True
        if not parser.is_complete:
            self._head_goes_on(data)
            return False
        rest = parser.remaining()
        if rest:
            data = data[: -len(rest)]
            self._give_back(rest)
        method = parser.method
        target = parser.path
        self.head = data
        lines = data.count(b"\r\n") - 2
        if lines != len(parser.headers) or self.state == HEAD or data[0] < 33:
            if self._has_bare_lf(data):
                self.refuse_unparsed(400)
                return True
            if self.state == HEAD:
                self._cr = False
                self.head = method + b" " + target
        self.is_head = method == b"HEAD"
        self.http11 = parser.http_version == _HTTP_11
        self.keep_alive = parser.should_keep_alive
        try:
            self.method = _METHODS.get(method) or method.decode("ascii")
            if target[0] == 47 and target.isascii():  # "/"
                self.target = target.decode("latin-1")
                self.authority = ""
            else:
                self.target = target.decode("latin-1")
                self.target, self.authority = split_target(method, target)
            self._begin(self)
        except Refused as refusal:
            self.refuse(refusal.status)
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
        while self.tail and self.state <= HEAD:
            tail, at = self.tail, self.tail_at
            piece = tail[at : at + SLICE_BYTES]
            self.tail_at = at + len(piece)
            if self.tail_at >= len(tail):
                self.tail = b""
            if self._parse(piece):
                break
        self.adjust_reading()

    def _head_goes_on(self, data: bytes) -> None:
        """Bound a head that is not complete: the C parser judges only complete ones."""
        if self.state != HEAD:
            self.state = HEAD
            self.since = monotonic()
            self._line_bytes = 0
            self._line_seen = False
        if self._has_bare_lf(data):
            self.refuse_unparsed(400)
            return
        self._cr = data.endswith(b"\r")
        end = data.rfind(b"\n")
        if end < 0:
            self._line_bytes += len(data)
        else:
            # An empty line before the request line is skipped by both parsers.
            self._line_seen = self._line_seen or data[: end + 1] != b"\r\n"
            self._line_bytes = len(data) - end - 1
        limits = self.server.limits
        if not self._line_seen and self._line_bytes > limits.request_line_bytes_max + 1:
            self.refuse_unparsed(414)
        elif self._line_seen and self._line_bytes > limits.header_bytes_max + 1:
            self.refuse_unparsed(431)
        elif self.eof and not self.tail:
            self.close()

    def _has_bare_lf(self, data: bytes) -> bool:
        """Tell whether a line in ``data`` ends in LF alone (RFC 9112 section 2.2); the C parser takes it."""
        split = self._cr and data.startswith(b"\n")
        return data.count(b"\n") != data.count(b"\r\n") + split

    def _refuse_head(self, error: Exception, data: bytes) -> None:
        status = refusal_status(error, data, self.server.limits.headers_max)
        if not status:
            raise error
        self.refuse_unparsed(status)

    # ---- bodies

    def read_body(self, framer: Framer, sink: Sink, state: int, expecting: bool) -> None:
        self.framer = framer
        self.sink = sink
        self.state = state
        self.since = monotonic()
        self.expecting = expecting
        if self.tail:
            data = self.tail[self.tail_at :]
            self.tail = b""
            self._body_data(data)
        if state == BODY and self.framer is not None:
            if self.eof:
                self.server.runner.abandoned(self)
                self.close()
                return
            self.send_continue()
        self.adjust_reading()

    def _received_late(self, data: bytes) -> None:
        """Take bytes that are not the start of a head."""
        if self.framer is not None:
            self._body_data(data)
        elif self.state >= LINGER:
            now = monotonic()
            if now < self.linger_until:
                self.since = now
        else:
            self.tail = self.tail[self.tail_at :] + data
            self.tail_at = 0
            self.attention = True
            if self.state <= HEAD:
                self.server.loop.call_soon(self.resume)
            else:
                self.adjust_reading()

    def _body_data(self, data: bytes) -> None:
        assert self.framer is not None
        assert self.sink is not None
        self.since = monotonic()
        self.expecting = False
        try:
            rest = self.framer.feed(data, self.sink)
        except FramingError:
            self._body_failed(400)
        except BodyTooLarge:
            self._body_failed(413)
        except OSError as error:
            self.server.log.error(f"a request body could not be kept in a temporary file: {error}")
            self._body_failed(500)
        else:
            if rest is not None:
                self.framer = self.sink = None
                self.tail = rest
                self.tail_at = 0
                self._body_end()

    def _body_end(self) -> None:
        if self.state == BUSY:
            self.request.body_end()
        elif self.state == DISCARD:
            self._next()
        elif not self.write_paused:
            self.server.runner.body_complete(self)

    def _body_failed(self, status: int) -> None:
        if self.state == DISCARD:
            self.linger()
        elif self.server.runner.has_responded(self):
            self.server.runner.abandoned(self)
            self.abort()
        else:
            self.refuse(status)
