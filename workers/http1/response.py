"""A response as HTTP/1.1 has it on its way: a head, a body by its length or in chunks, trailers.

`Http1Response` makes the bytes for whoever answers. A `LoopResponse` writes them to the connection's
transport, in the loop's thread, and never waits; a WSGI call has `gwctl.workers.http1.call_response`.
There is one for each connection, which all its requests use.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gwctl.workers.exchange.response import COUNTED, MARKED, NO_BODY, Fields, Response
from gwctl.workers.http1.response_head import CONTINUE, LAST_CHUNK, chunk

if TYPE_CHECKING:
    import asyncio

    from gwctl.workers.http1.connection import ConnectionBase

JOINED_BYTES_MAX: Final = 65536
"""Smaller blocks leave in one write with what comes before them."""
_INTERIM_FIELDS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-connection",
        b"server",
        b"transfer-encoding",
    }
)
"""Not in a 103: they are the server's, or describe a body that it has not."""


class Http1Response(Response):
    """Base of both.

    Attributes:
        head: Made and not written.
        chunk_left: Bytes of a chunk that has begun and comes in pieces.
    """

    __slots__ = ("chunk_left", "connection", "head")

    def __init__(self, connection: ConnectionBase) -> None:
        super().__init__(connection.service.heads)
        self.connection = connection
        self.head = b""
        self.chunk_left = 0

    def write(self, data: bytes | memoryview) -> None:
        """Send ``data`` behind what was written before."""
        raise NotImplementedError

    def begin(self, line: bytes, status: int, headers: Fields, known: int) -> None:
        connection = self.connection
        service = connection.service
        keep_alive = connection.keep_alive and not service.draining
        if connection.expecting:  # too late to ask for the body, and it may come or not
            connection.expecting = keep_alive = False
        self.chunk_left = 0
        self.head, self.framing, self.left, self.keep_alive = service.heads.build(
            line, status, headers, known, connection.http11, connection.is_head, keep_alive
        )

    def block(self, data: bytes | memoryview) -> None:
        head = self.head
        size = len(data)
        if head:
            self.head = b""
            if not size or self.framing == NO_BODY:
                self.write(head)
                return
            if size > JOINED_BYTES_MAX:
                self.write(head)
                head = b""
        elif not size or self.framing == NO_BODY:
            return
        if self.framing == MARKED:
            if self.chunk_left:
                self.chunk_left -= size
                data = data if self.chunk_left else b"".join((data, b"\r\n"))
            else:
                data = chunk(data)
        self.write(head + data if head else data)

    def large_block(self, size: int) -> None:
        head, self.head = self.head, b""
        if self.framing == MARKED:
            head += b"%x\r\n" % size
            self.chunk_left = size
        if head:
            self.write(head)

    def end(self, data: bytes = b"", *, trailers: bool = False) -> None:
        if self.framing == MARKED:
            head, self.head = self.head, b""
            last = b"0\r\n" if trailers else LAST_CHUNK
            self.write(head + (chunk(data) + last if data else last))
        else:
            self.block(data)

    def trailers(self, fields: list[tuple[bytes, bytes]], *, last: bool) -> None:
        lines = [name + b": " + value + b"\r\n" for name, value in fields]
        self.write(b"".join([*lines, b"\r\n"] if last else lines))

    def hints(self, headers: Fields, *, too_late: bool = False) -> None:
        encode = self.heads.encode
        fields = [encode(header) for header in headers]
        lines = [
            name + b": " + value + b"\r\n" for name, value in fields if name.lower() not in _INTERIM_FIELDS
        ]
        if lines and self.connection.http11 and not too_late:
            self.write(b"HTTP/1.1 103 Early Hints\r\n" + b"".join(lines) + b"\r\n")

    def ask_for_body(self) -> None:
        self.write(CONTINUE)

    def error(self, status: int) -> int:
        connection = self.connection
        self.head = b""
        self.keep_alive = False
        data = connection.service.heads.error(status, connection.is_head)
        self.write(data)
        return len(data)


class LoopResponse(Http1Response):
    """Written to the transport, which takes all of it; ``connection.write_paused`` says when to wait."""

    __slots__ = ("_write",)

    def __init__(self, connection: ConnectionBase, write: Callable[[Any], None]) -> None:
        super().__init__(connection)
        self._write = write

    def write(self, data: bytes | memoryview) -> None:
        self._write(data)

    def whole(self, line: bytes, status: int, headers: Fields, body: bytes, length: int, now: float) -> bool:
        connection = self.connection
        if connection.is_head or connection.expecting or not connection.http11 or not connection.keep_alive:
            return False
        service = connection.service
        if service.draining:
            return False
        response = service.heads.usual(line, status, headers, body, length, now)
        if response is None:
            return False
        self.keep_alive = True
        if connection.collects and not connection.held_bytes():
            service.outbox.take(connection, response, now)
        else:  # behind what the transport holds, which may do TLS
            self._write(response)
        return True

    def file_output(self) -> SocketFileOutput | None:
        connection = self.connection
        if self.framing != COUNTED or connection.tls is not None:
            return None
        return SocketFileOutput(connection.service.context.loop, connection.sock.fileno())


class DistantResponse(LoopResponse):
    """Made in another thread than the one that has the connection: pieces of bytes."""

    __slots__ = ()

    def __init__(self, far: ConnectionBase, put: Callable[[Any, int], None]) -> None:
        # A part of an application's block may come as a view of what it goes on to change.
        super().__init__(far, lambda data: put(bytes(data), len(data)))

    def whole(self, *_: Any) -> bool:
        return False  # the other way does for all

    def file_output(self) -> None:
        return None


def is_interim(piece: bytes) -> bool:
    """Tell whether a distant response's piece is an interim response."""
    return piece.startswith(b"HTTP/1.1 1")


class SocketFileOutput:
    """By sendfile(2), past the transport."""

    __slots__ = ("_fd", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        """``fd`` is that of the connection: it may be closed, and its number be another's, meanwhile."""
        self._loop = loop
        self._fd = os.dup(fd)

    def send(self, file: int, position: int, count: int) -> int:
        return os.sendfile(self._fd, file, position, count)

    def watch(self, tell: Callable[[], Any]) -> None:
        self._loop.add_writer(self._fd, tell)

    def unwatch(self) -> None:
        self._loop.remove_writer(self._fd)

    def close(self) -> None:
        os.close(self._fd)
