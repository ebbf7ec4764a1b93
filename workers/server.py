"""The HTTP server of one worker process: listeners, connections, timers, drain, counters.

The runner (sync, threads or asgi) is chosen once, when the worker's class is known. The
connections have no timers: one sweep, at most once a second while anything is open, compares
how long each has been in its state with that state's limit, and writes the heartbeat. When
the sweep itself comes late (a sync application held the loop, the process was stopped), all
connections are given that time back, and judged when what they sent meanwhile has been read: under load
it is late each time.

What requests count is flushed to the scoreboard and the access log shortly after the first
of a batch, not after each.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.ipc.assignment import Assignment
from gwctl.ipc.connection_queue import TransferHeader
from gwctl.ipc.scoreboard import ACCEPTED, ACTIVE, CONNECTIONS, HEARTBEAT_AT, SERVING
from gwctl.log import Log
from gwctl.masking import shower
from gwctl.workers.app.drain_notice import DrainNotice, drains
from gwctl.workers.app.loader import LoadedApplication
from gwctl.workers.balancing.handoff import Handover
from gwctl.workers.balancing.overload import overload_for
from gwctl.workers.balancing.queue_limit import QueueLimit
from gwctl.workers.balancing.siblings import Siblings
from gwctl.workers.balancing.slow_clients import LeastRates
from gwctl.workers.drain import note_longest, unanswered
from gwctl.workers.http1.body_budget import BodyBudget
from gwctl.workers.http1.connection import ConnectionBase
from gwctl.workers.http1.forwarded import forwarding_for
from gwctl.workers.http1.parser import parser_factory, slice_bytes
from gwctl.workers.http1.response_head import HeadBuilder
from gwctl.workers.http1.states import BUSY, CLOSING, FLUSH, IDLE, TimeLimits
from gwctl.workers.observe import counters
from gwctl.workers.observe.access_log import AccessLog, referer_and_agent
from gwctl.workers.observe.throttled_log import ThrottledLog
from gwctl.workers.runners.registry import runner_class
from gwctl.workers.transport.acceptor import Acceptor
from gwctl.workers.transport.outbox import Outbox
from gwctl.workers.transport.preamble import first_protocol_for, itself
from gwctl.workers.websocket.registry import Surroundings, WebSockets
from gwctl.workers.wsgi.response_spool import SpoolBudget

if TYPE_CHECKING:
    from gwctl.workers.runners.registry import Runner

FLUSH_S: Final = 0.02
SWEEP_MAX_S: Final = 1.0
SWEEP_MIN_S: Final = 0.05
_LATE_S: Final = 0.05
_NO_BOUND: Final = 1 << 62
WSGI_THREADS: Final = 16
"""Threads for a WSGI application in an asgi worker, unless the settings say how many."""
_WEBSOCKETS_PART: Final = 0.5
"""WebSockets are closed over this part of the drain."""


class Server:
    """Serves one application on the worker's loop. docs/design.md, "Workers", says how it drains."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        assignment: Assignment,
        application: LoadedApplication,
        log: Log,
    ) -> None:
        self.loop = loop
        self.context = copy_context()  # no request's: only copies of it are ever written to
        self.assignment = assignment
        self.application = application.call
        self.interface = application.interface
        self.state = application.state
        self.log = log
        self.throttled = ThrottledLog(log)
        self.settings = assignment.settings
        self.limits = self.settings.limits
        self.shown = shower(log_queries=self.settings.log_queries)
        self.slice_bytes = slice_bytes(self.limits)
        self.body_budget = BodyBudget(self.limits, assignment.record.words)
        self.spool_budget = SpoolBudget(self.limits.response_spool_bytes_max)
        self.record = assignment.record
        self.counters: list[counters.Counters] = []
        self.new_parser = parser_factory(self.limits)
        self.heads = HeadBuilder(bytes if application.interface == "asgi" else str)
        self.heads.retry_after_s = self.settings.retry_after_s
        self.access: AccessLog | None = None
        self.draining = False
        """The clients are to leave: each further response closes its connection."""
        self._ending = False
        self.flush_due = False
        self.on_drained: Callable[[], None] | None = None
        self.on_given_up: Callable[[str, float], None] | None = None  # a request, and its age
        self.on_unable: Callable[[], None] | None = None  # nobody can be accepted any more
        self._refusals = counters.Counters()
        self.counters.append(self._refusals)
        self._connections: set[ConnectionBase] = set()
        self.websockets = WebSockets(
            Surroundings(
                loop, application.call, self.state, self.settings, self.heads, log, self.check_drained
            )
        )
        self._limits = TimeLimits(self.settings.timeouts)
        self.rates = LeastRates(self.settings)
        self._sweep_s = SWEEP_MAX_S
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._sweep_at = 0.0
        self._flush_at = 0.0
        self._warned_bare_bytes = False
        self._told_drained = False
        self.worker_class = worker_class = application.worker_class
        self.notice = DrainNotice(self._next_order if worker_class == "sync" else None)
        sixteen = worker_class == "asgi" and not assignment.threads_given
        self.threads = WSGI_THREADS if sixteen else self.settings.threads
        bounds = {("sync", "asgi"): 1, ("sync", "wsgi"): 1, ("asgi", "asgi"): _NO_BOUND}
        self.capacity = bounds.get((worker_class, application.interface), self.threads)
        self.siblings = Siblings(assignment.board, assignment.record, self.capacity)
        self.handover = Handover(self, assignment.exchange) if assignment.exchange is not None else None
        self.queue = QueueLimit(self)
        self.outbox = Outbox(loop, self.context)
        self.runner: Runner = runner_class(worker_class, application.interface)(self)
        self.begin: Callable[[ConnectionBase], None] = self.runner.begin
        self.forwarding = forwarding_for(self)
        self.first_protocol = first_protocol_for(self)
        self.plain_from_start = self.first_protocol is itself
        self.overload = overload_for(self)
        self._acceptor = Acceptor(self)
        if assignment.access_log_fd >= 0:
            self.set_access_log(assignment.access_log_fd)

    # ---- what the worker's process asks for

    def start(self) -> None:
        """Start threads and timers. Connections are accepted from `serve` on."""
        self._sweep_s = self._sweep_interval()
        self.runner.start()
        self.record.floats[HEARTBEAT_AT] = monotonic()
        self._schedule_sweep()

    def serve(self) -> None:
        """Accept connections (also after `park`)."""
        if self.draining:
            self._let_clients_stay()
        self.runner.serving()
        self.record.words[SERVING] = 1
        self._acceptor.start()
        if self.handover is not None:
            self.handover.start()

    def park(self) -> None:
        """Stop accepting; what is connected is served as before."""
        self._share_no_more()
        self._acceptor.stop()

    def shed(self) -> None:
        """Park, and have those leave who are connected."""
        self.park()
        self._have_clients_leave()

    def close_listeners(self) -> None:
        """Close this worker's copies of the listeners. Safe in a signal's handler, any number of times."""
        self.notice.begin()
        self._share_no_more()
        self._acceptor.close()

    def vacate(self) -> None:
        """The same for a loop's thread that is stuck; to be called in another one."""
        self._acceptor.vacate()

    def vacate_closed(self) -> None:
        """From another thread, during a long call: let go of listeners that are closed to new clients."""
        self._acceptor.vacate_closed()

    def _share_no_more(self) -> None:
        self.record.words[SERVING] = 0
        if self.handover is not None:
            self.handover.stop()

    def _sweep_exchange(self) -> None:
        """Take what siblings have left for others, if no other is there to take it."""
        if self.handover is not None and not self.siblings.serving(monotonic()):
            self.handover.sweep()

    def drain(self, sweep: bool) -> None:
        """Stop accepting and finish; `on_drained` is called when nothing is left.

        ``sweep``: first accept what already waits in the backlogs, since no sibling will.
        """
        if self._ending:
            return
        self._ending = True
        self.park()
        if sweep:
            self._acceptor.sweep_and_close()
        else:
            self._acceptor.close()
        self._sweep_exchange()
        self._have_clients_leave()

    def _have_clients_leave(self) -> None:
        self.draining = True
        timeouts = self.settings.timeouts
        self._limits.drain(timeouts.linger_s)
        now = monotonic()
        for connection in self._connections:
            connection.since = max(connection.since, now)
        self.notice.begin()
        self.websockets.drain(timeouts.drain_timeout_s * _WEBSOCKETS_PART)
        if self.runner.streams is not None:
            self.runner.streams.drain(now, ending=self._ending)
        self._sweep_s = self._sweep_interval()
        self._schedule_sweep()
        self.flush()

    def _let_clients_stay(self) -> None:
        """It was parked, and serves again."""
        self.draining = False
        self._limits = TimeLimits(self.settings.timeouts)
        self.notice.end()
        self.websockets.stay()
        if self.runner.streams is not None:
            self.runner.streams.stay()
        self._sweep_s = self._sweep_interval()

    @property
    def drained(self) -> bool:
        return (
            not self._connections
            and not self.active_requests
            and not self.runner.background
            and self.websockets.idle
            and self._acceptor.idle
        )

    def check_drained(self) -> None:
        """Call `on_drained`, once, if nothing is left."""
        if not (self._ending and not self._told_drained and self.drained):
            return
        self._sweep_exchange()
        if self.drained:
            self._told_drained = True
            self.flush()
            self.runner.stopped()
            if self.on_drained is not None:
                self.on_drained()

    def _next_order(self) -> bool | None:
        """Say whether an order that waits to be read has clients leave; None: there is none about it."""
        return drains(self.assignment.channel.waiting())

    def quit(self) -> int:
        """Close everything at once; return how many requests that cut."""
        self._acceptor.close()
        self.outbox.send()
        cut = unanswered(self) + self.websockets.quit()
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.abort()
        self.flush()
        return cut

    def backlog_waits(self) -> bool:
        """Tell whether somebody waits to be accepted."""
        return self._acceptor.backlog_waits

    def open_connections(self) -> list[ConnectionBase]:
        return list(self._connections)

    def descriptors(self) -> list[int]:
        """Return those of all connections."""
        sockets = [connection.sock for connection in self._connections]
        sockets += [each.output for each in self._connections if isinstance(each.output, socket.socket)]
        return [sock.fileno() for sock in sockets] + self.websockets.descriptors()

    @property
    def active_requests(self) -> int:
        return self.runner.active

    @property
    def connections(self) -> int:
        return len(self._connections) + len(self.websockets)

    def set_access_log(self, fd: int) -> None:
        """Write the access log to ``fd`` from now on; the server closes it in the end. -1: none."""
        if self.access is not None and fd >= 0:
            self.access.reopen(fd)
        elif self.access is not None:
            self.access.close()
            self.access = None
        elif fd >= 0:
            worker = f"{self.assignment.pool}.{self.assignment.slot}"
            self.access = AccessLog(fd, worker, self.log)

    # ---- what connections and runners ask for

    def admit(self, connection: ConnectionBase) -> None:
        """Count it at once: a sync application may hold the loop from its first request on."""
        self._connections.add(connection)
        self.record.words[CONNECTIONS] = self.connections

    def adopt(self, sock: socket.socket, header: TransferHeader, data: bytes) -> None:
        """Go on with a connection of a sibling's; ``data`` was read of it."""
        self._acceptor.adopt(sock, header, data)

    def forget(self, connection: ConnectionBase) -> None:
        """The connection is gone, or is no longer HTTP."""
        self._connections.discard(connection)
        if self.overload is not None:
            self.overload.forget(connection)
        if self._ending:
            self.check_drained()
        elif not self.flush_due:
            self.flush_soon()

    @staticmethod
    def addresses(connection: ConnectionBase) -> tuple[tuple[str, int | None], tuple[str, int] | None]:
        """Return where ``connection`` arrived and where it came from: host and port.

        On a Unix socket the first is its path and None. The second is None there, and where a
        proxy does not know.
        """
        local, peer = connection.local or connection.sock.getsockname(), connection.peer
        client = (peer[0], peer[1]) if isinstance(peer, tuple) else None
        if isinstance(local, tuple):
            return (local[0], local[1]), client
        return (local if isinstance(local, str) else "", None), client

    def upgrade(self, connection: ConnectionBase, scope: Mapping[str, Any]) -> None:
        """Make a WebSocket of ``connection``.

        Raises:
            Refused: Its handshake is broken.
        """
        rest = connection.tail[connection.tail_at :]
        before = partial(self._give_up, connection, monotonic(), scope)
        self.websockets.hand_over(connection.transport, rest, scope, before)

    def _give_up(
        self, connection: ConnectionBase, start: float, scope: Mapping[str, Any]
    ) -> Callable[[int, int], None]:
        """Let ``connection`` go; return what is to be told of the answer to its handshake."""
        connection.tail = b""
        connection.state = BUSY
        if connection.read_paused:
            connection.read_paused = False  # from here on that is the WebSocket's to say
            connection.transport.resume_reading()
        self._connections.discard(connection)

        def answered(status: int, size: int) -> None:
            seconds = monotonic() - start
            self._refusals.add(status, size, seconds)
            if self.access is not None:
                referer, agent = referer_and_agent(scope)
                self.access.add(connection, status, size, seconds, referer, agent)
            self.flush_soon()

        return answered

    def refused(self, connection: ConnectionBase, status: int, size: int, why: str) -> None:
        """Count a response of our own; say ``why`` at log level debug: clients can make any number."""
        peer = connection.peer
        client = peer[0] if isinstance(peer, tuple) else "a client"
        self.log.debug(f"{status} to {client}: {why}")
        self._refusals.add(status, size, 0.0)
        if self.access is not None:
            self.access.add(connection, status, size, 0.0, "-", "-")
        self.flush_soon()

    def warn_bare_bytes(self) -> None:
        """Say once what an application that returns bytes instead of a list of bytes should change."""
        if not self._warned_bare_bytes:
            self._warned_bare_bytes = True
            self.log.warning(
                "the application returned bytes; PEP 3333 asks for an iterable of bytes, such as [body]. "
                "Served as one block (said once)"
            )

    # ---- timers

    def flush_soon(self) -> None:
        """Have `flush` called for this batch of requests."""
        if not self.flush_due:
            self.flush_due = True
            self._flush_at = monotonic() + FLUSH_S
            self.loop.call_later(FLUSH_S, self.flush)
            self.runner.batch_begins()

    def flush(self) -> None:
        """Write counters to the scoreboard and lines to the access log."""
        if self.flush_due:
            self.flush_due = False
            if monotonic() - self._flush_at > _LATE_S:
                self.queue.falls_behind()
        counters.flush(self.counters, self.record)
        words = self.record.words
        words[CONNECTIONS] = self.connections
        words[ACTIVE] = self.active_requests
        words[ACCEPTED] = self._acceptor.accepted
        if self.access is not None:
            self.access.flush()
        self.runner.relieve()

    @property
    def sweep_s(self) -> float:
        """How often this server looks for what is due."""
        return self._sweep_s

    def _sweep_interval(self) -> float:
        """Return how often to look: often enough that a short limit is not overstepped by much."""
        shortest = min(*self._limits.seconds, self.settings.timeouts.rate_grace_s)
        if self.runner.clock is not None:
            shortest = min(shortest, self.runner.clock.shortest_s)
        return min(max(shortest / 4, SWEEP_MIN_S), SWEEP_MAX_S)

    def _schedule_sweep(self) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._sweep_at = monotonic() + self._sweep_s
        self._sweep_timer = self.loop.call_later(self._sweep_s, self._sweep)

    def _sweep(self) -> None:
        now = monotonic()
        late = now - self._sweep_at
        self.record.floats[HEARTBEAT_AT] = now
        self._schedule_sweep()
        self.flush()
        if late > _LATE_S:
            self.queue.falls_behind()
        self.queue.look(now)
        self.runner.look(now)
        if self.overload is not None:
            self.overload.look(now)
        if late > _LATE_S:
            self._give_back(now, late)
            # Two turns on: what came meanwhile is read by then.
            self.loop.call_soon(self.loop.call_soon, self._judge, now)
        else:
            self._judge(now)

    def _give_back(self, now: float, late: float) -> None:
        """Give all clients and requests the time again in which this loop did not turn."""
        if self.runner.clock is not None:
            self.runner.clock.was_away(now, late)
        for connection in self._connections:
            connection.since = min(connection.since + late, now)
            connection.window_at = min(connection.window_at + late, now)
            if connection.eof:
                connection.eof_at = min(connection.eof_at + late, now)  # as long after it as before

    def _judge(self, now: float) -> None:
        """Act on what has lasted for too long by ``now``."""
        clock = self.runner.clock
        if clock is not None:
            clock.look(now)
        seconds = self._limits.seconds
        for connection in list(self._connections):
            if connection.write_paused or connection.state in {FLUSH, CLOSING}:
                self.rates.add_up(connection)
            if now - connection.since > seconds[connection.state]:
                self._limits.expire(connection, now)
            elif connection.state > IDLE or connection.window_taken >= 0:
                self.rates.look(connection, now)
        self.rates.relieve(now)
        note_longest(self)
        if self.draining:
            self.check_drained()
