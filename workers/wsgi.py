"""One WSGI call, to the letter of PEP 3333, whatever thread it runs in.

`WsgiCall.run` calls the application, sends what it yields, and closes the iterable, always
once. The response is written here, straight to a socket: a block that a generator yields goes
out before the next is asked for. What the socket does not take is kept, up to
`PENDING_BYTES_MAX`; beyond it the writer waits in poll(), so a client that stops reading
holds this call up and memory stays bounded. What is still pending at the end is left to the
loop (`pending`), so that a slow reader of a small response does not hold the worker.
With ``defer`` a response of one block is not sent at all but left to the caller (`whole`).

No event loop is involved, and the running one must have been hidden by the caller.

A mistake in the application becomes a 500 if nothing was sent yet, else the connection is
aborted, so that the client does not take half a response for a whole one.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from gwctl.workers.response import CHUNKED, COUNTED, LAST_CHUNK, NO_BODY, chunk
from gwctl.workers.tracebacks import application_traceback, summary

if TYPE_CHECKING:
    from gwctl.workers.connection import ConnectionBase
    from gwctl.workers.environ import Environ
    from gwctl.workers.server import Server

PENDING_BYTES_MAX: Final = 262144
_JOIN_BYTES_MAX: Final = 65536
"""Smaller blocks are sent with the head in one call."""

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class ClientGone(OSError):  # noqa: N818 - a fact about the client
    """The client does not take the response (any more)."""


class NotWsgiError(TypeError):
    """Not WSGI; the message says what to change."""


class WsgiCall:
    """The call of the application for one request, and its response."""

    __slots__ = (
        "_connection",
        "_defer",
        "_ended",
        "_environ",
        "_framing",
        "_headers",
        "_left",
        "_line",
        "_server",
        "_sock",
        "aborted",
        "head_sent",
        "keep_alive",
        "pending",
        "sent",
        "status",
        "whole",
    )

    def __init__(
        self, server: Server, connection: ConnectionBase, environ: Environ, sock: socket.socket, defer: bool
    ) -> None:
        self._defer = defer
        self._server = server
        self._connection = connection
        self._environ = environ
        self._sock = sock
        self._headers: Any = None
        self._line = b""
        self._framing = NO_BODY
        self._left = 0
        self._ended = False
        self.status = 0
        self.head_sent = False
        self.keep_alive = False
        self.aborted = False
        self.pending = b""
        self.whole = b""
        self.sent = 0

    def run(self) -> None:
        """Call, respond, close. Never raises: ``keep_alive``, ``aborted`` and ``pending`` say how it went."""
        result: Any = None
        try:
            result = self._server.application(self._environ, self.start_response)
            if type(result) is list and len(result) == 1 and type(result[0]) is bytes and not self.head_sent:
                self._whole(result[0])  # by far the most frequent: Flask, Django, hello world
            else:
                self._respond(result)
        except ClientGone:
            self.aborted = True
        except BaseException as error:  # noqa: BLE001 - also SystemExit: a view that exits must not end the worker
            self._failed(error)
        self._ended = True
        try:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        except BaseException as error:  # noqa: BLE001 - the response is out already
            self._log_failure(error, "close() of its iterable raised")

    # ---- what the application calls

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self.head_sent and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it refers to this frame
        elif self._headers is not None:
            raise NotWsgiError("start_response() was called a second time without exc_info (PEP 3333)")
        if self._ended:
            raise NotWsgiError("start_response() was called after the request had ended")
        self._line, self.status = self._server.heads.wsgi_status(status)
        self._headers = headers
        return self.write

    def write(self, data: bytes) -> None:
        if self._ended:
            raise NotWsgiError("write() was called after the request had ended")
        data = _as_bytes(data)
        if data and not self._block(data):
            raise NotWsgiError("more bytes were written than Content-Length says")

    # ---- the response

    def _respond(self, result: Any) -> None:
        kind = type(result)
        if kind is list or kind is tuple:
            known = sum([len(_as_bytes(block)) for block in result])
        elif kind is bytes:
            self._server.warn_bare_bytes()
            known = len(result)
            result = (result,)
        elif result is None:
            raise NotWsgiError("the application returned None; WSGI wants an iterable of bytes (PEP 3333)")
        else:
            known = -1
        for block in result:
            if block and not self._block(_as_bytes(block), known):
                self._server.log.warning(
                    f"{self._what()}: more bytes were yielded than Content-Length says; cut"
                )
                break
            if type(block) is str:
                _as_bytes(block)
        self._end(known)

    def _whole(self, data: bytes) -> None:
        """Send a response that consists of one block: head and body in one call."""
        head = self._head(len(data))
        size = len(data)
        if self._framing == NO_BODY:
            self._send(head)
        elif size != self._left:
            self._send(head)
            self._left_over(data)
        elif size <= _JOIN_BYTES_MAX:
            self.sent = size
            if self._defer:
                self.whole = head + data
            else:
                self._send(head + data)
        else:
            self.sent = size
            self._send(head)
            self._send(data)

    def _left_over(self, data: bytes) -> None:
        """Send one block that is longer or shorter than the application's Content-Length."""
        if len(data) > self._left:
            self._server.log.warning(f"{self._what()}: the body is longer than Content-Length says; cut")
            data = data[: self._left]
        self._left -= len(data)
        self.sent = len(data)
        self._send(data)
        self._end(-1)

    def _head(self, known: int) -> bytes:
        if self._headers is None:
            raise NotWsgiError(
                "the application did not call start_response() before its first block (PEP 3333)"
            )
        connection = self._connection
        head, self._framing, self._left, self.keep_alive = self._server.heads.build(
            self._line,
            self.status,
            self._headers,
            known,
            connection.http11,
            connection.is_head,
            connection.keep_alive and not self._server.draining,
        )
        self.head_sent = True
        return head

    def _block(self, block: bytes, known: int = -1) -> bool:
        """Send one block that is not empty; return False if it was cut at Content-Length."""
        out = b"" if self.head_sent else self._head(known)
        fits = True
        if self._framing == NO_BODY:
            block = b""
        elif self._framing == COUNTED:
            if len(block) > self._left:
                block = block[: self._left]
                fits = False
            self._left -= len(block)
        self.sent += len(block)
        if self._framing == CHUNKED:
            block = chunk(block)
        if len(block) > _JOIN_BYTES_MAX and out:
            self._send(out)
            out = b""
        self._send(out + block if out else block)
        return fits

    def _end(self, known: int) -> None:
        if not self.head_sent:
            self._send(self._head(max(known, 0)))
        if self._framing == CHUNKED:
            self._send(LAST_CHUNK)
        elif self._framing == COUNTED and self._left:
            self.keep_alive = False
            self.aborted = True
            self._server.log.error(
                f"{self._what()}: the body is {self._left} bytes shorter than Content-Length says; "
                "connection aborted"
            )

    # ---- writing

    def _send(self, data: bytes) -> None:
        if self.pending:
            self._send_behind(data)
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise ClientGone from error
        if sent != len(data):
            self._keep(memoryview(data)[sent:])

    def _send_behind(self, data: bytes) -> None:
        """Send ``data`` after what is pending, waiting only if both are more than may be kept."""
        pending = memoryview(self.pending)
        self.pending = b""
        pending = pending[self._try(pending) :]
        if len(pending) + len(data) <= PENDING_BYTES_MAX:
            self.pending = bytes(pending) + data
            return
        while pending:
            pending = pending[self._wait(pending) :]
        self._keep(memoryview(data)[self._try(memoryview(data)) :])

    def _keep(self, rest: memoryview) -> None:
        while len(rest) > PENDING_BYTES_MAX:
            rest = rest[self._wait(rest) :]
        self.pending = bytes(rest)

    def _try(self, data: memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ClientGone from error

    def _wait(self, data: memoryview) -> int:
        """Wait until the client takes something of ``data``; return how much."""
        timeout_s = self._server.settings.timeouts.response_timeout_s
        writable = select.poll()
        writable.register(self._sock, select.POLLOUT)
        if not writable.poll(timeout_s * 1000):
            self._server.log.warning(
                f"{self._what()}: the client took no byte for {timeout_s:g} s; connection aborted"
            )
            raise ClientGone("response timeout")
        return self._try(data)

    # ---- mistakes

    def _failed(self, error: BaseException) -> None:
        """Answer 500 if nothing was sent yet, else abort; either way say why in the log."""
        if isinstance(error, NotWsgiError) or not self.head_sent:
            self._log_failure(error, "the application raised")
        else:
            self._log_failure(error, "the application raised in mid-response; connection aborted")
        self.keep_alive = False
        if self.head_sent:
            self.aborted = True
            return
        self.status = 500
        self.head_sent = True
        data = self._server.heads.error(500, self._connection.is_head)
        self.sent = len(data)
        try:
            self._send(data)
        except ClientGone:
            self.aborted = True

    def _log_failure(self, error: BaseException, what: str) -> None:
        if isinstance(error, NotWsgiError):
            self._server.log.error(f"{self._what()}: {error}")
        else:
            self._server.log.error(
                f"{self._what()}: {what}: {summary(error)}\n{application_traceback(error)}"
            )

    def _what(self) -> str:
        return f"{self._connection.method} {self._connection.target}"


def _as_bytes(block: Any) -> bytes:
    if isinstance(block, bytes):
        return block
    if isinstance(block, str):
        raise NotWsgiError(
            "the application yielded str; the body of a WSGI response is bytes (PEP 3333). "
            "Yield bytes: text.encode() or b'...'"
        )
    if isinstance(block, bytearray | memoryview):
        return bytes(block)
    raise NotWsgiError(
        f"the application yielded {type(block).__name__}; the body of a WSGI response is bytes (PEP 3333)"
    )
