"""One HTTP/2 connection: from bytes to streams, settings, flow control and its end (RFC 9113).

To the server's sweep, drain and eviction it is a connection among others: FRESH until the client has said
that it speaks HTTP/2, IDLE without a stream, BUSY with some. To the runner it is what its streams have in
common.

Rules
    - What came in one piece is read before any of it begins: a request whose small body came along has it,
      and one that was reset in the same breath never reaches the application.
    - No request begins while a call holds the loop: what a call reads meanwhile (`poll`) waits in line.
    - Whatever the client does wrong is answered once: RST_STREAM for a stream, GOAWAY for the connection.
    - An end that is ours comes in two steps (section 6.8): first a GOAWAY that takes back nothing, with a
      PING; when that is answered, or after a while, one that names the last stream. Those up to it are
      served. What comes behind it was never seen, as far as the client is concerned.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from gwctl.workers.exchange.states import BODY, BUSY, CLOSING, FRESH, IDLE, LINGER
from gwctl.workers.http1.client_signs import hung_up
from gwctl.workers.http1.hangup import hang_up
from gwctl.workers.http2.direct import DirectCarrier
from gwctl.workers.http2.frame_reader import FrameReader
from gwctl.workers.http2.guard import Guard
from gwctl.workers.http2.header_blocks import BlockReader, list_bytes_max
from gwctl.workers.http2.output import Output
from gwctl.workers.http2.request_head import Malformed, read_priority
from gwctl.workers.http2.stream import Stream, malformed
from gwctl.workers.http2.tunnel import LAST_WORDS_S, Tunnel
from gwctl.workers.http2.wire import (
    ACK,
    ENABLE_CONNECT_PROTOCOL,
    FLOW_CONTROL_ERROR,
    FRAME_BYTES_MAX,
    HEADER_TABLE_DEFAULT,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    NO_RFC7540_PRIORITIES,
    PING,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    SETTINGS_ACK,
    STREAM_CLOSED,
    STREAM_ID_MAX,
    WINDOW_DEFAULT,
    Broken,
    StreamBroken,
    frame,
    goaway_frame,
    reset_frame,
    settings_frame,
    window_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.http1.connection import ConnectionBase
    from gwctl.workers.http2.sender import Sender

_LEAVE_PING: Final = b"last one"
"""Of the PING that comes behind the first GOAWAY."""
_TOLD_S: Final = 1.0
"""So long its answer is waited for."""
_RESET_REMEMBERED: Final = 256
"""Streams of which the client may not know yet that we have reset them."""
BEGIN_S: Final = 0.002
"""So long requests that came together are begun in one turn of the loop, where beginning is a call."""

# How far our end has come.
_STAYS: Final = 0
_TOLD: Final = 1
_NAMED: Final = 2


class Http2Connection(DirectCarrier, asyncio.Protocol):
    """See the module.

    Attributes:
        streams: Those that are open, by their number.
    """

    __slots__ = (
        "_block_since",
        "_blocks",
        "_guard",
        "_leave_at",
        "_leaving",
        "_left",
        "_reader",
        "_ready",
        "_reset",
        "_streams_max",
        "_untold",
        "_window",
        "last_id",
        "streams",
    )

    upgrades = False
    can_be_given = False

    def __init__(self, before: ConnectionBase) -> None:
        """Take the place of ``before``, which has read nothing but what it gives back."""
        service = before.service
        super().__init__(service, before.sock, before.peer, before.listener)
        self.http_version = "2.0"
        self.local = before.local
        self.tls = before.tls
        self.attention = True
        context = service.context
        settings, limits = context.settings.http2, context.limits
        self._guard = Guard(settings.resets_max, settings.idle_frames_max)
        self._reader = FrameReader(self, self._guard, list_bytes_max(limits))
        self._blocks = BlockReader(limits, max(settings.header_table_bytes, HEADER_TABLE_DEFAULT))
        self._streams_max = settings.streams_max
        self.stream_window = max(settings.window_bytes, WINDOW_DEFAULT)
        self._window = max(settings.connection_window_bytes, WINDOW_DEFAULT)
        self._left = self._window
        self._untold = 0
        self.out = Output(context.loop, context.neutral_context, self._guard)
        self.streams: dict[int, Stream] = {}
        self.last_id = 0
        self._ready: deque[Stream] = deque()
        self._reset: deque[int] = deque(maxlen=_RESET_REMEMBERED)
        self._leaving = _STAYS
        self._leave_at = 0.0
        self._block_since = 0.0

    # ---- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.held_bytes = transport.get_write_buffer_size  # type: ignore[attr-defined]
        service = self.service
        service.runner.on_connect(self)
        if service.forwarding is not None:
            service.forwarding.connected(self)
        self.out.open(self.transport.write)
        settings = service.context.settings.http2
        pairs = [
            (HEADER_TABLE_SIZE, settings.header_table_bytes),
            (MAX_CONCURRENT_STREAMS, self._streams_max),
            (INITIAL_WINDOW_SIZE, settings.window_bytes),
            (MAX_HEADER_LIST_SIZE, service.context.limits.head_bytes_max),
            (NO_RFC7540_PRIORITIES, 1),
        ]
        if service.http2.tunnels:
            pairs.append((ENABLE_CONNECT_PROTOCOL, 1))
        start = settings_frame(pairs)
        if self._window > WINDOW_DEFAULT:
            start += window_frame(0, self._window - WINDOW_DEFAULT)
        self.transport.write(start)

    def respond_in_loop(self) -> None:
        """Its streams respond."""

    def respond_in_threads(self) -> None:
        self.close_output()  # its streams respond, in the loop's thread

    def data_received(self, data: bytes) -> None:
        if self.state >= LINGER:
            if monotonic() < self.linger_until:
                self.since = monotonic()
            return
        try:
            self._reader.feed(data)
            if self.state == FRESH and not self._reader.in_preface:
                self.state = IDLE
                self.since = monotonic()
        except Broken as fault:
            self._break(fault)
            return
        if self._ready and self._polling:
            self._soon(self._begin_ready)
        elif self._ready:
            self._begin_ready()

    def eof_received(self) -> bool:
        """Note that nothing more comes. A client that only ended its side is still answered.

        It is told the last stream, though it can open none: one that is gone answers that with a reset.
        """
        if not self.eof:
            self.eof = True
            self.eof_at = monotonic()
            for stream in list(self.streams.values()):
                stream.finish_reading()
            if not self.streams:
                self._end()  # the last response may have yet to leave
            elif self._leaving != _NAMED:
                self._name_last()
        return bool(self.streams) and self.state < LINGER

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.lost = True
        hang_up(self.sock)
        self.out.close()
        self._ready.clear()
        for stream in list(self.streams.values()):
            stream.lose()
        self.state = CLOSING
        service = self.service
        service.runner.on_disconnect(self)
        self.let_go()
        service.http2.connections.discard(self)
        service.forget(self)

    def pause_writing(self) -> None:
        self.write_paused = self.out.paused = True
        self.unsent = self.transport.get_write_buffer_size()
        self.since = monotonic()

    def resume_writing(self) -> None:
        self.write_paused = self.out.paused = False
        self.out.soon()
        self._soon(self._go_on_writing)

    def _go_on_writing(self) -> None:
        """Make the calls that were to wait until nothing is left in the transport."""
        for stream in list(self.streams.values()):
            if stream.state == BODY and not stream.receiving and stream.request is not None:
                stream.request.on_room()
                self.service.runner.body_complete(stream)

    # ---- frames: see `FrameHandler`

    def header_block(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        if stream_id <= self.last_id:
            self._trailers(stream_id, block, ends=ends)
            return
        if not stream_id & 1:
            raise Broken(PROTOCOL_ERROR, "a client's stream with an even number")
        if self._leaving == _NAMED:
            self._guard.idle()
            self._blocks.skip(block)
            return
        self.last_id = stream_id
        if len(self.streams) >= self._streams_max:
            self._guard.idle()
            self._blocks.skip(block)
            self._reset.append(stream_id)
            self.out.put(reset_frame(stream_id, REFUSED_STREAM))
            return
        try:
            head = self._blocks.request(block)
        except Malformed as fault:
            raise malformed(stream_id, fault.why) from None
        kind = Tunnel if head.protocol else Stream
        stream = self.streams[stream_id] = kind(self, stream_id, head, ends, monotonic())
        self.state = max(self.state, BUSY)
        self._ready.append(stream)
        if self.service.draining:
            self.ask_to_leave()

    def _trailers(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            self._blocks.skip(block)
            if stream_id not in self._reset:
                raise Broken(STREAM_CLOSED, "HEADERS on a stream that is closed")
            self._guard.idle()
            return
        try:
            self._blocks.trailers(block)
        except Malformed as fault:
            raise malformed(stream_id, fault.why) from None
        if stream.ended:
            raise StreamBroken(stream_id, STREAM_CLOSED, "HEADERS behind the end of a stream")
        if not ends:
            raise malformed(stream_id, "trailers that do not end the stream")
        stream.receive_end()

    def data(self, stream_id: int, data: bytes, size: int, *, ends: bool) -> None:
        self._left -= size
        if self._left < 0:
            raise Broken(FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.lost:
            try:
                stream.receive(data, size, ends=ends)
            except StreamBroken:
                self.give_room(size)
                raise
            return
        self.give_room(size)
        if stream_id > self.last_id:
            if self._leaving != _NAMED:
                raise Broken(PROTOCOL_ERROR, "DATA on a stream that was not opened")
        elif stream_id not in self._reset:
            raise Broken(STREAM_CLOSED, "DATA on a stream that is closed")
        self._guard.idle()

    def reset(self, stream_id: int, code: int) -> None:  # noqa: ARG002 - whatever it is, it wants no more
        stream = self.streams.get(stream_id)
        if stream is None:
            if stream_id > self.last_id and self._leaving != _NAMED:
                raise Broken(PROTOCOL_ERROR, "RST_STREAM on a stream that was not opened")
            self._guard.idle()
            return
        self._guard.reset()
        stream.lose()

    def stream_broken(self, fault: StreamBroken) -> None:
        if fault.stream_id > self.last_id and self._leaving != _NAMED:
            raise Broken(PROTOCOL_ERROR, fault.why)
        self._guard.reset()
        stream = self.streams.get(fault.stream_id)
        if stream is not None:
            stream.break_off(fault)
            return
        self.service.context.log.debug(f"stream {fault.stream_id} of HTTP/2 ended: {fault.why}")
        self._reset.append(fault.stream_id)
        self.out.put(reset_frame(fault.stream_id, fault.code))

    def settings(self, pairs: list[tuple[int, int]]) -> None:
        """Only the window is of use here: our blocks use no table, our frames are of the least size."""
        window = before = self.out.stream_window
        for name, value in pairs:
            if name == INITIAL_WINDOW_SIZE:
                window = value  # the last of several: each would be work for every stream
            elif name == HEADER_TABLE_SIZE and value < HEADER_TABLE_DEFAULT:
                self.out.leave_table()
        self.out.stream_window = window
        for stream in list(self.streams.values()) if window != before else ():
            try:
                stream.enlarge(window - before)
            except StreamBroken as fault:
                raise Broken(fault.code, fault.why) from None
        self.out.put(SETTINGS_ACK)

    def settings_acknowledged(self) -> None:
        """Before, the client may not have known of those that are less than RFC 9113 gives to all."""
        settings = self.service.context.settings.http2
        self._blocks.limit_table(settings.header_table_bytes)
        change, self.stream_window = settings.window_bytes - self.stream_window, settings.window_bytes
        for stream in list(self.streams.values()) if change else ():
            stream.move_window(change)

    def ping(self, payload: bytes) -> None:
        self.out.put(frame(PING, ACK, 0, payload))

    def ping_answered(self, payload: bytes) -> None:
        if payload == _LEAVE_PING and self._leaving == _TOLD:
            self._name_last()

    def going_away(self, code: int) -> None:  # noqa: ARG002 - it asks for no more, for whatever reason
        if not self.streams and not self._ready:
            self.close()

    def window(self, stream_id: int, size: int) -> None:
        if not stream_id:
            self.out.enlarge(size)
        elif (stream := self.streams.get(stream_id)) is not None:
            stream.enlarge(size)
        elif stream_id > self.last_id and self._leaving != _NAMED:
            raise Broken(PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that was not opened")

    def priority(self, stream_id: int, value: bytes) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            return  # over, or yet to come: then its own field says it, nearly always
        urgency, incremental = read_priority(value)
        waits = stream.in_turns
        self.out.turns.remove(stream)
        stream.urgency, stream.incremental = urgency, incremental
        if waits:
            self.out.turns.add(stream)

    # ---- requests

    def _begin_ready(self) -> None:
        """Begin what has come, or what of it there is time for in this turn of the loop."""
        until = monotonic() + BEGIN_S
        while self._ready:
            stream = self._ready.popleft()
            if not stream.lost and self.state < LINGER:
                stream.begin()
            if self._direct is not None and self._ready and monotonic() > until:
                self._soon(self._begin_ready)
                break
        self.out.flush()

    def body_came(self, stream: Stream) -> None:
        self._ready.append(stream)
        self._soon(self._begin_ready)

    def _soon(self, what: Callable[[], None]) -> None:
        context = self.service.context
        context.loop.call_soon(what, context=context.neutral_context)

    def stream_over(self, stream: Sender) -> None:
        if self.streams.pop(stream.stream_id, None) is None or self.streams or self.state != BUSY:
            return
        self.state = IDLE
        self.since = monotonic()
        if self._leaving == _NAMED or self.eof:
            self._end()

    def reset_stream(self, stream: Sender, code: int) -> None:
        self._reset.append(stream.stream_id)
        self.tell(reset_frame(stream.stream_id, code))

    # ---- bodies of requests

    @property
    def is_full(self) -> bool:
        return self._left < FRAME_BYTES_MAX

    def give_room(self, size: int) -> None:
        self._untold += size
        if self._untold * 2 >= self._window:
            self._left += self._untold
            self.tell(window_frame(0, self._untold))
            self._untold = 0

    def tell(self, frames: bytes) -> None:
        if not self.lost:
            try:
                self.out.put(frames)
            except Broken as fault:
                self.service.context.loop.call_soon(self._break, fault)

    def carries(self, exchange: Exchange) -> bool:
        return isinstance(exchange, Stream) and exchange.connection is self

    def is_due(self) -> bool:
        return bool(self._ready) or (self.tls is not None and self.tls.goes_on)

    def listens(self) -> bool:
        return self.state < LINGER  # for a request, a body, or room for a response

    # ---- its ends

    def unsent_bytes(self) -> int:
        rest = self.service.runner.rest
        held = sum([stream.held() + rest(stream) for stream in self.streams.values()])
        return held + self.out.held + len(self._pending) + int(self.transport.get_write_buffer_size())

    def undone(self) -> list[Exchange]:
        return [stream for stream in self.streams.values() if not (stream.lost or stream.tunnels)]

    def quit(self) -> None:
        if any(stream.tunnels for stream in self.streams.values()):
            self.service.context.loop.call_later(LAST_WORDS_S, self.abort)
        else:
            super().quit()

    def abandon(self) -> None:
        for stream in list(self.streams.values()):
            stream.abandon()

    def ask_to_leave(self) -> None:
        """Have the client go elsewhere with what it asks for from now on.

        One that has not asked for anything yet does so first: what it is about to say was meant for here.
        """
        if self._leaving != _STAYS or not self.last_id or self.state >= LINGER:
            return
        self._leaving = _TOLD
        self._leave_at = monotonic() + _TOLD_S
        self.tell(goaway_frame(STREAM_ID_MAX, NO_ERROR) + frame(PING, 0, 0, _LEAVE_PING))

    def _name_last(self) -> None:
        """Say which stream is the last that is served."""
        self._leaving = _NAMED
        self.tell(goaway_frame(self.last_id, NO_ERROR))
        if not self.streams:
            self._end()

    def _end(self) -> None:
        """Nothing more comes of it."""
        if not self.lost and self.state < LINGER:
            rest, self._pending = self._pending + self.out.take(), b""
            self.transport.write(rest)
            self.out.close()
            if self.eof:
                super().close()
            else:
                self.linger()

    def close(self) -> None:
        """Close it, of which nothing is open: what the client may be sending was not seen."""
        if self.lost or self.state >= LINGER:
            return
        if self._leaving != _NAMED:
            self._leaving = _NAMED
            self.tell(goaway_frame(self.last_id, NO_ERROR))
        self._end()

    def refuse_unparsed(self, status: int, why: str) -> None:  # noqa: ARG002 - there is no stream to answer on
        self._break(Broken(NO_ERROR, why))

    def _break(self, fault: Broken) -> None:
        """Say what the client did wrong, and end all of it."""
        if self.lost or self.state >= LINGER:
            return
        client = self.peer[0] if isinstance(self.peer, tuple) else "a client"
        self.service.context.log.debug(f"HTTP/2 with {client} ended: {fault.why}")
        self._ready.clear()
        if not self.write_paused:
            self.out.flush()
        for stream in list(self.streams.values()):
            stream.lose()
        if self._pending:
            self._leave_pending()
        self.transport.write(goaway_frame(self.last_id, fault.code, fault.why[:100]))
        self.out.close()
        if self.eof:
            super().close()
        else:
            self.linger()
        if self.write_paused:  # nobody reads
            self.abort()

    # ---- time

    def sweep(self, now: float) -> None:
        if self._leaving == _TOLD and now > self._leave_at and not self.lost:
            self._name_last()
        if not self._reader.in_block:
            self._block_since = 0.0
        elif not self._block_since:
            self._block_since = now
        elif now - self._block_since > self.service.context.settings.timeouts.header_timeout_s:
            self._break(Broken(PROTOCOL_ERROR, "a header block did not come to its end in header_timeout_s"))
        if self.eof and not self.lost and hung_up(self.sock):
            self.abort()  # it is not read any more: nothing else tells
        self.service.http2.limits.check(self, now)
