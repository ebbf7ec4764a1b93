"""What a connection is and how it goes on after a response: the half of `http1.protocol` that faces out.

`gwctl.workers.http1.protocol` has the other half (from bytes to requests) and the rules of both.
"""

from __future__ import annotations

import socket
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from gwctl.workers.http1.body_buffer import Discard
from gwctl.workers.http1.body_framing import Framer, LengthFramer, Sink
from gwctl.workers.http1.hangup import reset_at_end
from gwctl.workers.http1.head_validator import HeadJudge
from gwctl.workers.http1.response_head import CONTINUE
from gwctl.workers.http1.states import (
    BUSY,
    CLOSING,
    DISCARD,
    DISCARD_BYTES_MAX,
    FLUSH,
    FRESH,
    HEAD,
    IDLE,
    LINGER,
    LINGER_S,
    TAIL_BYTES_MAX,
)

if TYPE_CHECKING:
    from gwctl.ipc.assignment import Listener
    from gwctl.workers.http1.forwarded import Forwarder
    from gwctl.workers.http1.request_rules import Refused
    from gwctl.workers.http1.service import Service


class TlsSession(Protocol):
    """What a connection's TLS is to whoever serves on it (`gwctl.workers.transport.tls`).

    Attributes:
        goes_on: There is decrypted input that no descriptor tells of.
        ended: The client has said that it sends no more.
        raw: The transport below.
    """

    ssl: Any
    raw: Any
    goes_on: bool

    @property
    def ended(self) -> bool: ...
    def pump(self, data: bytes) -> int: ...
    def settle(self) -> None: ...
    def output_for_sync(self) -> Any: ...
    def output_for_threads(self) -> Any: ...


