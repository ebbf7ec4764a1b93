"""What an application sends on a WebSocket: the answer to the handshake, messages, the end.

    OPENING   websocket.accept, websocket.close (403) or websocket.http.response.start
    DENYING   websocket.http.response.body: the handshake is answered with an HTTP response,
              sent block by block as over HTTP
    OPEN      websocket.send or websocket.close
    ENDED     nothing: an OSError if the client, the drain or a broken frame ended it (so that one
              who only sends learns of it), and an error of the application if it closed before itself

Fields that an application adds to the handshake's answer are validated like those of any
response; those that are the protocol's own are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gwctl.masking import shower
from gwctl.workers.exchange.heads import as_list
from gwctl.workers.observe.errors import ClientGone, NotAsgiError
from gwctl.workers.websocket.deflate import Deflater
from gwctl.workers.websocket.encoder import ENCODER, content
from gwctl.workers.websocket.frames import NO_STATUS, frame, may_be_sent

if TYPE_CHECKING:
    from gwctl.workers.websocket.answers import Answer
    from gwctl.workers.websocket.handshake import Opening
    from gwctl.workers.websocket.keepalive import Watch
    from gwctl.workers.websocket.surroundings import Surroundings

OPENING: Final = 0
DENYING: Final = 1
OPEN: Final = 2
ENDED: Final = 3

PACK_BYTES: Final = 65536
"""So much is compressed in one turn of the loop, which takes 2 ms."""
REASON_BYTES_MAX: Final = 123
"""RFC 6455 section 5.5: a control frame holds 125 bytes, two are the code."""

_CONNECTION_FIELDS: Final = frozenset({b"connection", b"upgrade", b"content-length", b"transfer-encoding"})
_EXPECTED: Final = {
    OPENING: "websocket.accept, websocket.close or websocket.http.response.start",
    DENYING: "websocket.http.response.body",
    OPEN: "websocket.send or websocket.close",
}


class Sending:
    """The half of `gwctl.workers.websocket.protocol.WebSocket` that faces the application's send()."""

    __slots__ = (
        "_answer",
        "_around",
        "_closed_itself",
        "_deflater",
        "_denial_sent",
        "_denial_start",
        "_denial_status",
        "_full",
        "_gone",
        "_leave",
        "_opening",
        "_packing",
        "_stage",
        "_watch",
        "_what",
        "scope",
        "transport",
    )

    _watch: Watch

    def __init__(
        self,
        around: Surroundings,
        opening: Opening,
        scope: dict[str, Any],
        transport: asyncio.Transport,
        answer: Answer,
    ) -> None:
        self._around = around
        self._answer = answer
        self._opening = opening
        self.scope = scope
        self.transport = transport
        self._what = _what(
            scope, log_queries=around.settings.log_queries
        )  # the scope is the application's to change
        self._deflater = Deflater(opening.agreement) if opening.agreement is not None else None
        self._stage = OPENING
        self._gone = False  # nothing sent reaches the client any more
        self._leave = False  # close as soon as the handshake is complete
        self._closed_itself = False
        self._full: asyncio.Event | None = None  # set when the client takes more
        self._packing: asyncio.Event | None = None  # set when the message that is packed in parts is sent
        self._denial_start: dict[str, Any] | None = None
        self._denial_status = 0
        self._denial_sent = 0

    async def send(self, message: Any) -> None:
        """Take a message of the application.

        Raises:
            ClientGone: The connection is over, and not by the application.
            NotAsgiError: The message is not one, or not in this place.
        """
        if self._full is not None:
            await self._full.wait()
        kind = message["type"]
        memory = self._around.memory
        held = memory.total + memory.output + memory.written
        if held > memory.ease and kind == "websocket.send":
            memory.measure_soon()
            await asyncio.sleep(0)  # what was written in this turn is sent at its end
        while self._packing is not None:
            await self._packing.wait()  # another message goes first
        if self._stage == OPEN and kind == "websocket.send":  # nearly all
            if self._deflater is None:
                data = ENCODER.frame(message)
                self.transport.write(data)
                size = len(data)
                memory.written += size
                if held + size > memory.measure_beyond:
                    memory.measure_soon()
            else:
                await self._send_packed(*content(message), self._deflater)
            if self._full is not None:
                await self._taken()
            return
        if self._stage == ENDED:
            if self._closed_itself:
                raise NotAsgiError(f"{kind} was sent after the application had closed the WebSocket")
            raise ClientGone("the WebSocket is closed")
        action = _ACTIONS.get((self._stage, kind))
        if action is None:
            raise NotAsgiError(f"expected {_EXPECTED[self._stage]}, not {kind!r}")
        action(self, message)
        if self._full is not None:
            await self._taken()

    async def _taken(self) -> None:
        """Wait until the client has taken most of what is written."""
        if self._full is not None:
            await self._full.wait()
        if self._gone:
            raise ClientGone("the WebSocket is closed")

    # ---- what the other half does

    def go_away(self) -> None:
        raise NotImplementedError

    def stay(self) -> None:
        raise NotImplementedError

    def _finish(self, data: bytes) -> None:
        raise NotImplementedError

    def _read(self) -> None:
        raise NotImplementedError

    def _refuse(self, status: int) -> None:
        raise NotImplementedError

    def _say_close(self, code: int | None, reason: str = "") -> None:
        raise NotImplementedError

    def _tell_answer(self, status: int, size: int) -> None:
        raise NotImplementedError

    def _tell_end(self, code: int, reason: str = "") -> None:
        raise NotImplementedError

    # ---- the handshake's answer

    def accept(self, message: Any) -> None:
        heads, memory = self._around.heads, self._around.memory
        opening = self._opening
        fields = [field for field in map(heads.field, as_list(message.get("headers"))) if not _is_own(field)]
        protocol = message.get("subprotocol")
        if protocol is not None:
            if protocol not in opening.subprotocols:
                raise NotAsgiError(f"the client did not offer the subprotocol {protocol!r}")
            fields.append(f"Sec-WebSocket-Protocol: {protocol}\r\n".encode())
        size = self._answer.accept(opening, fields)
        self._stage = OPEN
        memory.wrote(size)
        self._tell_answer(self._answer.accepted, size)
        self._watch.start_pings()
        if self._leave:
            self.stay()
            self.go_away()
        else:
            self._read()  # what came before

    def _write(self, data: bytes) -> None:
        self.transport.write(data)
        self._around.memory.wrote(len(data))

    def deny(self, _message: Any) -> None:
        self._closed_itself = True
        self._refuse(403)

    def start_denial(self, message: Any) -> None:
        _, status = self._around.heads.asgi_status(message["status"])
        self._denial_start = {"status": status, "headers": as_list(message.get("headers"))}
        self._stage = DENYING

    def deny_body(self, message: Any) -> None:
        body = message.get("body", b"")
        if not isinstance(body, bytes | bytearray | memoryview):
            raise NotAsgiError(f"the body of the denial must be bytes, not {type(body).__name__}")
        body = bytes(body)
        more = message.get("more_body", False)
        start = self._denial_start
        if start is not None:
            self._denial_status = start["status"]
            self._answer.begin(start["status"], start["headers"], -1 if more else len(body))
            self._denial_start = None
        self._around.memory.wrote(self._answer.block(body, more=more))
        self._denial_sent += len(body)
        if more:
            return
        self._closed_itself = True
        self._tell_end(1006)
        self._finish(b"")
        self._tell_answer(self._denial_status, self._denial_sent)

    # ---- messages and the end

    async def _send_packed(self, opcode: int, data: bytes, deflater: Deflater) -> None:
        """Send a message packed: a large one in parts, while others have their turns."""
        if len(data) <= PACK_BYTES:
            self._write(frame(opcode, deflater.pack(data), rsv1=True))
            return
        packing = self._packing = asyncio.Event()
        payload = None
        try:
            payload = await self._pack(data, deflater)
        finally:
            if payload is None:
                deflater.drop()
            self._packing = None
            packing.set()
        self._write(frame(opcode, payload, rsv1=True))

    async def _pack(self, data: bytes, deflater: Deflater) -> bytes:
        deflater.begin()
        whole = memoryview(data)
        parts = []
        for at in range(0, len(data), PACK_BYTES):
            parts.append(deflater.add(whole[at : at + PACK_BYTES]))
            await asyncio.sleep(0)
            if self._stage != OPEN:
                raise ClientGone("the WebSocket is closed")
        parts.append(deflater.end())
        return b"".join(parts)

    def close(self, message: Any) -> None:
        code = message.get("code", 1000)
        reason = message.get("reason") or ""
        if code is not None and (not isinstance(code, int) or not (code == NO_STATUS or may_be_sent(code))):
            raise NotAsgiError(f"not a close code that may be sent (RFC 6455 section 7.4): {code!r}")
        if not isinstance(reason, str):
            raise NotAsgiError(f"the reason of websocket.close must be str, not {type(reason).__name__}")
        self._closed_itself = True
        if code is None or code == NO_STATUS:
            self._say_close(None)
        else:
            self._say_close(code, self._fitting(reason))

    def _fitting(self, reason: str) -> str:
        """Return as much of ``reason`` as a close frame holds: its code matters more than its last words."""
        data = reason.encode()
        if len(data) <= REASON_BYTES_MAX:
            return reason
        self._around.throttled.warning(
            "long close reason",
            f"{self._what}: the reason of a close has at most {REASON_BYTES_MAX} bytes (RFC 6455 section "
            f"5.5); the rest of {reason[:200]!r} was cut off",
        )
        return data[:REASON_BYTES_MAX].decode(errors="ignore")


def _what(scope: dict[str, Any], *, log_queries: bool) -> str:
    query = scope["query_string"].decode("latin-1")
    target = scope["path"] + (f"?{query}" if query else "")
    return f"WebSocket {shower(log_queries=log_queries)(target)}"


def _is_own(line: bytes) -> bool:
    """Tell whether a validated field is the server's to send.

    Raises:
        NotAsgiError: It is the protocol's own.
    """
    name = line.partition(b":")[0].lower()
    if name.startswith(b"sec-websocket-"):
        raise NotAsgiError(f"{name.decode()} is the protocol's own; a subprotocol goes into `subprotocol`")
    return name in _CONNECTION_FIELDS


_ACTIONS: Final[dict[tuple[int, str], Callable[[Any, Any], None]]] = {
    (OPENING, "websocket.accept"): Sending.accept,
    (OPENING, "websocket.close"): Sending.deny,
    (OPENING, "websocket.http.response.start"): Sending.start_denial,
    (DENYING, "websocket.http.response.body"): Sending.deny_body,
    (OPEN, "websocket.close"): Sending.close,
}
