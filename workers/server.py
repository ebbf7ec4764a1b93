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

import socket
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any, Final

from gwctl.ipc.connection_queue import TransferHeader
from gwctl.ipc.scoreboard import (
    ACCEPTED,
    ACTIVE,
    CONNECTIONS,
    CPU_S,
    HEARTBEAT_AT,
    LAG_S,
    SERVING,
    WEBSOCKETS,
)
from gwctl.workers.balancing.handoff import Handover
from gwctl.workers.balancing.overload import overload_for
from gwctl.workers.balancing.parts import Balancing
from gwctl.workers.balancing.queue_limit import QueueLimit
from gwctl.workers.balancing.siblings import Siblings
from gwctl.workers.balancing.slow_clients import LeastRates
from gwctl.workers.context import WorkerContext
from gwctl.workers.drain import cut_rest, note_longest, unanswered
from gwctl.workers.exchange.forwarded import forwarding_for
from gwctl.workers.exchange.health_path import health_path
from gwctl.workers.exchange.request_rules import Refused
from gwctl.workers.exchange.states import BUSY, CLOSING, FLUSH, IDLE
from gwctl.workers.http1.connection import ConnectionBase
from gwctl.workers.http1.connections import ConnectionService
from gwctl.workers.http1.time_limits import TimeLimits
from gwctl.workers.observe.access_formats import access_log_for
from gwctl.workers.observe.accounts import LATE_S
from gwctl.workers.observe.slow_requests import SlowRequests
from gwctl.workers.runners.registry import runner_class
from gwctl.workers.transport.acceptor import Acceptor
from gwctl.workers.transport.preamble import first_protocol_for, http2_for, plain_http
from gwctl.workers.websocket.registry import WebSockets
from gwctl.workers.websocket.surroundings import Surroundings

if TYPE_CHECKING:
    import asyncio

    from gwctl.workers.exchange.exchange import Exchange

SWEEP_MAX_S: Final = 1.0
SWEEP_MIN_S: Final = 0.05
_WEBSOCKETS_PART: Final = 0.5
"""WebSockets are closed over this part of the drain."""
_UNBOUNDED: Final = 1 << 62


