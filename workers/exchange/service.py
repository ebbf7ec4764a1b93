"""What the exchanges of a worker share, and what they tell each other's server.

`gwctl.workers.server.Server` is the one there is: it adds what accepts, drains and looks after them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from gwctl.workers.context import WorkerContext
from gwctl.workers.exchange.body_budget import BodyBudget
from gwctl.workers.observe.accounts import Accounts

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.forwarded import Forwarding
    from gwctl.workers.exchange.outbox import Outbox
    from gwctl.workers.exchange.runner import Runner


class Service:
    """Of one worker.

    Attributes:
        accounts: What is counted and logged of requests.
        begin: Takes a request that an exchange has: the runner's, or what bounds it.
        outbox: The runner's.
        draining: The clients are to leave: each further response closes its connection.
        plain_from_start: Nothing comes before HTTP on a connection.
        sweep_s: How often the worker looks for what is due.
    """

    runner: Runner
    outbox: Outbox
    begin: Callable[[Exchange], None]
    forwarding: Forwarding | None
    plain_from_start: bool

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.accounts = Accounts(context.loop, context.record, self._batch_begins, self._batch_ends)
        self.body_budget = BodyBudget(context.limits, context.record.words)
        self.draining = False
        self.sweep_s = 1.0
        self._warned_bare_bytes = False

    def _batch_begins(self) -> None:
        raise NotImplementedError

    def _batch_ends(self, late: bool) -> None:
        raise NotImplementedError

    # ---- its connections

    @property
    def connections(self) -> int:
        """How many there are, those included that are WebSockets now."""
        raise NotImplementedError

    def clients_wait(self, exchange: Exchange) -> bool:
        """Tell whether others than ``exchange`` ask for something that the loop would see to.

        Asked in the midst of a call in the loop's thread.
        """
        raise NotImplementedError

    def upgrade(self, exchange: Exchange, scope: Mapping[str, Any]) -> None:
        """Make a WebSocket of ``exchange``.

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

    def refused(self, exchange: Exchange, status: int, size: int, why: str) -> None:
        """Count a response of our own; say ``why`` at log level debug: clients can make any number."""
        peer = exchange.peer
        client = peer[0] if isinstance(peer, tuple) else "a client"
        self.context.log.debug(f"{status} to {client}: {why}")
        accounts = self.accounts
        accounts.own.add(exchange.method, exchange.target, status, size, 0.0)
        if accounts.access is not None:
            accounts.access.add_scope(exchange, status, size, 0.0, None, None, monotonic())
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
