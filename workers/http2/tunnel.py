"""A stream that is no request but bytes both ways (RFC 8441): an extended CONNECT, for a WebSocket.

A `Tunnel` is a stream like any other until somebody takes it. From then on an asyncio protocol has it, by a
`StreamTransport`, like a connection of its own: DATA is what comes and what goes, END_STREAM the end of a
side, RST_STREAM the loss of all. While the protocol does not read, the client is given no room; when more
waits than the client's window takes, the protocol is told.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.workers.exchange.request_rules import Refused
from gwctl.workers.exchange.states import BUSY
from gwctl.workers.http2.output import BODY, HEAD, LAST_BODY
from gwctl.workers.http2.stream import HIGH, LOW, Stream

if TYPE_CHECKING:
    from gwctl.workers.http2.carrier import Carrier
    from gwctl.workers.http2.request_head import RequestHead

LAST_WORDS_S: Final = 0.5
"""How long the clients of tunnels may take what they are told when all else ends at once."""


class Tunnel(Stream):
    """See the module."""

    __slots__ = ("_due", "_full", "_held_back", "_leaves", "_paused", "_protocol", "_shut", "_told_end")

    tunnels = True

    def __init__(
        self, connection: Carrier, stream_id: int, head: RequestHead, ends: bool, now: float
    ) -> None:
        super().__init__(connection, stream_id, head, ends, now)
        self._protocol: asyncio.Protocol | None = None
        self._paused = False  # the protocol does not read
        self._held_back = 0  # given to it meanwhile
        self._full = False  # the protocol is not to write
        self._shut = False  # our side has its end
        self._leaves = False  # it ends when that is sent
        self._told_end = False
        self._due = False

    def _refusal(self) -> Refused | None:
        refusal = super()._refusal()
        if refusal is None and not self.connection.service.http2.tunnels:
            return Refused(501, "an extended CONNECT, which was not offered")
        return refusal

    # ---- from the connection

    def carry(self, protocol: asyncio.Protocol) -> None:
        """Give ``protocol`` what comes from now on."""
        self._protocol = protocol
        self.state = BUSY

    def _feed(self) -> None:
        """Pass on what comes in this turn together: a flood of tiny frames is one piece."""
        if not self._due and self._protocol is not None:
            self._due = True
            context = self.connection.service.context
            context.loop.call_soon(self._pass_on_due, context=context.neutral_context)

    def _pass_on_due(self) -> None:
        self._due = False
        while self._kept and self._protocol is not None:
            block = self._next_block()
            self._protocol.data_received(block)
            if self._paused:
                self._held_back += len(block)
            else:
                self._taken(len(block))
        if self.ended:
            self._tell_end()

    def finish_reading(self) -> None:
        if self._protocol is None:
            super().finish_reading()
        else:
            self.ended = True
            self._feed()  # behind what came before

    def _tell_end(self) -> None:
        if self._protocol is not None and not self._told_end:
            self._told_end = True
            self._protocol.eof_received()

    def sent(self) -> None:
        if self._full and self._protocol is not None and self.held() <= LOW:
            self._full = False
            self._protocol.resume_writing()
        super().sent()

    def lose(self) -> None:
        if not self._over and not self.lost:
            self.lost = True
            self.connection.out.forget(self)
            self._end()

    def _end(self) -> None:
        if self._over:
            return
        super()._end()
        held_back, self._held_back = self._held_back, 0
        if held_back:
            self.connection.give_room(held_back)
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            context = self.connection.service.context
            context.loop.call_soon(protocol.connection_lost, None, context=context.neutral_context)

    # ---- from its transport

    def hold(self) -> None:
        """Give the client no more room."""
        self._paused = True

    def go_on(self) -> None:
        self._paused = False
        held_back, self._held_back = self._held_back, 0
        if held_back:
            self._taken(held_back)
        self._feed()

    def put_head(self, block: bytes) -> None:
        """Answer with the header block ``block``."""
        if not self.closes:
            self.connection.out.add(self, (HEAD, block))

    def put(self, data: bytes) -> None:
        if self._shut or self.closes or not data:
            return
        self.put_bytes += len(data)
        self.connection.out.add(self, (BODY, data))
        if not self._full and self._protocol is not None and self.held() > HIGH:
            self._full = True
            self._protocol.pause_writing()

    def shut(self) -> None:
        """Nothing follows what was put."""
        if not self._shut and not self.closes:
            self._shut = True
            self.connection.out.add(self, (LAST_BODY, b""))

    def leave(self) -> None:
        """End it when all is sent."""
        if not self._leaves and not self.closes:
            self.shut()
            self._leaves = True
            self.responded(False, monotonic())

    @property
    def closes(self) -> bool:
        return self.lost or self._over or self._leaves


class StreamTransport(asyncio.Transport):
    """What the protocol of a tunnel has as its transport."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__()
        self._tunnel = tunnel

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._tunnel.carry(protocol)  # type: ignore[arg-type] # nothing buffered is carried

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002 - the connection has it
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._tunnel.put(data if type(data) is bytes else bytes(data))

    def write_eof(self) -> None:
        self._tunnel.shut()

    def get_write_buffer_size(self) -> int:
        return 0 if self._tunnel.lost else self._tunnel.held()

    def pause_reading(self) -> None:
        self._tunnel.hold()

    def resume_reading(self) -> None:
        self._tunnel.go_on()

    def is_closing(self) -> bool:
        return self._tunnel.closes

    def close(self) -> None:
        self._tunnel.leave()

    def abort(self) -> None:
        self._tunnel.drop()