class Server(ConnectionService):
    """Serves one application on the worker's loop. docs/internals-worker.md, "Drain", says how it drains."""

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context)
        settings, assignment, loop = context.settings, context.assignment, context.loop
        self._ending = False
        self._on_drained: Callable[[], None] | None = None
        self._told_drained = False
        self._limits = TimeLimits(settings.timeouts)
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._sweep_at = 0.0
        self.websockets = WebSockets(
            Surroundings(
                loop,
                context.application,
                context.state,
                settings,
                self.heads,
                context.log,
                self.check_drained,
            )
        )
        self.siblings = Siblings(assignment.board, context.record, context.capacity)
        self.handover = Handover(self, assignment.queue, self._room) if assignment.queue is not None else None
        self.rates = LeastRates(settings)
        self.queue = QueueLimit(context)
        balancing = Balancing(self.siblings, self.queue, self.rates, self.handover)
        self.runner = runner_class(context.worker_class, context.interface)(self, balancing)
        self.outbox = self.runner.outbox
        self.overload = overload_for(self, self.queue)
        self.begin = self.runner.begin
        if self.overload is not None and settings.requests_max:
            self.begin = self.overload.begin
        if settings.health_path:
            self.begin = health_path(self, settings.health_path, self.begin)
        self.forwarding = forwarding_for(settings, self.runner.forwarded)
        self.http2 = http2_for(context)
        first_protocol = first_protocol_for(context, self.http2)
        self.plain_from_start = first_protocol is plain_http
        self._acceptor = Acceptor(self, balancing, self.overload, first_protocol)
        if settings.timeouts.slow_request_s:
            slow = SlowRequests(settings, context.worker_class, context.shown, context.process.slow_ended)
            self.accounts.watch_slow(settings.timeouts.slow_request_s, slow.ended)
        if assignment.access_log_fd >= 0:
            self.set_access_log(assignment.access_log_fd)

    def _room(self) -> int:
        """Return how many connections may be taken over now."""
        return _UNBOUNDED if self.overload is None else self.overload.room()

    # ---- what the worker's process asks for

    def start(self) -> None:
        """Start threads and timers. Connections are accepted from `serve` on."""
        self.sweep_s = self._sweep_interval()
        self.runner.start()
        self.context.record.floats[HEARTBEAT_AT] = monotonic()
        self._schedule_sweep()

    def serve(self) -> None:
        """Accept connections (also after `park`)."""
        if self.draining:
            self._let_clients_stay()
        self.runner.on_serve()
        self.context.record.words[SERVING] = 1
        self._acceptor.start()
        if self.handover is not None:
            self.handover.start()

    def park(self) -> None:
        """Stop accepting; what is connected is served as before."""
        self._share_no_more()
        self._acceptor.stop()

    def release_clients(self) -> None:
        """Park, and have those leave who are connected."""
        self.park()
        self._have_clients_leave()

    def close_listeners(self) -> None:
        """Close this worker's copies of the listeners. Safe in a signal's handler, any number of times."""
        self.context.notice.begin()
        self._share_no_more()
        self._acceptor.close()

    def vacate(self) -> None:
        """The same for a loop's thread that is stuck; to be called in another one."""
        self._acceptor.vacate()

    def vacate_closed(self) -> None:
        self._acceptor.vacate_closed()

    def _share_no_more(self) -> None:
        self.context.record.words[SERVING] = 0
        if self.handover is not None:
            self.handover.stop()

    def _sweep_queue(self) -> None:
        """Take what siblings have left for others, if no other is there to take it."""
        if self.handover is not None and not self.siblings.serving(monotonic()):
            self.handover.sweep()

    def drain(self, sweep: bool, on_drained: Callable[[], None] | None = None) -> None:
        """Stop accepting and finish; ``on_drained`` is called, once, when nothing is left.

        ``sweep``: first accept what already waits in the backlogs, since no sibling will.
        """
        if self._ending:
            return
        self._ending = True
        self._on_drained = on_drained
        self.park()
        if sweep:
            self._acceptor.sweep_and_close()
        else:
            self._acceptor.close()
        self._sweep_queue()
        self._have_clients_leave()

    def _have_clients_leave(self) -> None:
        self.draining = True
        timeouts = self.context.settings.timeouts
        self._limits.drain(timeouts.linger_s)
        now = monotonic()
        for connection in self._connections:
            connection.since = max(connection.since, now)
        if self.http2 is not None:
            self.http2.drain()
        self.context.notice.begin()
        self.websockets.drain(timeouts.drain_timeout_s * _WEBSOCKETS_PART)
        self.runner.on_drain(now, ending=self._ending)
        self.sweep_s = self._sweep_interval()
        self._schedule_sweep()
        self.accounts.flush()

    def _let_clients_stay(self) -> None:
        """It was parked, and serves again."""
        self.draining = False
        self._limits = TimeLimits(self.context.settings.timeouts)
        self.context.notice.end()
        self.websockets.stay()
        self.runner.on_stay()
        self.sweep_s = self._sweep_interval()

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
        if not (self._ending and not self._told_drained and self.drained):
            return
        self._sweep_queue()
        if self.drained:
            self._told_drained = True
            self.accounts.flush()
            self.runner.on_stop()
            if self._on_drained is not None:
                self._on_drained()

    def cut_rest(self, timeout_s: float) -> int:
        """The drain's time is over: give up what is left. Return how many requests that leaves undone."""
        return cut_rest(self, self.websockets, timeout_s)

    def quit(self) -> int:
        """Close everything at once; return how many requests that cut."""
        self._acceptor.close()
        self.outbox.send()
        cut = unanswered(self) + self.websockets.quit()
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.quit()
        self.accounts.flush()
        return cut

    def backlog_waits(self) -> bool:
        return self._acceptor.backlog_waits

    def descriptors(self) -> list[int]:
        """Return those of all connections."""
        sockets = [connection.sock for connection in self._connections]
        sockets += [each.output for each in self._connections if isinstance(each.output, socket.socket)]
        return [sock.fileno() for sock in sockets] + self.websockets.descriptors()

    @property
    def connections(self) -> int:
        return len(self._connections) + self.websockets.sockets

    def set_access_log(self, fd: int) -> None:
        """Write the access log to ``fd`` from now on; the server closes it in the end. -1: none."""
        context = self.context
        self.accounts.set_access_log(fd, lambda new: access_log_for(context.assignment, new, context.log))

    # ---- what connections and runners ask for

    def adopt(self, sock: socket.socket, header: TransferHeader, data: bytes) -> None:
        self._acceptor.adopt(sock, header, data)

    def forget(self, exchange: Exchange) -> None:
        assert isinstance(exchange, ConnectionBase)  # others belong to one
        self._connections.discard(exchange)
        if self.overload is not None:
            self.overload.forget(exchange)
        if self._ending:
            self.check_drained()
        elif not self.accounts.flush_due:
            self.accounts.flush_soon()

    def upgrade(self, exchange: Exchange, scope: Mapping[str, Any]) -> None:
        answered = partial(self._handshake_answered, exchange, monotonic(), scope)
        if isinstance(exchange, ConnectionBase):
            rest = exchange.tail[exchange.tail_at :]
            before = partial(self._give_up, exchange, answered)
            self.websockets.hand_over(exchange.transport, rest, scope, before)
            return
        from gwctl.workers.http2.tunnel import Tunnel  # noqa: PLC0415 - most workers do not speak HTTP/2

        assert isinstance(exchange, Tunnel)
        assert self.http2 is not None
        most = self.context.settings.connections_max
        if most and len(self._connections) + len(self.websockets) >= most:
            raise Refused(503, f"a WebSocket over HTTP/2, and connections_max ({most}) is reached")
        self.websockets.carry(exchange, self.http2.blocks, scope, lambda: answered)

    def _give_up(
        self, connection: ConnectionBase, answered: Callable[[int, int], None]
    ) -> Callable[[int, int], None]:
        """Let ``connection`` go; return what is to be told of the answer to its handshake."""
        connection.tail = b""
        connection.state = BUSY
        if connection.read_paused:
            connection.read_paused = False  # from here on that is the WebSocket's to say
            connection.transport.resume_reading()
        self._connections.discard(connection)
        connection.let_go()
        return answered

    def _handshake_answered(
        self, exchange: Exchange, start: float, scope: Mapping[str, Any], status: int, size: int
    ) -> None:
        now = monotonic()
        seconds = now - start
        accounts = self.accounts
        accounts.own.add(exchange.method, exchange.target, status, size, seconds)
        if accounts.access is not None:
            accounts.access.add_scope(exchange, status, size, seconds, scope, None, now)
        accounts.flush_soon()

    # ---- timers

    def _batch_begins(self) -> None:
        self.runner.on_batch()

    def _batch_ends(self, late: bool) -> None:
        if late:
            self.queue.falls_behind()
        words = self.context.record.words
        words[CONNECTIONS] = self.connections
        words[ACTIVE] = self.active_requests
        words[ACCEPTED] = self._acceptor.accepted
        words[WEBSOCKETS] = len(self.websockets)
        self.runner.on_flush()

    def _sweep_interval(self) -> float:
        """Return how often to look: often enough that a short limit is not overstepped by much."""
        shortest = min(*self._limits.seconds, self.context.settings.timeouts.rate_grace_s)
        if self.runner.clock is not None:
            shortest = min(shortest, self.runner.clock.shortest_s)
        return min(max(shortest / 4, SWEEP_MIN_S), SWEEP_MAX_S)

    def _schedule_sweep(self) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._sweep_at = monotonic() + self.sweep_s
        self._sweep_timer = self.context.loop.call_later(self.sweep_s, self._sweep)

    def _sweep(self) -> None:
        now = monotonic()
        late = now - self._sweep_at
        floats = self.context.record.floats
        floats[HEARTBEAT_AT] = now
        floats[CPU_S] = process_time()
        self.context.loop.call_soon(self._tell_lag, now, late)
        self._schedule_sweep()
        self.accounts.flush()
        if late > LATE_S:
            self.queue.falls_behind()
        self.context.log.flush()  # what nobody took, and no line has come since
        self.queue.forget_old(now)
        self.runner.on_sweep(now)
        if self.overload is not None:
            self.overload.check_end(now)
        if late > LATE_S:
            self._give_back(now, late)
            # Two turns on: what came meanwhile is read by then.
            self.context.loop.call_soon(self.context.loop.call_soon, self._judge, now)
        else:
            self._judge(now)

    def _tell_lag(self, swept_at: float, late: float) -> None:
        """Tell how late the loop is: with the timer of the sweep, or with what was ready to run then.

        A timer alone hides it where turns of the loop take long and are all alike: it is always due just
        before the end of one.
        """
        self.context.record.floats[LAG_S] = max(0.0, late, monotonic() - swept_at)

    def _give_back(self, now: float, late: float) -> None:
        """Give all clients and requests the time again in which this loop did not turn."""
        if self.runner.clock is not None:
            self.runner.clock.was_away(now, late)
        if self.http2 is not None:
            self.http2.was_away(now, late)
        for connection in self._connections:
            connection.since = min(connection.since + late, now)
            connection.window_at = min(connection.window_at + late, now)
            if connection.eof:
                connection.eof_at = min(connection.eof_at + late, now)  # as long after it as before

    def _judge(self, now: float) -> None:
        """Act on what has lasted for too long by ``now``."""
        clock = self.runner.clock
        if clock is not None:
            clock.check_timeouts(now)
        seconds = self._limits.seconds
        for connection in list(self._connections):
            if connection.write_paused or connection.state in {FLUSH, CLOSING}:
                self.rates.add_up(connection)
            if now - connection.since > seconds[connection.state]:
                self._limits.expire(connection, now)
            elif connection.state > IDLE or connection.window_taken >= 0:
                self.rates.check(connection, now)
        if self.http2 is not None:
            self.http2.sweep(now, self.rates.add_up)
        self.rates.relieve(now)
        note_longest(self)
        if self.draining:
            self.check_drained()
