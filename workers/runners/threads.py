"""The threads runner: a request goes to a thread, which answers on the socket itself.

One queue, a fixed number of threads. The thread writes to its own dup of the descriptor, so
that a number which the loop closed and the kernel gave to another client can never be written
to; the dup is closed when neither the loop nor a thread needs it. Its number is reserved before
the connection is accepted, so that a process out of descriptors accepts nothing that it could
not answer. Handing each response back through the loop would cost a quarter of the throughput;
on a TLS connection there is no other way.

A connection has one writer at a time. While its state is BUSY that is the thread; everything
else, and whatever the thread could not write, is the loop's. While requests wait for a thread,
threads send each other's responses (`gwctl.workers.runners.threads_outbox`). In the usual case (kept alive,
all written, nothing noticed by the loop) the thread releases the connection by one store and
the loop is not woken. The order of stores and looks that makes this safe without a lock is
described in `gwctl.workers.exchange.exchange` (``attention``).
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.config.model.request_limits import RequestLimits
from gwctl.ipc.exemplars import EXEMPLAR_S
from gwctl.ipc.scoreboard import CROWDED
from gwctl.workers.app import fork_hooks
from gwctl.workers.app.own_threads import start_thread
from gwctl.workers.balancing.queue_limit import NOTICE_S
from gwctl.workers.exchange.states import BUSY, IDLE
from gwctl.workers.observe.introspection import Running
from gwctl.workers.observe.tracebacks import summary
from gwctl.workers.runners.request_queue import RequestQueue
from gwctl.workers.runners.request_thread import RequestThread
from gwctl.workers.runners.threads_deadlines import ThreadsClock
from gwctl.workers.runners.threads_outbox import ThreadsOutbox
from gwctl.workers.runners.wsgi import WsgiRunner
from gwctl.workers.wsgi.body_stream import BodyStream, FedStream
from gwctl.workers.wsgi.call import WsgiCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from gwctl.workers.balancing.handoff import Handover
    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.service import Service
    from gwctl.workers.observe.access_log import AccessLog
    from gwctl.workers.runners.request_queue import Request
    from gwctl.workers.wsgi.environ import Environ


_AGAIN_S: Final = 0.002
BUSY_S: Final = 10.0
"""When for so long no thread has become free, the log says what they do."""


class ThreadsRunner(WsgiRunner):
    multithread = True

    def __init__(self, service: Service, balancing: Balancing) -> None:
        context = service.context
        self.threads: list[RequestThread] = []
        self._queue = RequestQueue(context.loop, context.neutral_context, self.threads)
        self._requests = self._queue.requests
        self._outbox = ThreadsOutbox(context.loop, context.neutral_context, self._requests, self._release)
        super().__init__(service, balancing, self._outbox)
        self._accounts = service.accounts
        self._wake: Callable[..., object] = context.loop.call_soon_threadsafe
        self.given_up: dict[WsgiCall, Any] = {}
        """Requests that a thread still holds and nobody waits for, with what that thread writes to."""
        self._extra = 0
        self._dispatched = 0
        self._finished = 0  # of those, when they were last added up: at least so many are
        self._spare = -1
        self._mark = 0
        self._again = False
        self._batch = 1
        self._context = copy_context()
        self._count = context.threads
        self.accept_batch = min(self._count, 16)
        limits = RequestLimits(context.settings.timeouts, context.worker_class, context.settings.root_path)
        if limits.shortest_s:
            self.clock = clock = ThreadsClock(service, self, limits)
            self.extend_timeout = clock.extend_own
            self.bridge_if_asgi(clock.extend)
        else:
            self.bridge_if_asgi(None)

    def start(self) -> None:
        if self.bridge is not None:
            self.bridge.start()
        for _ in range(self._count):
            self._add_thread()

    def end(self) -> None:
        """End the threads as they become free; those of a worker end with its process."""
        self._queue.close()
        if self.bridge is not None:
            self.bridge.end()

    def stream_class(self) -> Callable[[Service, Exchange], BodyStream]:
        return FedStream

    def _add_thread(self) -> None:
        thread = RequestThread()
        start_thread(self._work, f"gwctl-request-{len(self.threads)}", thread)
        self._accounts.count_with(thread)
        self.threads.append(thread)

    def replace_thread(self) -> bool:
        """Start another in the place of one that holds a request given up; False when there are enough."""
        if self._extra >= self._count:
            return False
        try:
            self._add_thread()
        except RuntimeError:  # the machine has none left
            return False
        self._extra += 1
        return True

    @property
    def active(self) -> int:
        self._finished = sum([one.requests for one in self.threads])
        return max(0, self._at_most_active())

    def has_active(self, count: int) -> bool:
        """Add up what the threads have counted only where more cannot be told from the last time."""
        return self._at_most_active() >= count and self.active >= count

    def _at_most_active(self) -> int:
        return self._dispatched - self._finished - len(self.given_up)

    def under_way(self) -> list[Running]:
        if self.bridge is not None:
            return self.bridge.under_way()
        running = []
        for thread in self.threads:
            call, start = thread.call, thread.start
            if call is not None and thread.call is call and call not in self.given_up:
                running.append(Running(call.what(), start, thread.ident))
        return running

    def serving_threads(self) -> list[int]:
        return [one.ident for one in self.threads if one.call is not None]

    def longest(self) -> Running | None:
        """The request that has run longest."""
        running = [one for one in self.under_way() if one.thread]
        return min(running, key=lambda one: one.start, default=None)

    def reserve(self) -> None:
        """Have the descriptor in hand that the next connection's output will be.

        Raises:
            OSError: There is none. Nothing is accepted then, rather than accepted and lost.
        """
        if self._spare < 0:
            self._spare = os.eventfd(0)

    def release(self) -> None:
        spare, self._spare = self._spare, -1
        if spare >= 0:
            os.close(spare)

    def on_accept(self, exchange: Exchange) -> None:
        spare, self._spare = self._spare, -1
        exchange.open_output(spare)  # onto a number that is ours: cannot run out

    def on_connect(self, exchange: Exchange) -> None:
        exchange.respond_in_threads()
        super().on_connect(exchange)

    def on_stream(self, exchange: Exchange, connection: Exchange) -> None:
        exchange.respond_in_threads()
        super().on_stream(exchange, connection)

    def on_flush(self) -> None:
        """Look after requests that no thread has taken since the last look.

        Called every few milliseconds while requests are in progress, and by nobody when there are none:
        so siblings see what is true of this worker, and it sees when it can take again.
        """
        handover = self._handover
        if handover is not None:
            if not self._again:
                self._batch = 1
                self._hand_over()
            self._mark = self._dispatched
        active = self.active
        self._queue.learn(self._finished)
        if handover is not None:
            handover.take_again(free=active < self._count)
            if active and self._siblings.exist():
                self._accounts.flush_soon()

    def others_wait(self, exchange: Exchange) -> bool:  # noqa: ARG002 - as in SyncRunner
        return self._queue.has_waiting()

    def on_sweep(self, now: float) -> None:
        """Say so when all threads are taken and stay so: clients wait, and nothing else would tell why."""
        super().on_sweep(now)
        active = self.active
        if active < self._count:
            return
        running = [one for one in self.under_way() if one.thread]
        busy_s = now - max([one.start for one in running], default=now)
        if len(running) < self._count or busy_s < BUSY_S:
            return
        longest = min(running, key=lambda one: one.start)
        waiting = active - len(running)
        wait = "1 request waits" if waiting == 1 else f"{waiting} requests wait"
        self.service.context.throttled.warning(
            "threads",
            f"all {self._count} threads are taken, none has become free for {busy_s:.0f} s, {wait} "
            f"here. The longest: {longest.what}, {now - longest.start:.0f} s. If it waits for what never "
            "comes, gwctl reload replaces this worker, and tells where it stood",
        )

    def _hand_over(self) -> None:
        """Give what has waited too long to siblings with a free thread: one each, then look again soon.

        Those that have taken it and are free again get twice as many.
        """
        handover = self._handover
        assert handover is not None
        late = self._mark - (self._dispatched - len(self._requests))
        self.service.context.record.words[CROWDED] = late > 0
        if late <= 0:
            return
        free = len(self._siblings.free())
        if not free:
            return
        if handover.pending:
            self._batch = 1
        else:
            given = self._give(min(late, free * self._batch), handover)
            self._batch *= 2
            self._mark -= given
            if not given:
                return  # what waits cannot be given
        self._again = True
        self.service.context.loop.call_later(_AGAIN_S, self._hand_over_again)

    def _hand_over_again(self) -> None:
        self._again = False
        self._hand_over()

    def _give(self, count: int, handover: Handover) -> int:
        """Give away ``count`` of the requests that have waited longest; return how many could be given."""
        kept: list[Request] = []
        given = 0
        with suppress(IndexError):
            while given < count:
                waiting = self._requests.popleft()
                exchange, environ, kind = waiting
                body = environ["wsgi.input"] if kind.has_body else None
                if handover.give_request(exchange, body):
                    given += 1
                    handover.let_go(exchange)
                else:
                    kept.append(waiting)
        self._queue.put_back(kept)
        self._dispatched -= given
        return given

    def on_disconnect(self, exchange: Exchange) -> None:
        super().on_disconnect(exchange)
        if exchange.state != BUSY:
            exchange.close_output()

    def give_up(self, why: str) -> None:
        for thread in self.threads:
            call = thread.call
            if call is not None and not call.given_up:
                call.give_up(503)
        super().give_up(why)

    def finish(self, call: WsgiCall) -> None:
        if call not in self.given_up:
            super().finish(call)
            return
        call.response.drop()
        self.given_up.pop(call).close()  # it has come to its end after all; its client was answered
        self.service.check_drained()

    def call(self, exchange: Exchange, environ: Environ, kind: type[WsgiCall] = WsgiCall) -> None:
        if exchange.held_bytes():
            self.hold(exchange, environ, kind)
            return
        exchange.state = BUSY
        exchange.since = now = monotonic()
        self._dispatched += 1
        self._queue.put((exchange, environ, kind), now)
        if not self._accounts.flush_due:
            self._accounts.flush_soon()

    def _work(self, thread: RequestThread) -> None:
        """Serve requests until there is to be no more: the body of one thread."""
        thread.ident = threading.get_ident()
        while not self._served(thread):
            pass

    def _served(self, thread: RequestThread) -> bool:
        """Serve; False if an exception came from outside, between two requests."""
        try:
            self._serve(thread)
        except BaseException as error:  # noqa: BLE001 - see _astray
            self._tell_astray(error)
            return False
        return True

    def _serve(self, thread: RequestThread) -> None:
        """Serve until there is to be no more."""
        service, accounts, outbox, context = self.service, self._accounts, self._outbox, self._context
        queue, take = self._queue, self._requests.popleft
        queue.come(thread)
        waiting = True
        while waiting:
            try:
                for exchange, environ, kind in iter(take, None):
                    call: WsgiCall | None = None
                    try:
                        thread.start = start = monotonic()
                        waited_s = start - exchange.since
                        if waited_s > NOTICE_S and self._is_dropped(exchange, environ):
                            continue
                        thread.waited_s += waited_s
                        exchange.response.outbox = outbox if exchange.collects else None
                        thread.call = call = kind(service, exchange, environ)
                        context.copy().run(call.run)
                        end = monotonic()
                        thread.call = None
                        thread.add(exchange.method, exchange.target, call.status, call.sent, end - start)
                        if end - start >= EXEMPLAR_S:
                            thread.remember(end - start, self.request_id(environ))
                        if accounts.access is not None:
                            self._log_access(accounts.access, exchange, environ, call, start, end)
                        call.ended_at = end
                        outbox.ended(call, end)
                    except BaseException as error:  # noqa: BLE001 - see _astray
                        self._tell_astray(error)
                        self._astray(thread, (exchange, environ, kind), call)
                    del exchange, environ, call
            except IndexError:  # none waits
                waiting = queue.wait(thread)

    def _log_access(
        self,
        access: AccessLog,
        exchange: Exchange,
        environ: Environ,
        call: WsgiCall,
        start: float,
        end: float,
    ) -> None:
        if self.bridge is None:
            access.add_call(exchange, environ, call, end - start, end)
        else:
            self.bridge.log_access(access, exchange, environ, call, end - start, end)

    def _astray(self, thread: RequestThread, request: Request, call: WsgiCall | None) -> None:
        """Go on after an exception that another thread has raised in this one (PyThreadState_SetAsyncExc).

        So libraries end a call that takes too long, and may come when it is over, and the next begins.
        """
        if call is None:
            self._queue.put_again(request)  # it was meant for another; nothing of this one has been done
        elif thread.call is call:
            now = monotonic()
            thread.call = None
            call.keep_alive = False
            call.aborted = True
            exchange = request[0]
            thread.add(exchange.method, exchange.target, call.status, call.sent, now - thread.start)
            call.ended_at = now
            self._outbox.ended(call, now)

    def _tell_astray(self, error: BaseException) -> None:
        fork_hooks.end_if_child(error)
        self.service.context.throttled.error(
            "astray",
            f"an exception was raised in a thread of gwctl's that served no request: {summary(error)}. "
            "It was to end a call that was over, by some library's timeout? The thread goes on",
        )

    def _is_dropped(self, exchange: Exchange, environ: Environ) -> bool:
        """Tell whether nobody waits for a call any more; then have the loop see to it."""
        verdict, waited_s = self._queue_limit.judge(exchange, exchange.since)
        if verdict:
            self.service.context.loop.call_soon_threadsafe(
                self._dropped, exchange, environ, verdict, waited_s
            )
        return bool(verdict)

    def _dropped(self, exchange: Exchange, environ: Environ, verdict: int, waited_s: float) -> None:
        self._dispatched -= 1
        self.drop(exchange, environ, verdict, waited_s)
        self.service.check_drained()

    def _release(self, call: WsgiCall) -> None:
        """Give the connection of ``call``, which is over and sent, back to the loop; any thread."""
        exchange = call.exchange
        usual = call.keep_alive and not (exchange.attention or call.response.pending)
        if usual:
            exchange.since = call.ended_at
            exchange.state = IDLE
            if exchange.attention:
                self._wake(exchange.attend)
        else:
            self._wake(self.finish, call)
