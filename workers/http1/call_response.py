"""How the response of a WSGI call gets to its client, from whatever thread makes the call.

It is written straight to the connection's *output*: a socket, or what has the same
shape (``send`` that returns how much it took and raises BlockingIOError or OSError, and
``fileno``; ``wait_writable`` if it waits in its own way). What the output does not take is
kept, up to `PENDING_BYTES_MAX`; beyond it the writer waits, as long as
`gwctl.workers.exchange.client_wait` lets it, so memory stays bounded whatever the client does. While
others wait for the worker, what is beyond goes to a temporary file instead
(`gwctl.workers.exchange.response_spool`).

A file goes by sendfile(2) to a plain socket and in blocks to anything else. Once the socket is
full, its rest is left to the loop: kept like any other block if it is small enough, else as a
`gwctl.workers.http1.file_sender.FileTail`. So a slow reader of a file does not hold the worker.

Once the client is known to be gone every further write says so at once, without asking the
kernel or waiting again.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NoReturn

from gwctl.workers.exchange.client_wait import POLL_S, ClientWait
from gwctl.workers.exchange.response import MARKED, Fields
from gwctl.workers.http1.file_sender import FileTail, SpoolTail
from gwctl.workers.http1.response import JOINED_BYTES_MAX, DistantResponse, Http1Response, is_interim
from gwctl.workers.observe.errors import ClientGone
from gwctl.workers.observe.tcp_info import in_kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from gwctl.workers.http1.connection import ConnectionBase

PENDING_BYTES_MAX: Final = 262144
_FILE_BLOCK_BYTES: Final = 65536
_SENDFILE_BYTES_MAX: Final = 1 << 30

# What sendfile(2) says of the client. Everything else it says is of the file.
_CLIENTS: Final = {
    errno.EPIPE,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
}
_FULL: Final = -1
"""The socket takes no more."""
_CANNOT: Final = -2
"""This file cannot be sent so."""
_NO_SENDFILE: Final = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


class _Gone:
    """The output of a client that is known to be gone."""

    def send(self, _data: Any) -> int:
        raise BrokenPipeError

    def fileno(self) -> int:
        raise BrokenPipeError


_GONE: Final[Any] = _Gone()


def wait_writable(output: Any, timeout_s: float) -> bool:
    """Wait until ``output`` takes something; False when it did not within ``timeout_s``."""
    own = getattr(output, "wait_writable", None)
    if own is not None:
        return bool(own(timeout_s))
    writable = select.poll()
    writable.register(output, select.POLLOUT)
    return bool(writable.poll(timeout_s * 1000))


def unsent_bytes(connection: ConnectionBase, output: Any) -> int:
    """Return how much the client has yet to take of what was sent to ``output``; the call's thread."""
    layer = connection.tls
    if layer is None:
        return in_kernel(output)
    return in_kernel(connection.sock) + int(layer.raw.get_write_buffer_size())


