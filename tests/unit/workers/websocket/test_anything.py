"""A WebSocket whatever its client sends, however that is cut, and whenever it leaves.

A model that reads whole frames says what the application is told, which pings are answered and how it
ends. The real connection, on a transport that is made here, must come to the same: with any cuts, any
delay of the application, with compression or not. And afterwards nothing is held, and nothing is left.
"""

from __future__ import annotations

import asyncio
import codecs
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gwctl.config.model.settings import PoolSettings, WebSocketSettings
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.http1.response_head import HeadBuilder
from gwctl.workers.websocket.answers import Http1Answer
from gwctl.workers.websocket.handshake import judge, websocket_scope
from gwctl.workers.websocket.protocol import WebSocket
from gwctl.workers.websocket.surroundings import Surroundings
from tests.support.websocket import BINARY, CLOSE, CONT, KEY, PING, PONG, TEXT, frame

MESSAGE_MAX = 1000
FLUSH = b"\0\0\xff\xff"
SENDABLE = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


@dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    masked: bool = True

    def wire(self) -> bytes:
        mask = b"\x01\x02\x03\xff" if self.masked else None
        return frame(self.opcode, self.payload, fin=self.fin, rsv=self.rsv, mask=mask)


# ---- the model


class Fails(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


@dataclass
class Model:
    deflate: bool
    told: list[Any] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    end: int = 0
    """The close code that the client gets; 1005 for an empty frame, 0 for none."""

    def __post_init__(self) -> None:
        self.kind = CONT
        self.packed = False
        self.message = b""
        self.wire_size = 0
        self.inflate = zlib.decompressobj(-15)

    def read(self, frames: list[Frame]) -> None:
        for one in frames:
            try:
                self._frame(one)
            except Fails as failure:
                self.end = failure.code
            if self.end:
                return

    def _frame(self, one: Frame) -> None:
        size = len(one.payload)
        control = one.opcode >= CLOSE
        if (
            not one.masked
            or one.opcode not in {CONT, TEXT, BINARY, CLOSE, PING, PONG}
            or (one.rsv and (one.rsv != 4 or not self.deflate or one.opcode not in {TEXT, BINARY}))
            or (control and (not one.fin or size > 125))
            or (one.opcode == CLOSE and size == 1)
            or (one.opcode == CONT and self.kind == CONT)
            or (one.opcode in {TEXT, BINARY} and self.kind != CONT)
        ):
            raise Fails(1002)
        if one.opcode == CLOSE:
            self._close(one.payload)
        elif one.opcode == PING:
            self.pongs.append(one.payload)
        elif one.opcode != PONG:
            self._data(one)

    def _close(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        if payload and code not in SENDABLE:
            raise Fails(1002)
        try:
            payload[2:].decode()
        except UnicodeDecodeError:
            raise Fails(1007) from None
        self.end = code

    def _data(self, one: Frame) -> None:
        if one.opcode != CONT:
            self.kind, self.packed, self.message, self.wire_size = one.opcode, bool(one.rsv), b"", 0
        self.wire_size += len(one.payload)
        if self.wire_size > (MESSAGE_MAX + MESSAGE_MAX // 64 + 64 if self.packed else MESSAGE_MAX):
            raise Fails(1009)
        for piece in (
            self._unpacked(one.payload + FLUSH if one.fin else one.payload) if self.packed else [one.payload]
        ):
            self.message += piece
            if len(self.message) > MESSAGE_MAX:
                raise Fails(1009)
            self._check(final=False)
        if one.fin:
            self._check(final=True)
            self.told.append(self.message.decode() if self.kind == TEXT else self.message)
            self.kind = CONT

    def _unpacked(self, data: bytes) -> Any:
        while True:
            try:
                yield self.inflate.decompress(data)
            except zlib.error:
                raise Fails(1002) from None
            if not self.inflate.eof:
                return
            data = self.inflate.unused_data
            self.inflate = zlib.decompressobj(-15)
            if not data:
                return

    def _check(self, *, final: bool) -> None:
        if self.kind == TEXT:
            try:
                codecs.utf_8_decode(self.message, "strict", final)
            except UnicodeDecodeError:
                raise Fails(1007) from None


# ---- the real one


class Transport(asyncio.Transport):
    """Delivers what the client has sent when it is read, as a kernel would."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.protocol: Any = None
        self.out = b""
        self.pieces: deque[bytes] = deque()
        self.client_left = False
        self.paused = self.ended = self.closing = self.over = False

    def deliver(self) -> None:
        while self.pieces and not self.paused and not self.closing:
            self.protocol.data_received(self.pieces.popleft())
        if self.client_left and not self.pieces and not self.paused and not self.closing:
            self.client_left = False
            assert self.protocol.eof_received()

    def write(self, data: Any) -> None:
        assert not self.ended, "written behind the end"
        if not self.closing:
            self.out += data

    def write_eof(self) -> None:
        assert not self.ended
        assert not self.closing
        self.ended = True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self._lost)

    def abort(self) -> None:
        self.close()

    def _lost(self) -> None:
        self.over = True
        self.protocol.connection_lost(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Real:
    """One connection, and its application: it does a step each time it is told ``go``."""

    def __init__(self, *, deflate: bool, queue_bytes: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.told: list[Any] = []
        self.disconnect: Any = None
        self.steps = asyncio.Semaphore(0)
        self.freely = False
        pool = PoolSettings(
            app="test",
            websocket=WebSocketSettings(message_bytes_max=MESSAGE_MAX, queue_bytes_max=queue_bytes),
        )
        log = Log(2, Level.ERROR, "test")
        self.around = Surroundings(
            self.loop, self._application, {}, pool, HeadBuilder(bytes), log, lambda: None
        )
        headers = [
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", KEY),
            (b"sec-websocket-extensions", b"permessage-deflate" if deflate else b"x"),
        ]
        opening = judge(headers, True)
        assert (opening.agreement is not None) == deflate
        scope = websocket_scope({"path": "/", "query_string": b""}, opening, {})
        self.answers: list[int] = []
        self.transport = Transport(self.loop)
        self.protocol = WebSocket(
            self.around,
            opening,
            scope,
            self.transport,
            Http1Answer(self.transport, self.around.heads),
            lambda status, size: self.answers.append(status),
        )
        self.transport.protocol = self.protocol
        self.loop.run_until_complete(self._connect())

    async def _connect(self) -> None:
        self.protocol.connection_made(self.transport)

    async def _step(self) -> None:
        if not self.freely:
            await self.steps.acquire()

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        await self._step()
        assert await receive() == {"type": "websocket.connect"}
        await self._step()
        if self.protocol._end_message is None:
            await send({"type": "websocket.accept"})
        while True:
            await self._step()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.disconnect = message
                return
            self.told.append(message["text"] if "text" in message else message["bytes"])

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        self.transport.deliver()

    def finish(self) -> None:
        """Let all come to its end: first what was sent is read, then the client leaves."""
        self.freely = True
        for _ in range(10):
            self.steps.release()
        for _ in range(3):
            before = None
            while before != (before := (len(self.transport.pieces), len(self.told), len(self.transport.out))):
                for _ in range(30):
                    self.turn()
            self.transport.client_left = True
        for _ in range(30):
            self.turn()

    def close(self) -> None:
        """Also when a test has failed, or hypothesis has given an example up."""
        for task in list(self.around.tasks):
            task.cancel()
        for _ in range(5):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        self.loop.close()


def frames_of(out: bytes) -> tuple[list[bytes], int]:
    """Return the pongs in ``out``, and the code of the close frame, behind which there is nothing."""
    head, _, rest = out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ") or not out
    pongs: list[bytes] = []
    while rest:
        opcode, size = rest[0] & 15, rest[1]
        assert rest[0] & 0xF0 == 0x80
        assert size < 126
        payload, rest = rest[2 : 2 + size], rest[2 + size :]
        if opcode == CLOSE:
            assert not rest
            return pongs, int.from_bytes(payload[:2], "big") if payload else 1005
        assert opcode == PONG
        pongs.append(payload)
    return pongs, 0


# ---- what clients send


def pack(data: bytes, *, final: bool) -> bytes:
    packer = zlib.compressobj(wbits=-12)
    if final:
        return packer.compress(data) + packer.flush(zlib.Z_FINISH) + b"\0"
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


texts = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.text(alphabet="aé€😀", min_size=1, max_size=300).map(str.encode),
    st.binary(max_size=20),
    st.sampled_from(
        [b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98", b"x" * MESSAGE_MAX, b"x" * (MESSAGE_MAX + 1)]
    ),
)


@st.composite
def messages(draw: Any, deflate: bool) -> list[Frame]:
    """A message, mostly right, in fragments, with control frames between them."""
    kind = draw(st.sampled_from([TEXT, BINARY]))
    data = draw(texts)
    packed = deflate and draw(st.booleans())
    if packed:
        data = pack(data, final=draw(st.booleans()))
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    parts = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    found = []
    for number, part in enumerate(parts):
        found.append(
            Frame(
                kind if not number else CONT,
                part,
                number == len(parts) - 1,
                4 if packed and not number else 0,
            )
        )
        if draw(st.booleans()):
            found.append(Frame(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125))))
    return found


closes = st.one_of(
    st.just(b""),
    st.builds(
        lambda code, reason: code.to_bytes(2, "big") + reason, st.sampled_from(sorted(SENDABLE)), texts
    ),
    st.binary(max_size=8),
).map(lambda payload: [Frame(CLOSE, payload[:125])])

anything = st.builds(
    lambda *parts: [Frame(*parts)],
    st.integers(0, 15),
    st.one_of(st.binary(max_size=130), texts),
    st.booleans(),
    st.sampled_from([0, 0, 0, 4, 1, 2, 7]),
    st.sampled_from([True, True, True, False]),
)


def conversations(deflate: bool) -> Any:
    whole = messages(deflate)
    usual = st.lists(st.one_of(whole, whole, whole, anything, closes), max_size=6)
    return usual.map(lambda found: [one for some in found for one in some])


@settings(max_examples=200, deadline=None)
@given(st.data(), st.booleans())
def test_whatever_comes(data: Any, deflate: bool) -> None:
    frames = data.draw(conversations(deflate))
    wire = b"".join(one.wire() for one in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    pieces = [
        wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True) if end > start
    ]
    if data.draw(st.booleans()) and len(wire) < 300:
        pieces = [wire[at : at + 1] for at in range(len(wire))]
    model = Model(deflate)
    model.read(frames)
    real = Real(deflate=deflate, queue_bytes=data.draw(st.sampled_from([0, 300, 65_536])))
    try:
        for piece in pieces:
            real.transport.pieces.append(piece)
            for _ in range(data.draw(st.integers(0, 2))):
                real.steps.release()
            real.turn()
        real.finish()
        assert real.told == model.told
        pongs, code = frames_of(real.transport.out)
        assert pongs == model.pongs
        assert code == model.end
        assert real.disconnect is not None
        assert real.disconnect["code"] == (model.end or 1006)
        assert real.answers[0] == 101
        assert_nothing_is_left(real)
    finally:
        real.close()


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 40))
def test_whenever_the_connection_is_lost(data: Any, deflate: bool, when: int) -> None:
    """What was told before is the beginning of what the model says; then comes one disconnect."""
    frames = data.draw(conversations(deflate))
    wire = b"".join(one.wire() for one in frames)
    model = Model(deflate)
    model.read(frames)
    real = Real(deflate=deflate, queue_bytes=300)
    size = max(1, len(wire) // 20)
    try:
        for number, at in enumerate(range(0, len(wire), size)):
            if number == when:
                break
            real.transport.pieces.append(wire[at : at + size])
            real.steps.release()
            real.turn()
        real.transport.abort()
        real.finish()
        assert real.told == model.told[: len(real.told)]
        pongs, code = frames_of(real.transport.out)
        assert pongs == model.pongs[: len(pongs)]
        assert code in {0, model.end}
        # The client's own close may have been read and not yet answered.
        assert real.disconnect["code"] in ({code} if code else {1006, model.end})
        assert_nothing_is_left(real)
    finally:
        real.close()


ENDS = st.sampled_from(["go_away", "shutdown", "closes"])


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 20), ENDS)
def test_whenever_the_server_ends_it(data: Any, deflate: bool, when: int, how: str) -> None:
    """The client gets one close frame, or a refusal, whatever it is sending."""
    frames = data.draw(conversations(deflate))
    wire = b"".join(one.wire() for one in frames)
    real = Real(deflate=deflate, queue_bytes=300)
    size = max(1, len(wire) // 10)
    try:
        for number, at in enumerate(range(0, len(wire), size)):
            if number == when:
                break
            real.transport.pieces.append(wire[at : at + size])
            real.steps.release()
            real.turn()
        if how == "closes":
            real.protocol._say_close(4000, "enough")
        else:
            getattr(real.protocol, how)()
        real.transport.pieces.append(wire)
        real.finish()
        out = real.transport.out
        if out.startswith(b"HTTP/1.1 503"):
            assert how != "closes"
            assert real.disconnect["code"] == 1006
        else:
            _, code = frames_of(out)
            assert code == real.disconnect["code"] or (not code and real.disconnect["code"] == 1006)
        assert_nothing_is_left(real)
    finally:
        real.close()


def assert_nothing_is_left(real: Real) -> None:
    assert real.transport.over
    assert not real.around.connections
    assert not real.around.tasks
    assert not real.around.holders
    assert real.around.memory.total == 0
    assert real.protocol._timer is None or real.protocol._timer.cancelled() or real.protocol._gone
