"""What a connection is and how it goes on after a response: the half of `http1.protocol` that faces out.

`gwctl.workers.http1.protocol` has the other half (from bytes to requests) and the rules of both.
"""

from __future__ import annotations

import os
import select
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from gwctl.ipc.scoreboard import BYTES_IN
from gwctl.workers.exchange.body_buffer import Discard
from gwctl.workers.exchange.exchange import Exchange, Sink
from gwctl.workers.exchange.states import BODY, BUSY, CLOSING, DISCARD, FLUSH, FRESH, HEAD, IDLE, LINGER
from gwctl.workers.http1.body_framing import Framer, LengthFramer
from gwctl.workers.http1.bounds import DISCARD_BYTES_MAX, LINGER_S, TAIL_BYTES_MAX
from gwctl.workers.http1.client_signs import LEFT_S, PEEK, ages_of, hung_up
from gwctl.workers.http1.hangup import reset_at_end
from gwctl.workers.http1.head_validator import HeadJudge
from gwctl.workers.http1.request_rules import frame_body, wants_continue
from gwctl.workers.http1.response_head import CONTINUE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gwctl.ipc.assignment import Listener
    from gwctl.workers.exchange.request_rules import Refused
    from gwctl.workers.http1.service import Http1Service


READ_BYTES: Final = 65536


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