class CallResponse(Http1Response):
    """Written to ``output``; waits where the client does not take enough of it."""

    __slots__ = ("client_wait", "output")

    def __init__(self, connection: ConnectionBase, output: Any) -> None:
        super().__init__(connection)
        self.client_wait: ClientWait | None = None
        self.output = output

    @property
    def client_gone(self) -> bool:
        return self.output is _GONE

    def whole(self, line: bytes, status: int, headers: Fields, body: bytes, length: int, now: float) -> bool:
        connection = self.connection
        service = connection.service
        if connection.is_head or connection.expecting or not connection.http11 or not connection.keep_alive:
            return False
        if service.draining:
            return False
        response = service.heads.usual(line, status, headers, body, length, now)
        if response is None:
            return False
        outbox = self.outbox
        if outbox is None or not outbox.take(connection, response, now):
            self.write(response)
        return True

    def distant(self, far: Any, put: Callable[[Any, int], None]) -> DistantResponse:
        return DistantResponse(far, put)

    def begins(self, pieces: list[Any]) -> bool:
        return not all(is_interim(piece) for piece in pieces)

    def pass_on(self, pieces: list[Any]) -> None:
        self.write(b"".join(pieces) if len(pieces) > 1 else pieces[0])

    def end(self, data: bytes = b"", *, trailers: bool = False) -> None:
        if self.framing == MARKED:
            super().end(data, trailers=trailers)
            return
        outbox = self.outbox
        if data and self.head and outbox is not None and len(data) <= JOINED_BYTES_MAX:
            response, self.head = self.head + data, b""
            if not outbox.take(self.connection, response, monotonic()):
                self.write(response)
        else:
            self.block(data)

    def write(self, data: bytes | memoryview) -> None:
        if self.pending:
            self._send_behind(data)
            return
        try:
            sent = self.output.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(error)
        if sent != len(data):
            self._keep(memoryview(data)[sent:])

    def _send_behind(self, data: bytes | memoryview) -> None:
        """Send ``data`` after what is pending, waiting only if both are more than may be kept."""
        self._push()
        while self.pending:
            if not self.spooled and len(self.pending) + len(data) <= PENDING_BYTES_MAX:
                self.pending += data
                return
            if self._spool(data):
                return
            self._wait_writable()
            self._push()
        rest = memoryview(data)
        sent = self._try(rest)
        self._keep(rest[sent:])

    def _keep(self, rest: memoryview) -> None:
        """Keep ``rest`` as pending: nothing else is."""
        while len(rest) > PENDING_BYTES_MAX:
            if self._spool(rest[PENDING_BYTES_MAX:]):
                rest = rest[:PENDING_BYTES_MAX]
                break
            self._wait_writable()
            sent = self._try(rest)
            rest = rest[sent:]
        self.pending = bytes(rest)

    # ---- while others wait

    @property
    def spooled(self) -> int:
        """How much is on disk, behind what is pending."""
        wait = self.client_wait
        return 0 if wait is None or wait.spool is None else wait.spool.left

    def _spool(self, data: bytes | memoryview) -> bool:
        """Put ``data`` on disk rather than let others wait; False if nobody does, or it cannot be."""
        wait = self.client_wait
        if wait is None or not wait.others_wait or self.connection.framer is not None:
            return False  # with part of the request still to come, the loop could not send the rest
        try:
            spool = wait.spool or wait.new_spool()
        except OSError:
            return False
        return spool.take(data)

    def drop(self) -> None:
        wait = self.client_wait
        if wait is not None and wait.spool is not None:
            wait.spool.close()

    def _try(self, data: memoryview) -> int:
        try:
            return int(self.output.send(data))
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lose(error)

    def waited_s(self, now: float) -> float:
        wait = self.client_wait
        return 0.0 if wait is None else wait.waited(now)

    def waiting(self) -> ClientWait:
        if self.client_wait is None:
            self.connection.attention = True  # so that `finish` is called, and this not the next call's
            self.client_wait = ClientWait(self.connection.service, self.connection)
        return self.client_wait

    def _wait_writable(self) -> None:
        """Wait until the client may take something, or until it is time to look at who else waits."""
        wait = self.waiting()
        wait.begin(unsent_bytes(self.connection, self.output))
        try:
            wait_writable(self.output, POLL_S)
        finally:
            wait.end(unsent_bytes(self.connection, self.output))
        why = wait.judge()
        if why:
            self.connection.service.context.throttled.warning(
                "slow reader", f"{self.connection.what()}: {why}; connection aborted"
            )
            self._lose(None)

    def _lose(self, error: OSError | None) -> NoReturn:
        """Remember that the client is gone."""
        self.pending = b""
        self.output = _GONE
        raise ClientGone("the client does not take the response") from error

    # ---- files

    def file(self, fd: int, position: int, count: int) -> int:
        self.block(b"")  # the head
        plain = type(self.output) is socket.socket
        self._push()
        while count:
            sent = _FULL
            if not self.pending:
                sent = self._sendfile(fd, position, count) if plain else self._send_block(fd, position, count)
            if not sent:
                break
            if sent > 0:
                position += sent
                count -= sent
            elif sent == _CANNOT:
                plain = False
            elif count + len(self.pending) <= PENDING_BYTES_MAX:
                return self._send_blocks(fd, position, count)
            elif self._leave(fd, position, count, plain):
                return 0
            else:
                self._wait_writable()
                self._push()
        return count

    def _push(self) -> None:
        """Send of what is kept what the output takes now."""
        if self.pending:
            pending = memoryview(self.pending)
            sent = self._try(pending)
            self.pending = bytes(pending[sent:])
        while not self.pending and self.spooled:
            wait = self.client_wait
            assert wait is not None
            assert wait.spool is not None
            block = memoryview(wait.spool.read(_FILE_BLOCK_BYTES))
            sent = self._try(block)
            self.pending = bytes(block[sent:])

    def _sendfile(self, fd: int, position: int, count: int) -> int:
        """Return how many bytes went, or `_FULL` or `_CANNOT`."""
        try:
            return os.sendfile(self.output.fileno(), fd, position, min(count, _SENDFILE_BYTES_MAX))
        except BlockingIOError:
            return _FULL
        except OSError as error:
            if error.errno in _NO_SENDFILE:
                return _CANNOT
            if error.errno in _CLIENTS:
                self._lose(error)
            raise

    def _leave(self, fd: int, position: int, count: int, plain: bool) -> bool:
        """Leave the rest of the file to the loop, so that a slow reader does not hold the worker."""
        connection = self.connection
        if connection.framer is not None or self.spooled:
            return False  # part of the request is still to be received, and the loop does one thing at a time
        try:
            own = os.dup(fd)
        except OSError:
            return False
        connection.request = FileTail(connection, own, position, count, plain=plain)
        connection.attention = True
        return True

    def _send_blocks(self, fd: int, position: int, count: int) -> int:
        while count and (size := self._send_block(fd, position, count)):
            position += size
            count -= size
        return count

    def _send_block(self, fd: int, position: int, count: int) -> int:
        block = os.pread(fd, min(count, _FILE_BLOCK_BYTES), position)
        if block:
            self.write(block)
        return len(block)

    # ---- its end, in the loop's thread

    def finish(self, *, keep_alive: bool) -> None:
        connection = self.connection
        pending, self.pending = self.pending, b""
        if pending and not connection.lost:
            connection.transport.set_write_buffer_limits(high=0)
            connection.transport.write(pending)
        self._leave_spooled()
        self.client_wait = None
        tail = connection.request
        if isinstance(tail, FileTail):
            if connection.lost:
                tail.close()
            else:
                tail.start(keep_alive)
                return
        connection.responded(keep_alive, monotonic())

    def _leave_spooled(self) -> None:
        """Have the loop send what of the response is on disk."""
        connection = self.connection
        wait = self.client_wait
        if wait is None or wait.spool is None:
            return
        if not wait.spool.left or connection.lost:
            wait.spool.close()
            return
        connection.request = SpoolTail(wait.spool, connection)

    def cut(self, *, shows: bool) -> None:
        connection = self.connection
        self.drop()
        self.client_wait = None
        pending, self.pending = self.pending, b""
        if not connection.cut(pending, shows):
            connection.responded(False, monotonic())
