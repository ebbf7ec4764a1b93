"""Passing connections on to siblings that are free, and taking theirs.

A connection that cannot be served soon here, while a sibling could start on it now, goes to
the pool's connection queue (`gwctl.ipc.connection_queue`): its descriptor, and what was read of its
request. The sender lets go of it without a word to the client; it is neither closed nor failed, and what it
asked was never begun. From then on the receiver's descriptor is the connection.

Workers that serve watch the queue beside their listeners and take one connection at a time,
when they can start on it. A sync worker first sees to all that its loop already knows, so that
an idle one is quicker. A worker that parks or drains takes none, except that the last one to
go takes all that is left.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import socket
from io import BytesIO
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.ipc.connection_queue import DATA_BYTES_MAX, ConnectionQueue, TransferHeader
from gwctl.workers.exchange.states import HANDED_OFF, IDLE
from gwctl.workers.http1.connection import ConnectionBase
from gwctl.workers.http1.hangup import has_unread
from gwctl.workers.http1.protocol import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from gwctl.ipc.assignment import Listener
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.http1.connections import ConnectionService

_PAUSE_S: Final = 0.1
_PATIENCE_S: Final = 0.05
"""A connection in the queue that no free worker has taken for this long is taken by a busy one."""
_SWEEP_MAX: Final = 65536
_CODED: Final = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)
"""Of a body that came in chunks, only what was in them is left."""


class Handover:
    """One per worker of a pool that has a queue. All but `give` is for the loop's thread."""

    def __init__(self, service: ConnectionService, queue: ConnectionQueue, room: Callable[[], int]) -> None:
        """``room`` says how many connections may be taken over now."""
        self._service = service
        self._loop: Any = service.context.loop
        self._queue = queue
        self._room = room
        self._wanted = False
        self._watching = False
        self._due = False
        self._left_at = 0.0
        self._spare = -1
        self._pause: asyncio.TimerHandle | None = None
        self.given = 0
        self.taken = 0

    # ---- taking

    def start(self) -> None:
        """Take connections from now on."""
        self._wanted = True
        self.watch()

    def stop(self) -> None:
        """Take no more."""
        self._wanted = False
        self._unwatch()

    def take_again(self, *, free: bool) -> None:
        """Take again, now that the worker can start a request, or if everybody has been busy for too long.

        Called now and then while there are requests: in a pool that is always busy, nobody would take
        what was given away when somebody was free.
        """
        if free:
            self.watch()
        elif self._wanted and not self._watching and self._pause is None:
            now = monotonic()
            if now - self._left_at > _PATIENCE_S:
                self._left_at = now
                self._take()

    def watch(self) -> None:
        """Look at the queue, if connections are wanted."""
        if self._wanted and not self._watching and self._pause is None:
            self._watching = True
            self._loop.add_reader(self._queue.fileno(), self._readable)

    def sweep(self) -> None:
        """Take everything: nobody else will."""
        for _ in range(_SWEEP_MAX):
            if not self._take_one():
                return

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._queue.fileno())

    def _readable(self) -> None:
        if self._service.runner.has_active(self._service.context.capacity):
            self._unwatch()
            self._left_at = monotonic()
            self._service.accounts.flush_soon()  # which leads to `take_again`
        elif not self._due:
            self._due = True
            self._loop.call_soon(self._take)

    def _take(self) -> None:
        self._due = False
        if not self._wanted:
            return
        if self._room() <= 0:
            self._rest()
            return
        self._take_one()

    def _take_one(self) -> bool:
        """Take one connection; return whether there may be another.

        A descriptor is kept in reserve for it: one for which there is no room would be lost.
        """
        if not self._keep_spare():
            return False
        os.close(self._spare)
        self._spare = -1
        header = self._queue.receive()
        self._keep_spare()
        if header is None:
            if self._queue.broken:  # readable for ever, and there is nothing to read
                self.stop()
            return False
        fd, about, data = header
        self.taken += 1
        self._service.adopt(socket.socket(fileno=fd), about, data)
        return True

    def _keep_spare(self) -> bool:
        """Hold a descriptor in reserve; without one, leave taking to others for a moment."""
        try:
            self._service.runner.reserve()
            if self._spare < 0:
                self._spare = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            self._rest()
            return False
        return True

    def _rest(self) -> None:
        self._unwatch()
        if self._pause is None:
            self._pause = self._loop.call_later(_PAUSE_S, self._rested)

    def _rested(self) -> None:
        self._pause = None
        self.watch()

    # ---- giving

    @property
    def pending(self) -> bool:
        """Tell whether connections wait in the queue."""
        fd = self._queue.fileno()
        if fd < 0:
            return False  # closed: this worker is at its end
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(0))

    def give(self, connection: ConnectionBase, data: bytes) -> bool:
        """Put ``connection`` into the queue; `let_go` of it when this returns True.

        ``data`` was read of its next request. Another thread than the loop's may call this
        while the loop's thread cannot touch the connection.
        """
        if len(data) > DATA_BYTES_MAX:
            return False
        forwarder = connection.forwarder  # else its peer is the client of the last request only
        peer = connection.peer if forwarder is None else forwarder.peer
        about = TransferHeader(connection.listener.address, peer, connection.local)
        if not self._queue.send(connection.sock.fileno(), about, data):
            return False
        self.given += 1
        return True

    def givable(self) -> list[ConnectionBase]:
        """Return the connections of which nothing is held here."""
        return [each for each in self._service.open_connections() if may_be_given(each)]

    def give_unread(self, exchange: Exchange) -> bool:
        """Do so with one of them, if its client has asked for something that is yet to be read."""
        if not isinstance(exchange, ConnectionBase) or not may_be_given(exchange):
            return False
        return has_unread(exchange.sock) and self.give(exchange, b"")

    def give_request(self, exchange: Exchange, body: Any) -> bool:
        """Do so with a request that was read, not begun; what it held of the worker's memory is free then.

        ``body`` is a file with all of its body; None: it has none.
        """
        if not isinstance(exchange, ConnectionBase):
            return False  # one of several on its connection
        request = request_read(exchange, body)
        if not request or not self.give(exchange, request):
            return False
        if body is not None:
            self._service.body_budget.release(body)
        return True

    @staticmethod
    def let_go(exchange: Exchange) -> None:
        """Forget a connection that is a sibling's now, before anything more is read from it."""
        exchange.state = HANDED_OFF
        exchange.request = None
        if isinstance(exchange, ConnectionBase) and exchange.transport is not None:
            exchange.transport.abort()  # closes our descriptor; the connection stays open with theirs


