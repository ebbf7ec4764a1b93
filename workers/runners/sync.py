"""The sync runner: the application is called in the loop's thread, one request at a time.

No second request starts before the first response's iterable is closed: that is what running
in the loop's own callback gives. No event loop is visible to the application (it may run
one of its own; Django's database layer refuses to work inside one): from `serving` until
`stopped` this process's loop runs unannounced, since hiding it around each call takes 3 % of
the throughput. Each request has a fresh context.

A response goes out before the next call starts, which may be a slow one. Except where calls
have lately been so fast (`FAST_S` on average) that waking a client for each response is a good
part of what it costs: then whole responses leave together at the end of the loop's turn, or
earlier if that lasts (`gwctl.workers.exchange.outbox`).

Where calls have lately been slow (`SLOW_S` on average), requests stand in line, and the loop
turns between two calls. So they are served in the order in which they came (epoll reports
descriptors in an order in which one that just misses a round waits for two), connections are
accepted and timers run after each call, and what waits behind a slow one can be given to a
sibling (`gwctl.workers.runners.sync_watchdog`).
"""

from __future__ import annotations

from _thread import get_ident
from asyncio import _set_running_loop
from collections import deque
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.config.model.request_limits import RequestLimits
from gwctl.ipc.exemplars import EXEMPLAR_S
from gwctl.ipc.scoreboard import BUSY_SINCE, EXTENDED_REQUEST, EXTENDED_UNTIL, note_request
from gwctl.workers.app import fork_hooks
from gwctl.workers.exchange.outbox import Outbox
from gwctl.workers.exchange.states import BUSY, IDLE
from gwctl.workers.observe.introspection import Running
from gwctl.workers.observe.tracebacks import fault, summary
from gwctl.workers.runners.sync_watchdog import Sentry
from gwctl.workers.runners.wsgi import WsgiRunner
from gwctl.workers.wsgi.body_stream import BodyStream, PumpedStream
from gwctl.workers.wsgi.call import WsgiCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.exchange.client_wait import ClientWait
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.service import Service
    from gwctl.workers.runners.sync_watchdog import Line
    from gwctl.workers.wsgi.environ import Environ


FAST_S: Final = 0.0003
SLOW_S: Final = 0.001
WAIT_SHOWN_S: Final = 5.0
"""While a call waits for its client, the master is told at each look that it may go on for so long."""