class ConnectionBase:
    __slots__ = (
        "_begin",
        "arrived_at",
        "attention",
        "authority",
        "base",
        "ends_unasked",
        "eof",
        "eof_at",
        "expecting",
        "forwarder",
        "framer",
        "head",
        "hints",
        "http11",
        "is_head",
        "judge",
        "keep_alive",
        "linger_until",
        "listener",
        "local",
        "lost",
        "method",
        "output",
        "parser",
        "peer",
        "pipelined",
        "queued",
        "read_paused",
        "received",
        "request",
        "service",
        "since",
        "sink",
        "slice_bytes",
        "sock",
        "state",
        "tail",
        "tail_at",
        "taken",
        "target",
        "tls",
        "transport",
        "unsent",
        "window_at",
        "window_bytes",
        "window_taken",
        "write_paused",
    )

    def __init__(self, service: Service, sock: socket.socket, peer: Any, listener: Listener) -> None:
        self.service = service
        self.sock = sock
        self.peer = peer
        self.local: Any = None  # where the client connected to, if a proxy said so
        self.listener = listener
        self.parser = service.new_parser()
        self._begin = service.begin
        self.transport: Any = None
        self.tls: TlsSession | None = None
        self.state = FRESH
        self.since = monotonic()
        self.linger_until = 0.0
        self.tail = b""
        self.tail_at = 0
        self.framer: Framer | None = None
        self.sink: Sink | None = None
        self.expecting = False  # the client waits for 100 (Continue)
        self.request: Any = None  # the runner's: environ while the body is received, the ASGI request
        self.base: Any = None  # the runner's: what all requests of this connection share
        self.forwarder: Forwarder | None = None  # of a trusted proxy's connection
        self.output: Any = None  # the runner's: where a thread writes
        self.hints: Any = None  # the runner's: wsgi.early_hints
        self.attention = self.eof = self.lost = self.read_paused = self.write_paused = False
        self.arrived_at = 0.0  # by X-Request-Start of a trusted proxy
        self.eof_at = 0.0
        self.unsent = 0
        self.received = 0  # of the present body, as it came
        # A window of `gwctl.workers.balancing.slow_clients`: its begin, what had come and was taken by then
        # (-1: none).
        self.window_at = 0.0
        self.window_bytes = 0
        self.window_taken = -1
        self.taken = -1  # acknowledged by the client's kernel when its silence was last judged
        self.queued = False  # a response waits in the outbox
        self.judge: HeadJudge | None = None  # holds a head that comes in parts
        self.ends_unasked = False  # after this request, though the client may be sending its next one
        self.pipelined = False  # the client sends requests before it has read the responses
        self.slice_bytes = service.slice_bytes
        # Of the request in progress:
        self.method = self.target = self.authority = ""
        self.head = b""  # its first bytes, from the request line on
        self.http11 = self.keep_alive = True
        self.is_head = False

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        raise NotImplementedError

    def what(self) -> str:
        """Method and target, as logs show them."""
        return f"{self.method} {self.service.context.shown(self.target)}"

    def addresses(self) -> tuple[tuple[str, int | None], tuple[str, int] | None]:
        """Return where it arrived and where it came from: host and port.

        On a Unix socket the first is its path and None. The second is None there, and where a
        proxy does not know.
        """
        local, peer = self.local or self.sock.getsockname(), self.peer
        client = (peer[0], peer[1]) if isinstance(peer, tuple) else None
        if isinstance(local, tuple):
            return (local[0], local[1]), client
        return (local if isinstance(local, str) else "", None), client

    @property
    def receiving(self) -> bool:
        """Tell whether a body is on its way."""
        return self.framer is not None

    def resume(self) -> None:
        """Go on with what waits in `tail`."""
        raise NotImplementedError

    def body_at_hand(self, framer: Framer, bytes_max: int) -> bytes | None:
        """Take a body that came with its head, as that of nearly every form or JSON document does.

        Nothing has to be framed or waited for then; the way for all others (None) gives the same.
        """
        tail = self.tail
        if not tail or type(framer) is not LengthFramer or framer.left > bytes_max:
            return None
        start = self.tail_at
        end = start + framer.left
        if end > len(tail):
            return None
        if end < len(tail):
            self.tail_at = end
        else:
            self.tail = b""
        return tail[start:end]

    def catch_up(self) -> bool:
        """Take what was left of a body for later turns of the loop; return whether there was something.

        For calls that read the body in the loop's thread: it does not turn meanwhile.
        """
        raise NotImplementedError

    def read_body(self, framer: Framer, sink: Sink, state: int, expecting: bool) -> None:
        """Receive a body into ``sink``; the runner hears of its end. The parser must be reset before."""
        raise NotImplementedError

    def send_continue(self) -> None:
        """Ask for the body if the client waits to be asked."""
        if self.expecting:
            self.expecting = False
            self.transport.write(CONTINUE)

    def ask_to_leave(self) -> None:
        """Let the next request be the last one."""
        self._begin = _begin_last

    # ---- after the response

    def responded(self, keep_alive: bool, now: float) -> None:
        """Go on after a response that is complete: written, or in the transport's hands."""
        self.request = None
        self.since = now
        usual = keep_alive and self.framer is None
        if usual and not (self.attention or self.tail or self.write_paused or self.read_paused):
            self.state = IDLE
        elif self.lost:
            self.state = CLOSING
            self.service.runner.on_disconnect(self)
        elif self.framer is not None:
            self._skip_body(keep_alive)
        elif keep_alive:
            self._next()
        elif (self.keep_alive or self.ends_unasked) and not self.eof:
            self.linger()  # else a reset for its next request could cost it this response
        else:
            self.close()

    def _skip_body(self, keep_alive: bool) -> None:
        assert self.framer is not None
        if not keep_alive or self.expecting or self.eof or self.framer.left > DISCARD_BYTES_MAX:
            self.linger()
            return
        self.state = DISCARD
        self.since = monotonic()
        self.sink = Discard(DISCARD_BYTES_MAX)
        self.adjust_reading()

    def _next(self) -> None:
        """Be ready for the next request, once the client has taken enough of the last response."""
        self.since = monotonic()
        if self.write_paused:
            self.state = FLUSH
            return
        self.state = IDLE
        self.attend()

    def attend(self) -> None:
        """See to what happened while a request was in progress: input, its end, the connection's."""
        if self.state == BUSY:
            return
        self.attention = self.eof  # an end stays to be seen to
        if self.lost:
            self.service.runner.on_disconnect(self)
        elif self.tail:
            # Called from an ASGI application's send(), this is still its task's context.
            self.service.context.loop.call_soon(self.resume, context=self.service.context.neutral_context)
        elif self.eof and self.state <= HEAD:
            self.close()
        elif self.read_paused:
            self.adjust_reading()

    def adjust_reading(self) -> None:
        """Read or not, as what waits here and in the sink says."""
        full = (
            len(self.tail) - self.tail_at > TAIL_BYTES_MAX
            if self.framer is None
            else self.framer.behind or self.service.runner.sink_is_full(self)
        )
        if full == self.read_paused or self.lost or self.eof or self.transport.is_closing():
            return
        self.read_paused = full
        if full:
            self.transport.pause_reading()
        else:
            self.since = self.window_at = monotonic()
            self.window_bytes = self.received
            self.transport.resume_reading()

    # ---- ends

    def refuse(self, status: int, why: str) -> None:
        """Answer the request with ``status`` ourselves, and close; ``why`` is for the log."""
        service = self.service
        service.runner.refused(self)
        data = service.heads.error(status, self.is_head)
        if not self.lost:
            self.transport.write(data)
        service.refused(self, status, len(data), why)
        self.linger()

    def refuse_head(self, refusal: Refused) -> None:
        """Refuse the request that begins with the head in the parser."""
        if self.forwarder is not None and self.parser.is_complete:
            self.forwarder.apply_parsed(self)
        self.refuse(refusal.status, refusal.why)

    def refuse_unparsed(self, status: int, why: str) -> None:
        """Refuse what never became a request: what is known here is of the one before."""
        self.method = self.target = ""
        self.is_head = False
        self.judge = None
        if self.forwarder is not None:
            self.peer = self.forwarder.peer
        self.refuse(status, why)

    def close(self) -> None:
        """Close after what is written has been sent; linger if more of the client's may be on its way."""
        if self.queued:
            self.service.outbox.send()
        if self.tail or self.framer is not None or (self.pipelined and not self.eof):
            self.linger()
        elif not self.lost:
            self.state = CLOSING
            self.since = monotonic()
            self.unsent = self.transport.get_write_buffer_size()
            self.transport.close()

    def linger(self) -> None:
        """Say that nothing more comes, and drop input until the client has closed or time is up."""
        if self.queued:
            self.service.outbox.send()
        self.tail = b""
        self.framer = self.sink = None
        if self.lost or self.transport.is_closing():
            self.state = CLOSING  # the runner lets go of what is no longer BUSY
            return
        if self.eof:
            self.close()
            return
        self.state = LINGER
        self.since = monotonic()
        self.linger_until = self.since + LINGER_S
        self.unsent = self.transport.get_write_buffer_size()
        try:
            self.transport.write_eof()
        except OSError:  # asyncio's does it at once, and the client has reset the connection
            self.abort()
            return
        self.adjust_reading()

    def cut(self, rest: bytes, delimited: bool) -> bool:
        """End in mid-response, so that the client notices; return False if the state is yet to be changed.

        A reset says it best, but what waits to be sent is discarded with it. Where the client has
        sent requests ahead, that may be responses which are complete: then they go out, and
        ``rest``, and the end comes where chunks or a length (``delimited``) say that it is none.
        """
        if not (self.pipelined and delimited) or self.lost:
            self.abort()
            return False
        if rest:
            self.transport.write(rest)
        self.request = None
        self.linger()
        return True

    def abort(self) -> None:
        """End the connection so that the client notices: with a reset, not as if all were well."""
        if self.lost or self.transport is None:
            return
        if self.queued:
            self.service.outbox.send()
        reset_at_end(self.sock)
        self.transport.abort()


def _begin_last(connection: ConnectionBase) -> None:
    connection.ends_unasked = connection.keep_alive
    connection.keep_alive = False
    connection.service.begin(connection)
