"""What an application sends on a WebSocket: the answer to the handshake, messages, the end.

    OPENING   websocket.accept, websocket.close (403) or websocket.http.response.start
    DENYING   websocket.http.response.body: the handshake is answered with an HTTP response,
              sent block by block as over HTTP
    OPEN      websocket.send or websocket.close
    ENDED     nothing: an OSError if the client, the drain or a broken frame ended it, and an
              error of the application if it closed before itself

Fields that an application adds to the handshake's answer are validated like those of any
response; those that are the protocol's own are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.utils import ClientDisconnected

from gwctl.workers.faults import NotAsgiError
from gwctl.workers.response import CHUNKED, COUNTED, LAST_CHUNK, as_list, chunk

if TYPE_CHECKING:
    from gwctl.workers.websocket import Surroundings
    from gwctl.workers.websocket_watch import Watch

OPENING: Final = 0
DENYING: Final = 1
OPEN: Final = 2
ENDED: Final = 3

REASON_BYTES_MAX: Final = 123
"""RFC 6455 section 5.5: a control frame holds 125 bytes, two are the code."""

_CONNECTION_FIELDS: Final = frozenset({b"connection", b"upgrade", b"content-length", b"transfer-encoding"})
_EXPECTED: Final = {
    OPENING: "websocket.accept, websocket.close or websocket.http.response.start",
    DENYING: "websocket.http.response.body",
    OPEN: "websocket.send or websocket.close",
}


class Sending:
    """The half of `gwctl.workers.websocket_protocol.WebSocket` that faces the application's send()."""

    _denial: tuple[int, int]  # how the body of the denial is delimited, and what is left of it
    _denial_start: dict[str, Any] | None = None
    _closed_itself = False
    _denial_sent = 0

    if TYPE_CHECKING:
        _around: Surroundings
        _gone: bool
        _leave: bool
        _stage: int
        _watch: Watch
        conn: Any
        handshake_complete: bool
        response: Any
        transport: asyncio.Transport
        writable: asyncio.Event
        go_away: Callable[[], None]
        _finish: Callable[[bytes], None]
        _refuse: Callable[[int], None]
        _say_close: Callable[[int, str], None]
        _tell_answer: Callable[[int, int], None]
        _tell_end: Callable[[int], None]

    async def send(self, message: Any) -> None:
        """Take a message of the application.

        Raises:
            ClientDisconnected: The connection is over, and not by the application.
            NotAsgiError: The message is not one, or not in this place.
        """
        if not self.writable.is_set():
            await self.writable.wait()
        kind = message["type"]
        if self._stage == OPEN and kind == "websocket.send":  # nearly all
            self.send_message(message)
            if not self.writable.is_set():
                await self._taken()
            return
        if self._stage == ENDED:
            if self._closed_itself:
                raise NotAsgiError(f"{kind} was sent after the application had closed the WebSocket")
            raise ClientDisconnected
        action = _ACTIONS.get((self._stage, kind))
        if action is None:
            raise NotAsgiError(f"expected {_EXPECTED[self._stage]}, not {kind!r}")
        action(self, message)
        if not self.writable.is_set():
            await self._taken()

    async def _taken(self) -> None:
        """Wait until the client has taken most of what is written."""
        await self.writable.wait()
        if self._gone:
            raise ClientDisconnected

    # ---- the handshake's answer

    def accept(self, message: Any) -> None:
        headers = [_own_field(self._around.heads.field(header)) for header in as_list(message.get("headers"))]
        protocol = message.get("subprotocol")
        if protocol is not None:
            if protocol not in self._offered():
                raise NotAsgiError(f"the client did not offer the subprotocol {protocol!r}")
            headers.append(("Sec-WebSocket-Protocol", protocol))
        for name, value in filter(None, headers):
            self.response.headers[name] = value
        self.conn.send_response(self.response)
        data = b"".join(self.conn.data_to_send())
        self.handshake_complete = True
        self._stage = OPEN
        self.transport.write(data)
        self._tell_answer(101, len(data))
        self._watch.start_pings()
        if self._leave:
            self.go_away()

    def _offered(self) -> Any:
        return self.scope["subprotocols"]  # type: ignore[attr-defined]

    def deny(self, _message: Any) -> None:
        self._closed_itself = True
        self._refuse(403)

    def start_denial(self, message: Any) -> None:
        self._around.heads.asgi_status(message["status"])
        self._denial_start = {"status": message["status"], "headers": as_list(message.get("headers"))}
        self._stage = DENYING

    def deny_body(self, message: Any) -> None:
        body = bytes(message.get("body", b""))
        more = message.get("more_body", False)
        out = b""
        if self._denial_start is not None:
            out = self._denial_head(-1 if more else len(body))
        framing, left = self._denial
        if framing == COUNTED:
            left -= len(body)
            if left < 0 or (left and not more):
                raise NotAsgiError("the body of the denial is not as long as Content-Length says")
            out += body
        elif framing == CHUNKED:
            out += chunk(body) if body else b""
            out += b"" if more else LAST_CHUNK
        self._denial = framing, left
        self._denial_sent += len(body)
        if more:
            self.transport.write(out)
            return
        self._closed_itself = True
        self._tell_end(1006)
        self._finish(out)
        self._tell_answer(self._denial_status, self._denial_sent)

    def _denial_head(self, known: int) -> bytes:
        start = self._denial_start
        assert start is not None
        heads = self._around.heads
        status: int = start["status"]
        head, framing, left, _ = heads.build(
            heads.asgi_status(status), status, start["headers"], known, True, False, False
        )
        self._denial_start = None
        self._denial_status = status
        self._denial = framing, left
        return head

    # ---- messages and the end

    def send_message(self, message: Any) -> None:
        data, text = message.get("bytes"), message.get("text")
        if (data is None) == (text is None):
            raise NotAsgiError("websocket.send needs either bytes or text")
        if text is not None:
            if not isinstance(text, str):
                raise NotAsgiError(f"text of websocket.send must be str, not {type(text).__name__}")
            self.conn.send_text(text.encode())
        else:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise NotAsgiError(f"bytes of websocket.send must be bytes, not {type(data).__name__}")
            self.conn.send_binary(data)
        self.transport.write(b"".join(self.conn.data_to_send()))

    def close(self, message: Any) -> None:
        code = message.get("code", 1000)
        reason = message.get("reason") or ""
        if not isinstance(code, int) or not (code in _CODES or 3000 <= code < 5000):
            raise NotAsgiError(f"not a close code that may be sent (RFC 6455 section 7.4): {code!r}")
        if len(reason.encode()) > REASON_BYTES_MAX:
            raise NotAsgiError(f"the reason of a close has at most {REASON_BYTES_MAX} bytes: {reason!r}")
        self._closed_itself = True
        self._say_close(code, reason)


def _own_field(line: bytes) -> tuple[str, str] | None:
    """Return a validated field as the library wants it, or None for one that is the server's own."""
    name, _, value = line[:-2].partition(b": ")
    lower = name.lower()
    if lower.startswith(b"sec-websocket-"):
        raise NotAsgiError(f"{name.decode()} is the protocol's own; a subprotocol goes into `subprotocol`")
    if lower in _CONNECTION_FIELDS:
        return None
    return name.decode("ascii"), value.decode("latin-1")


_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
_ACTIONS: Final[dict[tuple[int, str], Callable[[Any, Any], None]]] = {
    (OPENING, "websocket.accept"): Sending.accept,
    (OPENING, "websocket.close"): Sending.deny,
    (OPENING, "websocket.http.response.start"): Sending.start_denial,
    (DENYING, "websocket.http.response.body"): Sending.deny_body,
    (OPEN, "websocket.send"): Sending.send_message,
    (OPEN, "websocket.close"): Sending.close,
}