class SyncRunner(WsgiRunner):
    accept_batch = 2
    """Those that can be served soon: the others are for siblings."""

    def __init__(self, service: Service, balancing: Balancing) -> None:
        context = service.context
        super().__init__(service, balancing, Outbox(context.loop, context.neutral_context))
        self._loop = context.loop
        self._ident = get_ident()
        self._accounts = service.accounts
        self._counters = service.accounts.own
        self._floats = context.record.floats
        self._noted = context.record.request
        self._average_s = 1.0
        self.line: Line = deque()
        self._next_due = False
        self._sentry = Sentry(service, balancing, self.line)
        self._in_line = False
        self._extended_until = self._extended_request = 0.0
        self._limits = RequestLimits(
            context.settings.timeouts, context.worker_class, context.settings.root_path
        )
        self._wait: ClientWait | None = None
        self._wait_request = 0.0
        if self._limits.shortest_s:
            self.extend_timeout = self._extend_timeout
        self.bridge_if_asgi(None if self.extend_timeout is None else self._extend_call)
        if self.bridge is not None:
            self.bridge.ring_by_descriptor()

    def stream_class(self) -> Callable[[Service, Exchange], BodyStream]:
        return PumpedStream

    def _extend_timeout(self, seconds: Any) -> None:
        """Let the present request take ``seconds`` more, if its limit is not later: the master reads it."""
        self._extended_until = monotonic() + seconds
        self._extended_request = self._floats[BUSY_SINCE]
        self._tell_due(self._extended_until)

    def waits_for_client(self, wait: ClientWait) -> None:
        """Have the master wait as well: the time is not the application's."""
        busy_since = self._floats[BUSY_SINCE]
        limit_s = self._limits.of(wait.exchange.target)
        if not limit_s:
            return
        self._wait, self._wait_request = wait, busy_since
        due_at = busy_since + limit_s
        if self._extended_request == busy_since:
            due_at = max(due_at, self._extended_until)
        self._tell_due(due_at)

    def _tell_due(self, due_at: float) -> None:
        """Write until when the present request may run, what it has waited for its client besides."""
        floats = self._floats
        wait = self._wait
        if wait is not None and self._wait_request == floats[BUSY_SINCE]:
            due_at += wait.waited(monotonic()) + (WAIT_SHOWN_S if wait.since else 0.0)
        floats[EXTENDED_UNTIL] = due_at
        floats[EXTENDED_REQUEST] = floats[BUSY_SINCE]

    def others_wait(self, exchange: Exchange) -> bool:
        """Look at the line and at all connections; if no sibling is free, also at those yet to be let in."""
        if self.line:
            return True
        service = self.service
        if service.clients_wait(exchange):
            return True
        if self._siblings.free():
            return False
        return service.backlog_waits() or (self._handover is not None and self._handover.pending)

    def _extend_call(self, call: object, seconds: float) -> None:
        """Not for one that is over: what is on the scoreboard then is another request."""
        if self.bridge is not None and self.bridge.current is call:
            self._extend_timeout(seconds)

    def start(self) -> None:
        """Nothing to prepare for WSGI: the thread is the loop's."""
        if self.bridge is not None:
            self.bridge.start()

    def end(self) -> None:
        """End what there is of threads; those of a worker end with its process."""
        self._sentry.end()
        if self.bridge is not None:
            self.bridge.end()

    def on_serve(self) -> None:
        """Hide the loop: calls may come from now on. Nothing here may ask for the running loop."""
        _set_running_loop(None)

    def on_stop(self) -> None:
        """Show the loop again: no call comes any more."""
        _set_running_loop(self._loop)

    def on_connect(self, exchange: Exchange) -> None:
        exchange.respond_in_calls()
        super().on_connect(exchange)

    def on_stream(self, exchange: Exchange, connection: Exchange) -> None:
        exchange.respond_in_calls()
        super().on_stream(exchange, connection)

    @property
    def active(self) -> int:
        return len(self.line) + (1 if self._floats[BUSY_SINCE] else 0)

    def under_way(self) -> list[Running]:
        """Be asked only by the loop, and so between two calls, but for what goes on elsewhere."""
        return [] if self.bridge is None else self.bridge.under_way()

    def serving_threads(self) -> list[int]:
        return [self._ident] if self._floats[BUSY_SINCE] else []

    def on_batch(self) -> None:
        self._sentry.wake()

    def on_flush(self) -> None:
        """Called every few milliseconds while there are requests, and by nobody when there are none."""
        self._in_line = self._average_s > SLOW_S
        if self._handover is not None:
            self._handover.take_again(free=not self.line)
            if self.line:
                self._accounts.flush_soon()  # so that siblings see when this worker is free

    def _stand_in_line(self, exchange: Exchange, environ: Environ, kind: type[WsgiCall] = WsgiCall) -> None:
        exchange.state = BUSY
        self.line.append((exchange, environ, kind, monotonic()))
        if not self._next_due:
            self._next_due = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Serve the first in line; the next one after the loop has turned, or now if calls are fast again.

        Then all go before anything more is read, so that nobody overtakes. Under load the line is
        never found empty: waiting for that would keep an application whose first calls were slow
        at one request a turn for ever.
        """
        self._next_due = False
        if not self.line:
            return  # a sibling has them
        while True:
            exchange, environ, kind, since = self.line.popleft()
            verdict, waited_s = self._queue_limit.judge(exchange, since)
            if verdict:
                self.drop(exchange, environ, verdict, waited_s)
            else:
                self._counters.waited_s += waited_s
                self.call(exchange, environ, kind, in_turn=True)
            if not self.line or (self._in_line and not verdict):
                break
        if self.line and not self._next_due:
            self._next_due = True
            self._loop.call_soon(self._next)

    def call(
        self, exchange: Exchange, environ: Environ, kind: type[WsgiCall] = WsgiCall, *, in_turn: bool = False
    ) -> None:
        """Call now, or ``in_turn``, whichever the last look at the average chose."""
        if self._in_line and not in_turn:
            self._stand_in_line(exchange, environ, kind)
            return
        if exchange.held_bytes():
            self.hold(exchange, environ, kind)
            return
        floats = self._floats
        accounts = self._accounts
        if not accounts.flush_due:
            accounts.flush_soon()
        quick = self._average_s < FAST_S and exchange.collects
        exchange.response.outbox = self.outbox if quick else None
        call = kind(self.service, exchange, environ)
        start = monotonic()
        exchange.state = BUSY  # before BUSY_SINCE: from then on the sentry gives idle connections away
        # Stored before the call, so that a call which never returns can be explained.
        head = exchange.head
        if exchange.authority:  # the absolute form: the path is what its limit goes by
            head = f"{exchange.method} {exchange.target}".encode("latin-1")
        note_request(self._noted, 0, start, head)
        try:
            copy_context().run(call.run)  # never raises; if it did, all others' connections would be at stake
        except BaseException as error:  # noqa: BLE001 - as said
            self._failed(call, error)
        floats[BUSY_SINCE] = 0.0
        self._wait = None  # it knows the exchange
        end = call.ended_at or monotonic()
        seconds = end - start
        self._average_s += (seconds - self._average_s) / 64
        self._counters.add(exchange.method, exchange.target, call.status, call.sent, seconds)
        if seconds >= EXEMPLAR_S:
            self._counters.remember(seconds, self.request_id(environ))
        access = accounts.access
        if access is not None:
            if self.bridge is None:
                access.add_call(exchange, environ, call, seconds, end)
            else:
                self.bridge.log_access(access, exchange, environ, call, seconds, end)
        if self._sentry.raised:
            self._sentry.settle()
        if call.keep_alive and not (exchange.attention or call.response.pending):
            exchange.since = end
            exchange.state = IDLE
        else:
            self.finish(call)

    def _failed(self, call: WsgiCall, error: BaseException) -> None:
        """Go on after a call that should have seen to this itself."""
        fork_hooks.end_if_child(error)
        call.keep_alive = False
        call.aborted = True
        text = f"{call.what()}: the end of the call failed: {summary(error)}"
        self.service.context.log.error(text, fault=fault(error))
