"""The rest of a large file, sent by the loop after the call that began it is over.

A client that reads a file more slowly than it could be sent would hold the worker for as long
as it likes. So once the socket takes no more, the call leaves what remains to the loop: the
application's file is closed with its iterable, a dup of its descriptor and a position stay.

On a plain socket the loop sends with sendfile(2) while the socket takes it. To hear when it
takes more, one block goes through the transport, whose buffer is allowed to hold nothing: it
reports the block's departure. Where the transport is not the socket's own (TLS) all blocks go
that way. Meanwhile the connection is BUSY, its timeout is that of any response, and of the
file no more than that block is in memory.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, Final

from gwctl.workers.exchange.states import BUSY, CLOSING

if TYPE_CHECKING:
    from gwctl.workers.exchange.response_spool import ResponseSpool
    from gwctl.workers.http1.connection import ConnectionBase

_BLOCK_BYTES: Final = 65536
_TURN_BYTES_MAX: Final = 4 << 20
"""Sent in one turn of the loop, which others wait for."""


class FileTail:
    __slots__ = ("_connection", "_count", "_fd", "_plain", "_position", "keep_alive", "started")

    def __init__(
        self, connection: ConnectionBase, fd: int, position: int, count: int, *, plain: bool
    ) -> None:
        """Own ``fd``. ``plain``: what the socket is given is the response itself."""
        self._fd = fd
        self._connection = connection
        self._plain = plain
        self._position = position
        self._count = count
        self.started = False
        self.keep_alive = False

    def start(self, keep_alive: bool) -> None:
        """Begin to send, behind what the transport holds of the response."""
        connection = self._connection
        self.started = True
        self.keep_alive = keep_alive
        connection.state = BUSY
        connection.since = monotonic()
        connection.transport.set_write_buffer_limits(high=0)
        if not connection.write_paused:
            self.proceed()

    def proceed(self) -> None:
        """Send what the socket takes: the transport holds nothing."""
        connection = self._connection
        if self._fd < 0 or connection.write_paused:
            return
        try:
            short = self._send()
        except OSError as error:
            connection.service.context.log.debug(
                f"{self._what()}: the rest of the file was not sent: {error}"
            )
            self._abort()
            return
        if short:
            connection.service.context.log.error(
                f"{self._what()}: the body is {self._count} bytes shorter than Content-Length says; "
                "connection aborted"
            )
            self._abort()
        elif not self._count:
            self.close()
            connection.transport.set_write_buffer_limits()
            connection.responded(self.keep_alive, monotonic())
        elif not connection.write_paused:
            connection.since = monotonic()
            connection.service.context.loop.call_soon(self.proceed)

    def _send(self) -> bool:
        """Send until the socket or this turn is full; return whether the file has become too short."""
        connection = self._connection
        end = self._position + _TURN_BYTES_MAX
        plain = self._plain
        while self._count and self._position < end and not connection.write_paused:
            if plain:
                try:
                    count = min(self._count, _TURN_BYTES_MAX)
                    sent = os.sendfile(connection.sock.fileno(), self._fd, self._position, count)
                except BlockingIOError:
                    plain = False
                    continue
            else:
                block = os.pread(self._fd, min(self._count, _BLOCK_BYTES), self._position)
                sent = len(block)
                connection.transport.write(block)
            if not sent:
                return True
            self._position += sent
            self._count -= sent
            plain = self._plain
        return False

    # ---- as the exchange's work

    def body_end(self) -> None:
        """The call saw to it that there is no body yet to come."""

    def fail(self, status: int) -> bool:  # noqa: ARG002 - the same
        return False

    def is_full(self) -> bool:
        return False

    def is_due(self) -> bool:
        return self.started and not self._connection.held_bytes()

    def on_room(self) -> None:
        if self.started:
            self.proceed()
        else:
            self._connection.tell_when_empty(False)

    def abandon(self) -> None:
        self.close()

    def lose_client(self) -> None:
        if self.started:
            self.close()

    def _abort(self) -> None:
        self.close()
        self._connection.abort()

    def close(self) -> None:
        """Give up, or be done: nothing more is sent of it."""
        connection = self._connection
        if self._fd >= 0:
            self._close_file()
            self._fd = -1
        if self.started and self._count:
            connection.state = CLOSING
        if connection.request is self:
            connection.request = None

    def _close_file(self) -> None:
        os.close(self._fd)

    def _what(self) -> str:
        return self._connection.what()


class SpoolTail(FileTail):
    """Sends what is left of ``spool``, and closes it."""

    __slots__ = ("_spool",)

    def __init__(self, spool: ResponseSpool, connection: ConnectionBase) -> None:
        super().__init__(connection, spool.fd, spool.at, spool.left, plain=connection.tls is None)
        self._spool = spool

    def _close_file(self) -> None:
        self._spool.close()
