"""What the connections and requests of a worker share, and what they tell each other's server.

`gwctl.workers.server.Server` is the one there is: it adds what accepts, drains and looks after them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gwctl.ipc.connection_queue import TransferHeader
from gwctl.ipc.scoreboard import CONNECTIONS
from gwctl.workers.context import WorkerContext
from gwctl.workers.http1.body_budget import BodyBudget
from gwctl.workers.http1.parser import parser_factory, slice_bytes
from gwctl.workers.http1.response_head import HeadBuilder
from gwctl.workers.observe.accounts import Accounts

if TYPE_CHECKING:
    from gwctl.workers.http1.connection import ConnectionBase
    from gwctl.workers.http1.forwarded import Forwarding
    from gwctl.workers.http1.outbox import Outbox
    from gwctl.workers.http1.runner import Runner


class Service:
    """Of one worker.

    Attributes:
        accounts: What is counted and logged of requests.
        begin: Takes a request that a connection's parser holds: the runner's, or what bounds it.
        outbox: The runner's.
        draining: The clients are to leave: each further response closes its connection.
        plain_from_start: Nothing comes before HTTP on a connection.
        sweep_s: How often the worker looks for what is due.
    """

    runner: Runner
    outbox: Outbox
    begin: Callable[[ConnectionBase], None]
    forwarding: Forwarding | None
    plain_from_start: bool

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.accounts = Accounts(context.loop, context.record, self._batch_begins, self._batch_ends)
        self.heads = HeadBuilder(bytes if context.interface == "asgi" else str)
        self.heads.retry_after_s = context.settings.retry_after_s
        self.new_parser = parser_factory(context.limits)
        self.slice_bytes = slice_bytes(context.limits)
        self.body_budget = BodyBudget(context.limits, context.record.words)
        self.draining = False
        self.sweep_s = 1.0
        self._connections: set[ConnectionBase] = set()
        self._warned_bare_bytes = False

    def _batch_begins(self) -> None:
        raise NotImplementedError

    def _batch_ends(self, late: bool) -> None:
        raise NotImplementedError

    # ---- its connections

    @property
    def connections(self) -> int:
        """How many there are, those included that are WebSockets now."""
        return len(self._connections)

    def open_connections(self) -> list[ConnectionBase]:
        return list(self._connections)

    def admit(self, connection: ConnectionBase) -> None:
        """Count it at once: a sync application may hold the loop from its first request on."""
        self._connections.add(connection)
        self.context.record.words[CONNECTIONS] = self.connections

    def forget(self, connection: ConnectionBase) -> None:
        """The connection is gone, or is no longer HTTP."""
        raise NotImplementedError

    def adopt(self, sock: socket.socket, header: TransferHeader, data: bytes) -> None:
        """Go on with a connection of a sibling's; ``data`` was read of it."""
        raise NotImplementedError

    def upgrade(self, connection: ConnectionBase, scope: Mapping[str, Any]) -> None:
        """Make a WebSocket of ``connection``.

        Raises:
            Refused: Its handshake is broken.
        """
        raise NotImplementedError

    # ---- its requests

    @property
    def active_requests(self) -> int:
        return self.runner.active

    def check_drained(self) -> None:
        """See whether that was the last of a drain."""
        raise NotImplementedError

    def refused(self, connection: ConnectionBase, status: int, size: int, why: str) -> None:
        """Count a response of our own; say ``why`` at log level debug: clients can make any number."""
        peer = connection.peer
        client = peer[0] if isinstance(peer, tuple) else "a client"
        self.context.log.debug(f"{status} to {client}: {why}")
        accounts = self.accounts
        accounts.own.add(status, size, 0.0)
        if accounts.access is not None:
            accounts.access.add(connection, status, size, 0.0, "-", "-")
        accounts.flush_soon()

    def warn_bare_bytes(self) -> None:
        """Say once what an application that returns bytes instead of a list of bytes should change."""
        if not self._warned_bare_bytes:
            self._warned_bare_bytes = True
            self.context.log.warning(
                "the application returned bytes; PEP 3333 asks for an iterable of bytes, such as [body]. "
                "Served as one block (said once)"
            )

    # ---- its listeners

    def backlog_waits(self) -> bool:
        """Tell whether somebody waits to be accepted."""
        raise NotImplementedError

    def vacate_closed(self) -> None:
        """From another thread, during a long call: let go of listeners that are closed to new clients."""
        raise NotImplementedError
