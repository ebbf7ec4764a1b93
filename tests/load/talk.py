"""A WebSocket client as `Connection` is one for HTTP: each message must come back.

A close frame with 1012 (service restart) is obeyed, also when it crosses a message: such a
message was not lost but is sent again on the next connection. Every other end is a failure.
"""

from __future__ import annotations

import contextlib
import socket

from tests.load.connection import Connection, Failed, Response, parse_head
from tests.load.result import Failure

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
RESTART = 1012
SHORT_MAX = 125
SWITCHING = 101
HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MESSAGE = b"how are you"


def frame(opcode: int, payload: bytes) -> bytes:
    """Whole, masked with zeros, shorter than 126 bytes."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


class TalkingConnection(Connection):
    """See the module. A request is a message and its echo, or a handshake."""

    async def _exchange(self) -> Response:
        if self._sock is not None and not await self._still_open():
            self._recorder.closed_idle += 1
            self._drop()
        if self._sock is None:
            await self._handshake(await self._connect())
        assert self._sock is not None
        return await self._echo(self._sock)

    async def _handshake(self, sock: socket.socket) -> None:
        self._used = 1
        await self._loop.sock_sendall(sock, self._plan.request.removesuffix(b"\r\n") + HANDSHAKE)
        end = await self._line_end(sock, b"\r\n\r\n", 0)
        status, headers = parse_head(bytes(self._buffer[:end]))
        del self._buffer[:end]
        self._worker = headers.get(self.HEADER_OF_WORKER, "")
        if status != SWITCHING:
            raise Failed(Failure.WRONG_STATUS, f"{status} instead of a WebSocket")

    async def _still_open(self) -> bool:
        """Take what has come meanwhile. False when it is over, as announced."""
        assert self._sock is not None
        while self._buffer or self._readable():
            opcode, payload = await self._frame(self._sock)
            if not await self._obey(opcode, payload):
                return False
        return True

    def _readable(self) -> bool:
        assert self._sock is not None
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionResetError as error:
            raise Failed(Failure.CUT, "reset while idle, without a close frame") from error
        return True

    async def _echo(self, sock: socket.socket) -> Response:
        self._used += 1
        response = Response(self._plan.expect_status, {}, MESSAGE)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # its last words can be read
            await self._loop.sock_sendall(sock, frame(TEXT, MESSAGE))
        while True:
            opcode, payload = await self._frame(sock)
            if not await self._obey(opcode, payload):
                response.headers["connection"] = "close"
                return response
            if opcode == TEXT:
                response.body = payload
                return response

    def _judge(self, response: Response) -> None:
        """What follows an echo is the next frame, and no concern of this request."""
        if response.body != MESSAGE:
            raise Failed(Failure.WRONG_BODY, f"{response.body[:60]!r} came back")

    async def _obey(self, opcode: int, payload: bytes) -> bool:
        """Answer a ping or a close. False: it is over, as announced."""
        assert self._sock is not None
        if opcode == PING:
            await self._loop.sock_sendall(self._sock, frame(PONG, payload))
        if opcode != CLOSE:
            return True
        code = int.from_bytes(payload[:2], "big")
        if code != RESTART:
            raise Failed(Failure.CUT, f"closed with {code} {payload[2:]!r}")
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it need not wait for the answer
            await self._loop.sock_sendall(self._sock, frame(CLOSE, payload[:2]))
        return False

    async def _frame(self, sock: socket.socket) -> tuple[int, bytes]:
        try:
            await self._need(sock, 2)
            size = self._buffer[1] & 0x7F
            await self._need(sock, 2 + size)
        except Failed as failed:
            raise Failed(Failure.CUT, f"no close frame: {failed}") from failed
        if size > SHORT_MAX:
            raise Failed(Failure.MALFORMED, f"a frame with length mark {size}")
        opcode, payload = self._buffer[0] & 0x0F, bytes(self._buffer[2 : 2 + size])
        del self._buffer[: 2 + size]
        return opcode, payload
