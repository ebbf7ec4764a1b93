"""A client of HTTP/2 that does what a test says, frame by frame, to the letter or not.

    with Engine(application, "threads", http=("h2", "h1")) as engine, Http2Client(engine) as client:
        first, second = client.open("/one"), client.open("/two")
        assert second.whole().body == b"two"

Its streams are those of `tests.support.memory_client`: what comes is the same events, so whatever is tested with
that client can be tested with this one. A stream takes as much of a body as it allows: the client's own windows
are 0, but for what `Stream.allow` says.

What comes is read by a thread, at once, and what it calls for is sent: acknowledgements of settings and pings,
and room for the connection. All of that can be turned off (`Http2Client.silent`, `Http2Client.room`).
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import hpack

from gwctl.config.model.http2 import Http2Settings
from gwctl.workers.http2 import wire
from tests.support.engine import Engine
from tests.support.memory_client import BLOCK
from tests.support.memory_client import Stream as MemoryStream
from tests.support.memory_wire import (
    Action,
    Allowed,
    Continue,
    Data,
    End,
    Finished,
    Gone,
    Head,
    Hints,
    Inbox,
    Reset,
    Sent,
    Trailers,
)
from tests.support.wait import DEADLINE_S, until

Fields = list[tuple[bytes, bytes]]

WINDOW: Final = 1 << 20
UPLOAD_WINDOW: Final = Http2Settings().window_bytes
ROOM: Final = 1 << 30
_ORIGIN: Final = frozenset({b"date", b"server"})


class _Outbox(Inbox):
    """Where a stream puts what it does: it is sent at once."""

    def __init__(self, client: Http2Client) -> None:
        super().__init__(lambda: None)
        self._client = client

    def put(self, wire_of: Any, action: Action) -> None:
        self._client.act(wire_of, action)


class Stream(MemoryStream):
    """``stream_id``: its number. ``allowed``: what the server may send, and has not."""

    def __init__(self, client: Http2Client, stream_id: int, window: int) -> None:
        super().__init__(_Outbox(client), window)
        self.stream_id = stream_id
        self.code = -1  # of its reset
        self.origin: dict[bytes, bytes] = {}  # Date and Server: not among the head's fields
        self.left = False

    def _may_send(self, size: int) -> bool:
        return self.is_over or self.unread + size <= UPLOAD_WINDOW


class Http2Client:
    """One connection. At its end it leaves, with all its streams."""

    upload_window = UPLOAD_WINDOW

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        sock: socket.socket | None = None,
        settings: tuple[tuple[int, int], ...] = ((wire.INITIAL_WINDOW_SIZE, 0),),
        room: int = ROOM,
        silent: bool = False,
        reads: bool = True,
    ) -> None:
        """``room``: what the connection's window is made larger by. ``silent``: nothing is sent of its own accord."""
        self.engine = engine
        self.silent = silent
        self._start = wire.PREFACE + wire.settings_frame(list(settings))
        if room:
            self._start += wire.window_frame(0, room)
        self.streams: dict[int, Stream] = {}
        self.settings: dict[int, int] = {}
        self.frames: list[tuple[int, int, int, bytes]] = []  # kind, flags, stream, payload of all but DATA
        self.goaways: list[tuple[int, int]] = []  # last stream and code
        self.pongs: list[bytes] = []
        self.next_id = 1
        self._writing = threading.Lock()
        self._addresses: list[Any] = []
        self._connect(sock, reads=reads)

    def _connect(self, sock: socket.socket | None, *, reads: bool = True) -> None:
        if sock is None:
            assert self.engine is not None
            sock = self.engine.connect().sock
        self.sock = sock
        self._addresses.append(sock.getsockname())
        self.left = False
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.ended = threading.Event()
        sock.settimeout(DEADLINE_S)
        if sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # frames arrive as they are sent
        self.send(self._start)
        self._thread = threading.Thread(target=self._read, daemon=True)
        if reads:
            self.read()

    def read(self) -> None:
        """Read from now on."""
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _exc: object, _tb: TracebackType | None) -> None:
        self.disconnect()
        if self.engine is not None:
            until(lambda: not self.exchanges, "the exchanges to be gone")

    # ---- what it does

    def send(self, data: bytes) -> None:
        with self._writing:
            try:
                self.sock.sendall(data)
            except (OSError, ssl.SSLError):
                self.ended.set()

    def frame(self, kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> None:
        self.send(wire.frame(kind, flags, stream_id, payload))

    def head(
        self, target: str, method: str, *fields: tuple[bytes, bytes], host: bytes | None = b"test"
    ) -> bytes:
        pseudo = [(b":method", method.encode()), (b":scheme", b"http"), (b":path", target.encode())]
        if host is not None:
            pseudo.append((b":authority", host))
        return self.encoder.encode([*pseudo, *fields])

    def open(
        self,
        target: str = "/",
        method: str = "GET",
        *fields: tuple[bytes, bytes],
        body: bytes = b"",
        ends: bool = True,
        window: int = WINDOW,
        host: bytes | None = b"test",
    ) -> Stream:
        """Send a request: its head, and what of its ``body`` comes with it."""
        if self.left:
            self._connect(None)
        return self.send_block(
            self.head(target, method, *fields, host=host), body=body, ends=ends, window=window
        )

    def raw(self, fields: Fields, *, body: bytes = b"", ends: bool = True, window: int = WINDOW) -> Stream:
        """The same with the fields as they are, pseudo-header included."""
        return self.send_block(self.encoder.encode(fields), body=body, ends=ends, window=window)

    def send_block(self, block: bytes, *, body: bytes, ends: bool, window: int) -> Stream:
        stream = Stream(self, self.next_id, window)
        self.streams[stream.stream_id] = stream
        self.next_id += 2
        frames = [
            wire.header_frames(
                stream.stream_id, block, wire.END_STREAM if ends and not body else 0, wire.FRAME_BYTES_MAX
            )
        ]
        fits = body[:UPLOAD_WINDOW]
        for at in range(0, len(fits), BLOCK):
            last = ends and at + BLOCK >= len(body)
            data = fits[at : at + BLOCK]
            frames.append(wire.frame(wire.DATA, wire.END_STREAM if last else 0, stream.stream_id, data))
        if window:
            frames.append(wire.window_frame(stream.stream_id, window))
        stream.uploaded = len(fits)
        self.send(b"".join(frames))
        if self.ended.is_set():
            self._end_streams()  # the thread that reads may not have seen this one
        if len(body) > len(fits):
            stream.upload(body[len(fits) :])
            if ends:
                stream.finish()
        return stream

    def post(
        self, target: str, *fields: tuple[bytes, bytes], body: bytes = b"", window: int = WINDOW
    ) -> Stream:
        """Begin an upload, with ``body`` as its first block."""
        return self.open(target, "POST", *fields, body=body, ends=False, window=window)

    def act(self, stream: Any, action: Action) -> None:
        match action:
            case Sent(data):
                self.frame(wire.DATA, 0, stream.stream_id, data)
            case Finished():
                self.frame(wire.DATA, wire.END_STREAM, stream.stream_id)
            case Allowed(size):
                self.send(wire.window_frame(stream.stream_id, size))
            case Gone():
                stream.left = True
                self.send(wire.reset_frame(stream.stream_id, wire.CANCEL))
                self._wait_until_left(stream)

    def _wait_until_left(self, stream: Stream) -> None:
        """Wait until the server has read it, unless its loop is held: then nobody reads."""
        engine = self.engine
        if engine is None or engine.application.worker_class.holds_loop:
            return
        if threading.current_thread() is not engine.thread:
            streams = self.connection.streams
            until(lambda: stream.stream_id not in streams, "the stream to be gone")

    def addresses(self) -> tuple[Any, Any]:
        """Return its own and the server's."""
        return self.sock.getsockname(), self.sock.getpeername()

    def disconnect(self) -> None:
        self.left = True
        for stream in self.streams.values():
            stream.left = True
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(DEADLINE_S)
        self.sock.close()  # not before: its number may be another socket's at once

    # ---- what comes

    def _read(self) -> None:
        data = b""
        try:
            while True:
                while len(data) < 9 or len(data) < 9 + int.from_bytes(data[:3], "big"):
                    more = self._receive()
                    if not more:
                        return
                    data += more
                size = int.from_bytes(data[:3], "big")
                self._frame(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size])
                data = data[9 + size :]
        except (OSError, ValueError):
            return
        finally:
            self.ended.set()
            self._end_streams()

    def _receive(self) -> bytes:
        """What comes next. OpenSSL allows no two threads in one connection: of TLS only what is there is read."""
        if not isinstance(self.sock, ssl.SSLSocket):
            return self.sock.recv(1 << 18)
        if not self.sock.pending():
            select.select([self.sock], [], [], DEADLINE_S)
        with self._writing:
            return self.sock.recv(1 << 18)

    def _end_streams(self) -> None:
        for stream in list(self.streams.values()):
            if not (stream.is_over or stream.left):
                stream.events.append(Reset("the connection has ended"))

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind != wire.DATA:
            self.frames.append((kind, flags, stream_id, payload))
        stream = self.streams.get(stream_id)
        if stream is None:
            self._of_connection(kind, flags, payload)
        elif kind == wire.RST_STREAM:
            stream.code = struct.unpack(">I", payload)[0]
            stream.events.append(Reset(f"code {stream.code}"))
        elif kind == wire.WINDOW_UPDATE:
            stream.acknowledged += struct.unpack(">I", payload)[0]
        else:
            if kind == wire.HEADERS:
                assert flags & wire.END_HEADERS
                self._head(stream, list(self.decoder.decode(payload, raw=True)))
            elif payload:
                stream.events.append(Data(payload))
            if flags & wire.END_STREAM:
                stream.events.append(End())

    def _of_connection(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == wire.SETTINGS and not flags & wire.ACK:
            self.settings |= dict(struct.iter_unpack(">HI", payload))
            if not self.silent:
                self.send(wire.SETTINGS_ACK)
        elif kind == wire.PING and flags & wire.ACK:
            self.pongs.append(payload)
        elif kind == wire.PING and not self.silent:
            self.frame(wire.PING, wire.ACK, 0, payload)
        elif kind == wire.GOAWAY:
            self.goaways.append(struct.unpack(">II", payload[:8]))

    @staticmethod
    def _head(stream: Stream, fields: Any) -> None:
        plain = [(bytes(name), bytes(value)) for name, value in fields if not name.startswith(b":")]
        statuses = [int(value) for name, value in fields if name == b":status"]
        if not statuses:
            stream.events.append(Trailers(plain))
        elif statuses[0] == 100:
            stream.events.append(Continue())
        elif statuses[0] == 103:
            stream.events.append(Hints(plain))
        else:
            stream.origin = {name: value for name, value in plain if name in _ORIGIN}
            stream.events.append(Head(statuses[0], [each for each in plain if each[0] not in _ORIGIN]))

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        return until(condition, lambda: f"{what}; came: {self.frames[-10:]}")

    def goaway(self) -> tuple[int, int]:
        """Wait for a GOAWAY, which is the last; return last stream and code."""
        assert self.ended.wait(DEADLINE_S)
        return self.goaways[-1]

    # ---- inside the server

    @property
    def connection(self) -> Any:
        """The server's, once it is there."""
        assert self.engine is not None
        address = self.sock.getsockname()
        engine = self.engine

        def find() -> Any:
            # Not in the loop's thread: a call may hold that.
            return [each for each in list(engine.server.http2.connections) if each.peer == address]

        return until(find, "the connection")[0]

    @property
    def exchanges(self) -> list[Any]:
        """Those that are open in the server."""
        assert self.engine is not None
        engine = self.engine

        def open_streams() -> list[Any]:
            own = [each for each in engine.server.http2.connections if each.peer in self._addresses]
            return [stream for each in own for stream in each.streams.values()]

        found: list[Any] = engine.call(open_streams)
        return found

    def exchange(self, stream: Stream) -> Any:
        """That of ``stream``, once it is there."""
        connection = self.connection
        return until(lambda: connection.streams.get(stream.stream_id), "the exchange")
