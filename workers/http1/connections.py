"""All HTTP/1.1 connections of a worker, and who looks at them as a whole."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from gwctl.ipc.scoreboard import CONNECTIONS
from gwctl.workers.exchange.states import HANDED_OFF
from gwctl.workers.http1.connection import ConnectionBase
from gwctl.workers.http1.hangup import has_unread
from gwctl.workers.http1.service import Http1Service

if TYPE_CHECKING:
    import socket

    from gwctl.ipc.connection_queue import TransferHeader
    from gwctl.workers.context import WorkerContext
    from gwctl.workers.exchange.exchange import Exchange


class ConnectionService(Http1Service):
    """Of one worker. `gwctl.workers.server.Server` is the one there is."""

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context)
        self._connections: set[ConnectionBase] = set()

    @property
    def connections(self) -> int:
        return len(self._connections)

    def open_connections(self) -> list[ConnectionBase]:
        return list(self._connections)

    def admit(self, connection: ConnectionBase) -> None:
        """Count it at once: a sync application may hold the loop from its first request on."""
        self._connections.add(connection)
        self.context.record.words[CONNECTIONS] = self.connections

    def replace(self, connection: Exchange, successor: Exchange) -> None:
        assert isinstance(connection, ConnectionBase)  # each stands for a socket
        assert isinstance(successor, ConnectionBase)
        self._connections.discard(connection)
        self._connections.add(successor)
        connection.close_output()

    def adopt(self, sock: socket.socket, header: TransferHeader, data: bytes) -> None:
        """Go on with a connection of a sibling's; ``data`` was read of it."""
        raise NotImplementedError

    def clients_wait(self, exchange: Exchange) -> bool:
        """Look at all connections.

        One that was given away in this call is a sibling's, even if its transport never stood here.
        """
        poller = select.poll()
        asking = {}
        for other in self.open_connections():
            fd = other.sock.fileno()
            if other.carries(exchange) or fd < 0 or other.state == HANDED_OFF:
                continue
            if other.is_due():
                return True
            events = select.POLLOUT if other.held_bytes() else 0  # what the loop sends
            if other.listens():
                asking[fd] = other.sock
                events |= select.POLLIN
            if events:
                poller.register(fd, events)
        return any(
            event & select.POLLOUT or fd not in asking or has_unread(asking[fd])
            for fd, event in poller.poll(0)
        )
