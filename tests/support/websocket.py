"""WebSocket frames byte for byte, right and wrong, over a raw `Client` of `tests.support.engine`."""

from __future__ import annotations

from itertools import cycle
from typing import Any

from tests.support.engine import Client, Engine
from tests.support.wait import until

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def handshake(*headers: bytes, path: bytes = b"/", without: bytes = b"") -> bytes:
    """A request for a WebSocket, with ``headers`` more and the one named ``without`` left out."""
    fields = [
        b"Host: x",
        b"Connection: keep-alive, Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + KEY,
    ]
    kept = [field for field in fields if not without or not field.startswith(without + b":")]
    lines = b"".join(line + b"\r\n" for line in (*kept, *headers))
    return b"GET " + path + b" HTTP/1.1\r\n" + lines + b"\r\n"


def open_on(client: Client, *headers: bytes, path: bytes = b"/") -> dict[str, str]:
    """Do the handshake; return the headers of its answer."""
    client.send(handshake(*headers, path=path))
    status, answer = client.head()
    assert status == 101, status
    assert answer["sec-websocket-accept"] == ACCEPT
    return answer


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"mask",
    length: int | None = None,
) -> bytes:
    """One frame of a client; ``length`` may lie, ``mask`` be None, ``rsv`` be 1 to 7."""
    size = len(payload) if length is None else length
    bit = 0x80 if mask is not None else 0
    first = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head = first + bytes([bit | size])
    elif size < 65536:
        head = first + bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head = first + bytes([bit | 127]) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    if len(payload) > 1024:  # fast, and as good as any
        mask = b"\0\0\0\0"
        return head + mask + payload
    return head + mask + bytes(a ^ b for a, b in zip(payload, cycle(mask), strict=False))


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def read_frame(client: Client) -> tuple[int, bytes]:
    """Return opcode and payload of the server's next frame, which must be whole and not masked."""
    first, size = client.read_exactly(2)
    assert first & 0x80
    assert not first & 0x30
    if size == 126:
        size = int.from_bytes(client.read_exactly(2), "big")
    elif size == 127:
        size = int.from_bytes(client.read_exactly(8), "big")
    return first & 0x0F, client.read_exactly(size)


def read_close(client: Client) -> tuple[int, str]:
    """Skip to the close frame; return its code and reason."""
    while True:
        opcode, payload = read_frame(client)
        if opcode == CLOSE:
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()


ACCEPTED = {"type": "websocket.accept"}
"""What an application sends."""


class Echo:
    """An application that accepts with what it is given and echoes; keeps scopes and messages."""

    def __init__(self, **accept: Any) -> None:
        self.accept = accept
        self.scopes: list[Any] = []
        self.messages: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"plain"})
            return
        assert (await receive()) == {"type": "websocket.connect"}
        await send({"type": "websocket.accept", **self.accept})
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "websocket.disconnect":
                return
            await send({**message, "type": "websocket.send"})

    @property
    def end(self) -> tuple[int, str]:
        message = self.messages[-1]
        assert message["type"] == "websocket.disconnect"
        return message["code"], message["reason"]


def gone(engine: Engine) -> None:
    """Wait until no WebSocket is left."""
    until(lambda: engine.call(lambda: engine.server.websockets.idle), "the WebSocket to be over")


def sends(*messages: Any) -> Any:
    """An application that sends, or raises, these and returns."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            if isinstance(message, BaseException):
                raise message
            await send(message)

    return application
