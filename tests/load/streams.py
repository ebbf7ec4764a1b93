"""A connection of HTTP/2 with several requests at a time, as `Connection` is one of HTTP/1.1.

The client does as RFC 9113 says of one that is told to go: what lies behind the last stream of a GOAWAY, and what
is refused (REFUSED_STREAM), was never seen and is sent again on another connection; what does not is to be
answered on the old one. A request is lost if its connection ends, or its stream is reset, without one of these.

The frames are its own: h2 gives up a connection, with all its streams, at the first GOAWAY.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Any, Final
from urllib.parse import urlsplit

import hpack

from gwctl.workers.http2 import wire
from tests.load.connection import READ_BYTES, Connection, Failed, Response
from tests.load.plan import Plan
from tests.load.result import Failure, Recorder

AT_ONCE: Final = 4
ROOM: Final = 1 << 24


class Unseen(Exception):
    """The server says that it has not seen this request."""


class Answer:
    """What has come of one, and who waits for it."""

    def __init__(self, whole: asyncio.Future[Response]) -> None:
        self.whole = whole
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    def end(self, error: Exception) -> None:
        if not self.whole.done():
            self.whole.set_exception(error)


class Multiplexer:
    """One connection."""

    def __init__(self, sock: socket.socket, port: int) -> None:
        self.sock = sock
        self.port = port
        self.told = False
        """To go elsewhere."""
        self.over = False
        self.used = 0
        self._loop = asyncio.get_running_loop()
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._answers: dict[int, Answer] = {}
        self._next_id = 1
        self._untold = 0
        self._writing = asyncio.Lock()
        self._reader = asyncio.create_task(self._read())

    def is_open(self) -> bool:
        """Tell whether it takes requests."""
        return not (self.told or self.over)

    async def start(self) -> None:
        settings = wire.settings_frame([(wire.ENABLE_PUSH, 0), (wire.INITIAL_WINDOW_SIZE, ROOM)])
        await self._send(wire.PREFACE + settings + wire.window_frame(0, ROOM))

    async def _send(self, data: bytes) -> None:
        async with self._writing:  # frames of two requests must not be mixed
            with contextlib.suppress(
                ConnectionResetError, BrokenPipeError
            ):  # what has come says how it ended
                await self._loop.sock_sendall(self.sock, data)

    async def ask(self, fields: list[tuple[str, str]], body: bytes) -> Response:
        """Send a request and return its answer.

        Raises:
            Unseen: It may be sent again.
            Failed: It is lost.
        """
        if not self.is_open():
            raise Unseen
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self.used += 1
        answer = self._answers[stream_id] = Answer(self._loop.create_future())
        block = self._encoder.encode(fields)
        frames = [wire.header_frames(stream_id, block, 0 if body else wire.END_STREAM, wire.FRAME_BYTES_MAX)]
        for at in range(0, len(body), wire.FRAME_BYTES_MAX):
            part = body[at : at + wire.FRAME_BYTES_MAX]
            last = at + len(part) == len(body)
            frames.append(wire.frame(wire.DATA, wire.END_STREAM if last else 0, stream_id, part))
        try:
            await self._send(b"".join(frames))
            return await answer.whole
        finally:
            self._answers.pop(stream_id, None)
            if self.told and not self._answers:
                self.close()

    def close(self) -> None:
        self._reader.cancel()
        self._ended()

    def _ended(self) -> None:
        self.over = True
        self.sock.close()
        for answer in self._answers.values():
            got = f"{answer.status or 'no status'}, {len(answer.body)} bytes"
            failure = Failure.TRUNCATED if answer.status else Failure.RESET_REUSED
            answer.end(Failed(failure, f"the connection has ended: {got}"))

    async def _read(self) -> None:
        data = bytearray()
        try:
            while more := await self._loop.sock_recv(self.sock, READ_BYTES):
                data += more
                while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
                    await self._frame(data[3], data[4], int.from_bytes(data[5:9], "big"), bytes(data[9:end]))
                    del data[:end]
        except ConnectionResetError:
            pass
        finally:
            self._ended()

    async def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == wire.GOAWAY:
            self.told = True
            (last,) = struct.unpack(">I", payload[:4])
            for number, each in self._answers.items():
                if number > last:
                    each.end(Unseen())
        elif kind in {wire.SETTINGS, wire.PING} and not flags & wire.ACK:
            await self._send(wire.frame(kind, wire.ACK, 0, payload if kind == wire.PING else b""))
        elif kind == wire.HEADERS:
            fields: Any = self._decoder.decode(
                payload
            )  # also of one that nobody waits for: it may change the table
            if answer := self._answers.get(stream_id):
                answer.headers |= dict(fields)
                answer.status = int(answer.headers[":status"])
        elif kind == wire.DATA:
            await self._take(stream_id, payload)
        elif kind == wire.RST_STREAM and (answer := self._answers.get(stream_id)):
            (code,) = struct.unpack(">I", payload)
            refused = code == wire.REFUSED_STREAM
            answer.end(Unseen() if refused else Failed(Failure.TRUNCATED, f"its stream was reset: {code}"))
        if kind in {wire.HEADERS, wire.DATA} and flags & wire.END_STREAM:
            self._whole(stream_id)

    async def _take(self, stream_id: int, payload: bytes) -> None:
        if answer := self._answers.get(stream_id):
            answer.body += payload
        self._untold += len(payload)
        if self._untold > ROOM // 2:
            untold, self._untold = self._untold, 0
            await self._send(wire.window_frame(0, untold))

    def _whole(self, stream_id: int) -> None:
        answer = self._answers.get(stream_id)
        if answer is not None and not answer.whole.done():
            answer.whole.set_result(Response(answer.status, answer.headers, bytes(answer.body)))


class StreamingConnection:
    """See the module: `AT_ONCE` requests at a time, each with a pause of its own behind it."""

    def __init__(self, number: int, plan: Plan, recorder: Recorder, stop: asyncio.Event) -> None:
        self._recorder = recorder
        self._opening = asyncio.Lock()
        self._shared: Multiplexer | None = None
        self._askers = [Asker(number * AT_ONCE + each, plan, recorder, stop, self) for each in range(AT_ONCE)]
        self.tried = self._askers[0].tried

    async def run(self) -> None:
        await asyncio.gather(*[asker.run() for asker in self._askers])
        if self._shared is not None:
            self._shared.close()

    async def open(self, asker: Asker) -> Multiplexer:
        """Return the connection to ask on at present, a new one if that is over."""
        async with self._opening:
            shared = self._shared
            if shared is None or not shared.is_open():
                if shared is not None and shared.told:
                    self._recorder.closes_obeyed += 1
                elif shared is not None:
                    self._recorder.closed_idle += 1
                shared = self._shared = await asker.connect()
            return shared


class Asker(Connection):
    """One request after the other, among others on a connection."""

    def __init__(
        self, number: int, plan: Plan, recorder: Recorder, stop: asyncio.Event, home: StreamingConnection
    ) -> None:
        super().__init__(number, plan, recorder, stop)
        self._home = home

    async def connect(self) -> Multiplexer:
        multiplexer = Multiplexer(await self._connect(), self._port)
        await multiplexer.start()
        return multiplexer

    def _drop(self) -> None:
        """A request is over; the connection has others."""

    async def _exchange(self) -> Response:
        while True:
            shared = await self._home.open(self)
            if shared.port != self._port:
                self._worker = ""
            self._port, self._used = shared.port, shared.used + 1
            try:
                response = await shared.ask(self._fields(), self._plan.body)
            except Unseen:
                continue
            self._worker = response.headers.get(self.HEADER_OF_WORKER, "")
            return response

    def _fields(self) -> list[tuple[str, str]]:
        parts = urlsplit(self._plan.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        method = "POST" if self._plan.body else "GET"
        return [(":method", method), (":scheme", "http"), (":path", target), (":authority", parts.netloc)]
