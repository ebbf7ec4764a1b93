"""How a handshake is answered, by what carries the WebSocket.

    HTTP/1.1   101, and the connection is the WebSocket's; else a response, its bytes written as they are
    HTTP/2     200, and the stream is the WebSocket's (RFC 8441); else a response on that stream

The body of a denial is as long as its Content-Length says, like that of any response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gwctl.workers.exchange.response import COUNTED, MARKED, NO_BODY
from gwctl.workers.http1.response_head import LAST_CHUNK, chunk
from gwctl.workers.observe.errors import NotAsgiError

if TYPE_CHECKING:
    import asyncio

    from gwctl.workers.http1.response_head import HeadBuilder
    from gwctl.workers.http2.response_head import BlockBuilder
    from gwctl.workers.http2.tunnel import Tunnel
    from gwctl.workers.websocket.handshake import Opening


class Answer:
    """Of one connection. All that it returns is how many bytes were written.

    Attributes:
        accepted: The status that says that it is a WebSocket now.
    """

    __slots__ = ("_framing", "_left")

    accepted = 101

    def __init__(self) -> None:
        self._framing = NO_BODY
        self._left = 0

    def accept(self, opening: Opening, fields: list[bytes]) -> int:
        """Accept it, with ``fields`` as lines of HTTP/1 besides the protocol's own."""
        raise NotImplementedError

    def refuse(self, status: int) -> int:
        """Answer with a short response of our own; the end of our side is whoever calls this's to say."""
        raise NotImplementedError

    def begin(self, status: int, headers: list[Any], known: int) -> None:
        """Begin a response of the application; it is written with the first block of its body.

        ``known``: the length of its body, -1: nobody knows.
        """
        raise NotImplementedError

    def block(self, data: bytes, *, more: bool) -> int:
        """Write a block of the body, or what the framing leaves of it.

        Raises:
            NotAsgiError: The body is not as long as its head says.
        """
        if self._framing == COUNTED:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise NotAsgiError("the body of the denial is not as long as Content-Length says")
        return self._put(data, more=more)

    def _put(self, data: bytes, *, more: bool) -> int:
        raise NotImplementedError


class Http1Answer(Answer):
    __slots__ = ("_head", "_heads", "_transport")

    def __init__(self, transport: asyncio.Transport, heads: HeadBuilder) -> None:
        super().__init__()
        self._transport = transport
        self._heads = heads
        self._head = b""

    def accept(self, opening: Opening, fields: list[bytes]) -> int:
        return self._write(b"".join([opening.head, self._heads.origin(fields), *fields, b"\r\n"]))

    def refuse(self, status: int) -> int:
        return self._write(self._heads.error(status))

    def begin(self, status: int, headers: list[Any], known: int) -> None:
        heads = self._heads
        line, code = heads.asgi_status(status)
        self._head, self._framing, self._left, _ = heads.build(line, code, headers, known, True, False, False)

    def _put(self, data: bytes, *, more: bool) -> int:
        out, self._head = self._head, b""
        if self._framing == COUNTED:
            out += data
        elif self._framing == MARKED:
            out += chunk(data) if data else b""
            out += b"" if more else LAST_CHUNK
        return self._write(out)

    def _write(self, data: bytes) -> int:
        if data:
            self._transport.write(data)
        return len(data)


class Http2Answer(Answer):
    __slots__ = ("_blocks", "_head", "_tunnel")

    accepted = 200

    def __init__(self, tunnel: Tunnel, blocks: BlockBuilder) -> None:
        super().__init__()
        self._tunnel = tunnel
        self._blocks = blocks
        self._head = b""

    def accept(self, opening: Opening, fields: list[bytes]) -> int:
        parts = [line.partition(b":") for line in fields]
        headers = [(name.lower(), value.strip(b" \t\r\n")) for name, _, value in parts]
        if opening.agreement is not None:
            headers.append((b"sec-websocket-extensions", opening.agreement.answer.encode()))
        block, _, _ = self._blocks.build(b"", 200, headers, -1, is_head=True)
        self._tunnel.put_head(block)
        return len(block)

    def refuse(self, status: int) -> int:
        block, body = self._blocks.error(status, is_head=False)
        self._tunnel.put_head(block)
        self._tunnel.put(body)
        self._tunnel.leave()  # nothing of the client is waited for: no reset of a connection costs it this
        return len(block) + len(body)

    def begin(self, status: int, headers: list[Any], known: int) -> None:
        self._head, self._framing, self._left = self._blocks.build(b"", status, headers, known, is_head=False)

    def _put(self, data: bytes, *, more: bool) -> int:
        tunnel = self._tunnel
        head, self._head = self._head, b""
        if head:
            tunnel.put_head(head)
        if self._framing == NO_BODY:
            data = b""
        tunnel.put(data)
        if not more:
            tunnel.leave()
        return len(head) + len(data)