def may_be_given(connection: ConnectionBase) -> bool:
    """Tell whether nothing of ``connection`` is held here: no request, no part of one, no response."""
    if not connection.can_be_given:
        return False
    if connection.state > IDLE or connection.tail or connection.eof or connection.lost or connection.queued:
        return False
    if connection.base is None:  # not HTTP yet: what comes first may be a preamble
        return connection.service.plain_from_start
    transport = connection.transport
    return connection.tls is None and not (transport.is_closing() or transport.get_write_buffer_size())


def request_read(connection: ConnectionBase, body: Any) -> bytes:
    """Return all that was read since the last response, if it is one request and nothing else; or nothing."""
    head = connection.head
    if connection.attention or connection.tail or not head.endswith(b"\r\n\r\n"):
        return b""
    if connection.tls is not None or connection.transport.get_write_buffer_size():
        return b""
    if body is None:
        return head
    if type(body) is not BytesIO or _CODED.search(head):
        return b""
    return head + body.getvalue()


class SharedConnection(Connection):
    """A connection that may be given away before its transport stands."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.state == HANDED_OFF:
            self.transport = transport
            self.transport.abort()
        else:
            super().connection_made(transport)


class AdoptedConnection(SharedConnection):
    """A connection that a sibling has begun.

    Attributes:
        counted: Bytes of a body that the sibling has received, and counted.
    """

    __slots__ = ("counted",)

    def __init__(
        self, service: ConnectionService, sock: socket.socket, peer: Any, listener: Listener, data: bytes
    ) -> None:
        """``data`` was read of its next request: nothing, or all of it (`request_read`)."""
        super().__init__(service, sock, peer, listener)
        self.tail = data
        self.counted = len(data.partition(b"\r\n\r\n")[2])

    def count_body(self, size: int) -> None:
        counted, self.counted = self.counted, 0
        super().count_body(max(size - counted, 0))
