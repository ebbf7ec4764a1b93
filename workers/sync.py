"""The sync runner: the application is called in the loop's thread, one request at a time.

No second request starts before the first response's iterable is closed: that is what running
in the loop's own callback gives. While the call lasts no event loop is visible (an
application may run one of its own; Django's database layer refuses to work inside one), and
each request has a fresh context.
"""

from __future__ import annotations

from asyncio import _set_running_loop
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING

from gwctl.scoreboard import BUSY_SINCE
from gwctl.workers.counters import Counters
from gwctl.workers.states import IDLE
from gwctl.workers.wsgi import WsgiCall
from gwctl.workers.wsgi_runner import WsgiRunner

if TYPE_CHECKING:
    from gwctl.workers.connection import ConnectionBase
    from gwctl.workers.environ import Environ
    from gwctl.workers.server import Server


class SyncRunner(WsgiRunner):
    accept_batch = 2
    """Connections accepted in one turn: those that can be served soon, the others are for siblings."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._counters = Counters()
        self._busy = False
        server.counters.append(self._counters)

    def start(self) -> None:
        """Nothing to prepare: the thread is the loop's."""

    @property
    def active(self) -> int:
        return int(self._busy)

    def call(self, connection: ConnectionBase, environ: Environ) -> None:
        server = self.server
        record = server.record
        call = WsgiCall(server, connection, environ, connection.sock)
        # Stored before the call, so that a call which never returns can be explained.
        record.set_request_line(f"{connection.method} {connection.target}".encode())
        start = record.floats[BUSY_SINCE] = monotonic()
        self._busy = True
        _set_running_loop(None)
        try:
            copy_context().run(call.run)
        finally:
            _set_running_loop(server.loop)
        self._busy = False
        record.floats[BUSY_SINCE] = 0.0
        end = monotonic()
        self._counters.add(call.status, call.sent, end - start)
        if server.access is not None:
            self.log_access(connection, environ, call, end - start)
        if not server.flush_due:
            server.flush_soon()
        if call.keep_alive and not call.pending and not connection.tail and not connection.attention:
            connection.since = end
            connection.state = IDLE
        else:
            self.finish(connection, call)