class ConnectionBase(Exchange):
    """An exchange that has a socket, one request after the other.

    Attributes:
        sock: Its socket; ``transport`` reads and writes it, which may be TLS.
        output: What a call's thread writes to: a descriptor of its own, or the TLS session's.
        parser: Holds a head that is complete, until it is reset.
        judge: Holds a head that comes in parts.
        tail, tail_at: What the client has sent ahead, and where that begins.
        incoming: Delimits the body that the present head announces.
        framer, sink: Of the body that is received.
        unsent: What the transport held when that was last looked at.
        taken: Acknowledged by the client's kernel when its silence was last judged.
        ends_unasked: After this request, though the client may be sending its next one.
        pipelined: The client sends requests before it has read the responses.
    """

    __slots__ = (
        "_begin",
        "ends_unasked",
        "framer",
        "incoming",
        "judge",
        "linger_until",
        "output",
        "parser",
        "pipelined",
        "service",
        "sink",
        "slice_bytes",
        "sock",
        "tail",
        "tail_at",
        "taken",
        "tls",
        "transport",
        "unsent",
    )

    upgrades = True
    serves = True
    """It takes requests; else it is refused as soon as it is known what it speaks."""
    can_be_given = True
    """A sibling can go on with it between two requests: what is known of the client is known to each."""

    def __init__(self, service: Http1Service, sock: socket.socket, peer: Any, listener: Listener) -> None:
        parser = service.new_parser()
        super().__init__(parser, peer, listener, FRESH, monotonic())
        self.service = service
        self.sock = sock
        self.parser = parser
        self._begin: Callable[[ConnectionBase], None] = service.begin
        self.transport: Any = None
        self.tls: TlsSession | None = None
        self.output: Any = None
        self.linger_until = 0.0
        self.tail = b""
        self.tail_at = 0
        self.incoming: Framer | None = None
        self.framer: Framer | None = None
        self.sink: Sink | None = None
        self.unsent = 0
        self.taken = -1
        self.judge: HeadJudge | None = None
        self.ends_unasked = self.pipelined = False
        self.slice_bytes = service.slice_bytes

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        raise NotImplementedError

    def what(self) -> str:
        return f"{self.method} {self.service.context.shown(self.target)}"

    def addresses(self) -> tuple[tuple[str, int | None], tuple[str, int] | None]:
        local, peer = self.local or self.sock.getsockname(), self.peer
        client = (peer[0], peer[1]) if isinstance(peer, tuple) else None
        if isinstance(local, tuple):
            return (local[0], local[1]), client
        return (local if isinstance(local, str) else "", None), client

    @property
    def ssl(self) -> Any:
        return None if self.tls is None else self.tls.ssl

    def fileno(self) -> int:
        return self.sock.fileno()

    def ages(self) -> tuple[float, float] | None:
        return ages_of(self.sock)

    def has_left(self, since: float) -> bool:
        if self.lost:
            return True
        sock = self.sock
        try:
            if not (self.eof or sock.recv(1, PEEK) == b""):
                return False
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True
        if self.pipelined:
            return False  # its end may have come with a request that was answered long before this one
        if self.tls is not None:  # its end is data, too: when we read it has to do
            return self.eof_at - since > LEFT_S
        ages = ages_of(sock)
        if ages is not None:
            return ages[0] - ages[1] > LEFT_S
        return hung_up(sock)

    @property
    def receiving(self) -> bool:
        return self.framer is not None

    def resume(self) -> None:
        """Go on with what waits in `tail`."""
        raise NotImplementedError

    def carries(self, exchange: Exchange) -> bool:
        """Tell whether ``exchange`` is on this connection."""
        return exchange is self

    def unsent_bytes(self) -> int:
        """Return how much is in memory of responses that the client has yet to take."""
        return int(self.transport.get_write_buffer_size()) + self.service.runner.rest(self)

    def undone(self) -> list[Exchange]:
        """Return the requests that have begun to come and are not answered in full."""
        if self.transport is None:
            return []
        busy = self.state in {BODY, BUSY, FLUSH} or self.transport.get_write_buffer_size() > 0
        return [self] if busy else []

    # ---- the way out

    def open_output(self, fd: int) -> None:
        os.dup2(self.sock.fileno(), fd, inheritable=False)
        self.output = socket.socket(self.sock.family, self.sock.type, self.sock.proto, fd)
        self.output.setblocking(False)

    def close_output(self) -> None:
        if self.output is not None:
            self.output.close()
            self.output = None

    def seize_output(self) -> Any:
        output = self.output
        if output is None:
            return None
        self.attention = True
        if self.tls is not None:
            self.tls.settle()  # what it was handed goes out
            output.lost()
        else:
            os.dup2(self.service.nowhere().fileno(), output.fileno(), inheritable=False)
        return output

    def return_output(self, output: Any) -> None:
        if self.tls is not None:
            self.abort()
        elif (own := self.sock.fileno()) >= 0:  # else it is closed, and what it leads to is the same
            os.dup2(own, output.fileno(), inheritable=False)

    def leave_output(self) -> None:
        self.output = None

    def takes_no_more(self) -> bool:
        return bool(self.transport.is_closing())

    def tell_when_empty(self, wanted: bool) -> None:
        if wanted:
            self.transport.set_write_buffer_limits(high=0)
        else:
            self.transport.set_write_buffer_limits()

    def send(self, response: bytes) -> bytes:
        try:
            sent = self.sock.send(response)
        except BlockingIOError:
            return response
        except OSError:
            return b""  # the client is gone, as the transport will notice
        return b"" if sent == len(response) else response[sent:]

    def write(self, rest: bytes) -> None:
        self.transport.write(rest)

    def drop(self) -> None:
        self.request = None
        self.state = CLOSING
        self.transport.abort()

    # ---- the body

    def take_body(self, fields: Mapping[bytes, bytes], bytes_max: int, at_hand_max: int) -> bytes | None:
        framer = frame_body(
            fields.get(b"content-length"), fields.get(b"transfer-encoding"), self.http11, bytes_max
        )
        expect = fields.get(b"expect")
        if expect is not None:
            self.expecting = wants_continue(expect, self.http11) and framer is not None
        self.parser.reset()
        if framer is None:
            return b""
        tail = self.tail
        if tail and type(framer) is LengthFramer and framer.left <= at_hand_max:
            start = self.tail_at
            end = start + framer.left
            if end <= len(tail):
                if end < len(tail):
                    self.tail_at = end
                else:
                    self.tail = b""
                    self.attention = self.eof
                self.expecting = False
                self.count_body(end - start)
                return tail[start:end]
        self.incoming = framer
        return None

    def count_body(self, size: int) -> None:
        """Count a body, once for all: ``size`` bytes were received of it, as it came."""
        self.service.context.record.words[BYTES_IN] += size

    def end_receiving(self, ahead: int = 0) -> None:
        """Receive no more of the body, if one is received. ``ahead`` bytes that came were not of it.

        It is counted here and not as it comes: only now it is known where it ended.
        """
        if self.framer is not None:
            self.framer = self.sink = None
            self.count_body(self.received - ahead)

    @property
    def expected_bytes(self) -> int:
        return 0 if self.incoming is None else self.incoming.left

    def pump(self, seconds: float) -> int | None:
        tls = self.tls
        if self.catch_up() or (tls is not None and tls.pump(b"")):
            return None
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            readable = select.poll()
            readable.register(self.sock, select.POLLIN)
            readable.poll(seconds * 1000)
            return None
        except OSError:
            return 0
        if data and tls is not None:
            tls.pump(data)
        elif data:
            self.data_received(data)
        if not data or (tls is not None and tls.ended):
            return 400  # the loop will see the end too
        return None

    def send_continue(self) -> None:
        if self.expecting:
            self.expecting = False
            self.transport.write(CONTINUE)

    def ask_to_leave(self) -> None:
        """Let the next request be the last one."""
        self._begin = _begin_last

    def is_due(self) -> bool:
        """Tell whether the loop goes on with it in its next turn, of which no descriptor tells."""
        if self.tail and self.state <= HEAD:
            return True
        if self.framer is not None and self.framer.behind:
            return True
        if self.tls is not None and self.tls.goes_on:
            return True
        return self.request is not None and self.request.is_due()

    def listens(self) -> bool:
        """Tell whether what its client sends next is read as soon as it is there: somebody waits for that."""
        return self.state <= HEAD or (self.framer is not None and not self.read_paused)

    # ---- after the response

    def responded(self, keep_alive: bool, now: float) -> None:
        self.request = None
        self.since = now
        usual = keep_alive and self.framer is None
        if usual and not (self.attention or self.tail or self.write_paused or self.read_paused):
            self.state = IDLE
        elif self.lost:
            self.state = CLOSING
            self._is_gone()
        elif self.framer is not None:
            self._skip_body(keep_alive)
        elif keep_alive:
            self._next()
        elif (self.keep_alive or self.ends_unasked) and not self.eof:
            self.linger()  # else a reset for its next request could cost it this response
        else:
            self.close()

    def _is_gone(self) -> None:
        self.service.runner.on_disconnect(self)
        self.let_go()

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
        if self.state in {BODY, BUSY}:
            return
        self.attention = self.eof  # an end stays to be seen to
        if self.lost:
            self._is_gone()
        elif self.tail:
            # Called from an ASGI application's send(), this is still its task's context.
            self.service.context.loop.call_soon(self.resume, context=self.service.context.neutral_context)
        elif self.eof and self.state <= HEAD:
            self.close()
        elif self.read_paused:
            self.adjust_reading()

    def adjust_reading(self) -> None:
        full = (
            len(self.tail) - self.tail_at > TAIL_BYTES_MAX
            if self.framer is None
            else self.framer.behind or (self.request is not None and self.request.is_full())
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
        self.end_receiving()
        if self.lost or self.transport.is_closing():
            self.state = CLOSING  # the runner lets go of what is no longer BUSY
            if self.lost:
                self._is_gone()
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
        """End in mid-response.

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

    def quit(self) -> None:
        """End it at once, as all else."""
        self.transport.abort()

    def abort(self) -> None:
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
