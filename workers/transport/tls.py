"""TLS under a connection: one layer of our own, for all worker classes.

    socket <- uvloop's transport <- TlsLayer <- Connection, or a WebSocket

`TlsLayer` is the protocol of the raw transport and the transport of whatever is above it. Why not
uvloop's own TLS: that writes when the loop turns, and a sync worker's application runs in the
loop's thread and streams while the loop stands still (docs/adr/0004-tls-layer.md).

Rules
    - OpenSSL sees memory only (two BIOs), and one thread at a time: the loop's.
    - Whatever is encrypted leaves in that order. What an output (`gwctl.workers.transport.tls_output`)
      still has is moved to the raw transport before anything else is done with it: `settle`.
    - Until the handshake is done nobody above hears of the connection. It is FRESH and bound by
      ``header_timeout_s``; a failure is noted at debug level, since scanners make many.
    - TLS answers by itself (to key updates, to renegotiation). A client that makes it do so and
      does not read the answers is cut off at `UNREAD_BYTES_MAX`.
    - Reading stops with the layer above: at most what one read of the socket gave is held. No more
      than `READS_MAX` records are taken in one turn of the loop, however small they are.
    - The end of the input is an end whether close_notify came first or not. What would be cut
      unnoticed is framed by HTTP: a body that is not complete never reaches the application.
    - Plain HTTP sent here is answered in plain text, once. Renegotiation is off.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.ipc.scoreboard import TLS_FAILED, TLS_HANDSHAKES, TLS_RESUMED
from gwctl.workers.transport.tls_output import SyncOutput, ThreadOutput

if TYPE_CHECKING:
    from gwctl.workers.http1.protocol import Connection
    from gwctl.workers.http2.shared import Http2

READ_BYTES: Final = 65536
READS_MAX: Final = 64
UNREAD_BYTES_MAX: Final = 65536
_HANDSHAKE: Final = 0
_OPEN: Final = 1
_SHUT: Final = 2  # our close_notify is out, or nothing can be said any more
_START_BYTES: Final = 10
_HTTP: Final = re.compile(rb"[A-Z]{3,9} ")
_EXPLANATION: Final = b"This port speaks TLS: use https://\n"
NOT_TLS: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_EXPLANATION), _EXPLANATION)
)


class TlsLayer(asyncio.Protocol):
    """One connection's TLS. See the module; what is not explained is as in asyncio.Transport."""

    def __init__(
        self,
        connection: Connection,
        context: ssl.SSLContext,
        http2: Http2 | None = None,
        *,
        http1: bool = True,
    ) -> None:
        """Begin with the handshake.

        Args:
            connection: What is above, for HTTP/1.
            context: What the server shows, and offers.
            http2: What takes the connection over if the client asks for HTTP/2; None: nobody may.
            http1: It is spoken, too; else all are taken for clients of HTTP/2.
        """
        self._connection: Any = connection  # until the handshake is done
        self._http2 = http2
        self._http1 = http1
        self._service = connection.service
        self._sock = connection.sock
        self._address = connection.listener.url
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.raw: Any = None
        self._inner: Any = connection
        self._state = _HANDSHAKE
        self._start = b""
        self._given = 0
        self._unread = 0  # of what TLS itself has said, since all was last taken
        self._paused = self._raw_paused = False
        self.goes_on = False
        """There is more to read in the next turn of the loop, which no descriptor tells of."""
        self._input_ended = False
        self._end_told = False
        self._output: SyncOutput | ThreadOutput | None = None

    # ---- from the raw transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.raw = self._connection.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._state == _SHUT:
            self._inner.data_received(b"")  # what comes after our close_notify is dropped
            return
        self._incoming.write(data)
        if self._state == _HANDSHAKE:
            self._start = (self._start + data[:_START_BYTES])[:_START_BYTES]
            self._shake_hands()
        self._read()

    def eof_received(self) -> bool:
        if self._state == _OPEN:
            self._input_ended = True
            self._read()
            return True
        return self._state == _SHUT and bool(self._inner.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._state == _HANDSHAKE and self._start:  # a probe that only connects says nothing of TLS
            self._count_failure()
        self._state = _SHUT
        if self._output is not None:
            self._output.lost()
        # It refers to us: both are to be freed at once, and not when garbage is looked for.
        inner, self._inner, self._connection, self._output = self._inner, None, None, None
        inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._output is not None:
            self._output.paused()
        if self._state != _HANDSHAKE:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self.raw.is_closing():
            return
        if self._output is not None:
            self._output.resumed()
        if self._state != _HANDSHAKE:
            self._inner.resume_writing()

    # ---- the handshake

    def _shake_hands(self) -> None:
        try:
            self.ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except OSError as error:  # SSLError is one
            self._refuse(error)
        else:
            self._flush()
            self._state = _OPEN
            words = self._service.context.record.words
            words[TLS_HANDSHAKES] += 1
            words[TLS_RESUMED] += bool(self.ssl.session_reused)
            connection: Connection = self._connection
            self._connection = None
            connection.since = monotonic()
            connection.tls = self
            chosen = self.ssl.selected_alpn_protocol()  # None: by a client that does not know of it, too
            if self._http2 is not None and (chosen == "h2" or not self._http1):
                self._inner = self._http2.take_over(connection)
            self._inner.connection_made(self)

    def _count_failure(self) -> None:
        self._service.context.record.words[TLS_FAILED] += 1

    def _refuse(self, error: OSError) -> None:
        self._count_failure()
        connection = self._connection
        peer = connection.peer[0] if isinstance(connection.peer, tuple) else "a peer"
        reason = getattr(error, "reason", None) or error
        self._service.context.log.debug(f"{self._address}: no TLS with {peer}: {reason}")
        if _HTTP.match(self._start):
            self.raw.set_protocol(connection)
            self.raw.write(NOT_TLS)
            connection.linger()
            return
        self._flush()  # the alert
        self._state = _SHUT
        self.raw.close()

    # ---- reading

    def pump(self, data: bytes) -> int:
        """Take ``data`` from the socket, in the middle of a call; return how much that gave the layer above.

        It takes all, as for this call it is who reads.
        """
        self._incoming.write(data)
        before = self._given
        self._read(force=True)
        return self._given - before

    @property
    def ended(self) -> bool:
        """The client says nothing more, or nothing that can be understood."""
        return self._end_told or self._state == _SHUT

    def _read(self, *, force: bool = False) -> None:
        """Give the layer above what has come, as long as it takes it."""
        ended = False
        left = READS_MAX
        while self._state == _OPEN and (force or not self._paused):
            if not left and not force:
                self._go_on_later()
                break
            left -= 1
            try:
                data = self.ssl.read(READ_BYTES)
            except ssl.SSLWantReadError:
                ended = self._input_ended
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except OSError as error:
                self._service.context.log.debug(f"{self._address}: TLS failed: {error}")
                self.abort()
                return
            if not data:
                ended = True
                break
            self._given += len(data)
            self._inner.data_received(data)
        if self._raw_paused and not (self._paused or self.goes_on or self.raw.is_closing()):
            self._raw_paused = False
            self.raw.resume_reading()
        self._flush()  # answers of TLS itself, such as to a key update
        if ended and not self._end_told:
            self._end_told = True
            if not self._inner.eof_received():
                self.close()

    def _go_on_later(self) -> None:
        self._pause_raw()
        if not self.goes_on:
            self.goes_on = True
            self._service.context.loop.call_soon(self._go_on, context=self._service.context.neutral_context)

    def _go_on(self) -> None:
        self.goes_on = False
        if not self.raw.is_closing():
            self._read()

    def pause_reading(self) -> None:
        self._paused = True
        self._pause_raw()

    def _pause_raw(self) -> None:
        if not self._raw_paused and not self.raw.is_closing():
            self._raw_paused = True
            self.raw.pause_reading()

    def resume_reading(self) -> None:
        """Go on with what is here; the socket is only read again when all of it has been taken."""
        if self._paused:
            self._paused = False
            if not self.raw.is_closing():
                self._go_on_later()

    # ---- writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._state != _OPEN or not data:
            return
        self.settle()
        try:
            block = self.encrypt(data)
        except OSError as error:
            self._service.context.log.debug(f"{self._address}: TLS failed: {error}")
            self.abort()
        else:
            self.send_raw(block)

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return ``data`` as records, behind what TLS itself has to say.

        Raises:
            OSError: TLS cannot go on.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[self.ssl.write(rest) :]
        return self._outgoing.read()

    def send_raw(self, block: bytes) -> None:
        if not self.raw.is_closing():
            self.raw.write(block)
        elif self._state == _OPEN:
            self._inner.pause_writing()  # who goes on writing would keep the loop from telling of the end

    def settle(self) -> None:
        """Move what an output holds to the raw transport: from here on it is the loop's to send."""
        if self._output is not None and self._state == _OPEN:
            self._output.settle()

    def settle_soon(self) -> None:
        self._service.context.loop.call_soon(self.settle, context=self._service.context.neutral_context)

    def settle_from_thread(self) -> None:
        self._service.context.loop.call_soon_threadsafe(
            self.settle, context=self._service.context.neutral_context
        )

    def _flush(self) -> None:
        """Send what TLS itself has to say, at once: a request that follows must not wait for it."""
        if not self._outgoing.pending:
            return
        block = self._outgoing.read()
        if self.raw.get_write_buffer_size():
            unsent = len(block)
            self.send_raw(block)
        elif isinstance(self._output, SyncOutput) and self._state == _OPEN:
            unsent = self._output.say(block)
        else:
            with contextlib.suppress(OSError):
                block = block[self._sock.send(block) :]
            unsent = len(block)
            if block:
                self.send_raw(block)
        self._unread = self._unread + unsent if unsent else 0
        if self._unread > UNREAD_BYTES_MAX:
            self._service.context.log.debug(
                f"{self._address}: TLS failed: the client does not read its answers"
            )
            self.abort()

    def write_eof(self) -> None:
        if self._state == _OPEN:
            self._shut()
            if not self.raw.is_closing():
                with contextlib.suppress(OSError):  # asyncio's does it at once; the client may be gone
                    self.raw.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        self.settle()
        return int(self.raw.get_write_buffer_size())

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.settle()
        self.raw.set_write_buffer_limits(high, low)

    # ---- the end

    def _shut(self) -> None:
        """Say close_notify. The client's own is not waited for."""
        self.settle()
        self._state = _SHUT
        with contextlib.suppress(OSError):
            self.ssl.unwrap()
        self._flush()

    def close(self) -> None:
        if self._state == _OPEN:
            self._shut()
        self._state = _SHUT
        self.raw.close()

    def abort(self) -> None:
        self._state = _SHUT
        self.raw.abort()

    def is_closing(self) -> bool:
        return bool(self.raw.is_closing())

    # ---- what else a transport is asked for

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._inner = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        inner: asyncio.BaseProtocol = self._inner
        return inner

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        match name:
            case "ssl_object":
                return self.ssl
            case "sslcontext":
                return self.ssl.context
            case "peercert":
                return self.ssl.getpeercert()
            case "cipher":
                return self.ssl.cipher()
        return self.raw.get_extra_info(name, default)

    # ---- what WSGI calls write to

    def output_for_sync(self) -> SyncOutput:
        self._output = output = SyncOutput(self, self._sock)
        return output

    def output_for_threads(self) -> ThreadOutput:
        self._output = output = ThreadOutput(self)
        return output
