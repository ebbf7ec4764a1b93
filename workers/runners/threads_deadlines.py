"""How long a request may take under ``threads``: judged by the worker, which gives up what is too long.

The server's sweep asks; a request in time is never touched. What a call waits for its client
(`gwctl.workers.exchange.client_wait`) is not counted. A thread cannot be ended from outside. So a request
over its limit is *given up*: its connection is taken from the thread and answered with 504 (or cut, in
mid-response), another thread takes its place, one record says where it stands, and the master is told.
The master begins a successor; when that serves, this worker drains, its other requests finish, and
the thread goes when the process does.

Taking the connection
    A connection has one writer. The thread writes to a descriptor of its own, and that number
    is made to lead nowhere by dup2(2): what the thread sends from then on fails like a client that
    has gone, and what it had begun to send has been sent. So the loop is the only writer before it
    writes a byte. ``attention`` is set first, and whether the call is still there is looked at last: a
    thread that has just finished is left alone and its descriptor restored.
    Over TLS the thread's output is told that the connection is lost, under its lock.

Threads in place of those that hang are at most as many as there were; beyond that the worker
goes on with fewer until it is replaced.
"""

from __future__ import annotations

import threading
from collections import deque
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from gwctl.config.model.request_limits import RequestLimits
from gwctl.workers.app.background_work import frames_of
from gwctl.workers.exchange.request_clock import RequestClock
from gwctl.workers.observe.introspection import stack_of

if TYPE_CHECKING:
    from gwctl.workers.bridge.event_loop import AsgiBridge
    from gwctl.workers.exchange.service import Service
    from gwctl.workers.observe.introspection import Running
    from gwctl.workers.runners.request_thread import RequestThread
    from gwctl.workers.wsgi.call import WsgiCall

CLEAN_UP_S: Final = 5.0
"""How long the event loop of an ASGI application may take to hear that a task is cancelled."""
_OTHERS_MAX: Final = 8


class Threads(Protocol):
    """The runner (`gwctl.workers.runners.threads.ThreadsRunner`), as far as its requests are watched."""

    threads: list[RequestThread]
    given_up: dict[WsgiCall, Any]
    bridge: AsgiBridge | None

    def under_way(self) -> list[Running]: ...
    def replace_thread(self) -> bool: ...


class ThreadsClock(RequestClock):
    """Watches the calls of ``runner``. Made only where there is a limit."""

    def __init__(self, service: Service, runner: Threads, limits: RequestLimits) -> None:
        self._service = service
        self._runner = runner
        self._limits = limits
        self.shortest_s = limits.shortest_s
        self._extended: dict[WsgiCall, float] = {}
        self._away: deque[tuple[float, float]] = deque(maxlen=64)

    def extend_own(self, seconds: float) -> None:
        """Let the request of the calling thread take that long from now on, if its limit is not later."""
        ident = threading.get_ident()
        for thread in self._runner.threads:
            if thread.ident == ident and thread.call is not None:
                self._extended[thread.call] = monotonic() + float(seconds)

    def extend(self, request: WsgiCall, seconds: float) -> None:
        """Any thread."""
        self._extended[request] = monotonic() + float(seconds)

    def was_away(self, now: float, seconds: float) -> None:
        """What stopped the loop may have stopped the threads."""
        self._away.append((now, seconds))

    def check_timeouts(self, now: float) -> None:
        for thread in list(self._runner.threads):
            call, start = thread.call, thread.start
            if call is None or thread.call is not call or call.given_up:
                continue
            if call not in self._runner.given_up:
                self._judge(thread, call, start, now)
        if self._extended:
            self._forget_extended()

    def _forget_extended(self) -> None:
        """Drop those of calls that are over. Threads add theirs meanwhile: what was there is listed first."""
        extended = list(self._extended)
        calls = {thread.call for thread in self._runner.threads}
        for call in extended:
            if call not in calls:
                del self._extended[call]

    def _judge(self, thread: RequestThread, call: WsgiCall, start: float, now: float) -> None:
        limit_s = self._limits.of(call.target)
        if not limit_s:
            return
        due_at = start + limit_s + sum([late_s for at, late_s in self._away if at > start])
        due_at += call.response.waited_s(now)
        if thread.call is not call:
            return  # that is another's
        if now < max(due_at, self._extended.get(call, 0.0)):
            return
        bridge = self._runner.bridge
        if bridge is not None:
            self._cancel(call, bridge, now - start, limit_s)
            return
        self._service.outbox.send()
        if call.halves is not None and len(call.halves) > 1:
            return  # another thread is sending its response
        output = self._take(thread, call)
        if output is not None:
            self._give_up(thread, call, output, now - start, limit_s)

    # ---- an ASGI application's task

    def _cancel(self, call: WsgiCall, bridge: AsgiBridge, age_s: float, limit_s: float) -> None:
        """Have the task of ``call`` cancelled; its thread answers, and is free again."""
        task = call.task
        does = "connection cut in mid-response" if call.head_sent else "answered with 504"
        over = f"{call.what()} has run {age_s:.1f} s (limit {limit_s:g} s)"
        lines = [
            f"request timeout: {over}; {does}, its task is cancelled",
            *([] if task is None else [f"task {task.get_name()}:"]),
            *(f"  {frame}" for frame in ([] if task is None else stack_of(task))),
            self._others(),
        ]
        self._service.context.log.error("\n".join(lines))
        call.give_up(504)
        if task is not None:
            self._service.context.loop.call_later(CLEAN_UP_S, bridge.abandon, task)
        turned = Event()
        bridge.tell(turned.set)
        self._service.context.loop.call_later(
            CLEAN_UP_S, self._check_turned, turned, bridge, call.what(), age_s
        )

    def _check_turned(self, turned: Event, bridge: AsgiBridge, what: str, age_s: float) -> None:
        """A loop that stands still serves nobody, whatever number of threads there are."""
        if turned.is_set():
            return
        stood = f"the application's event loop has stood still for {CLEAN_UP_S:g} s"
        lines = [
            f"{what}: its task could not be cancelled: {stood}; the worker is replaced",
            f"thread of the loop (0x{bridge.thread_id:x}):",
            *(f"  {frame}" for frame in frames_of(bridge.thread_id)),
        ]
        self._service.context.log.error("\n".join(lines))
        self._service.context.process.given_up(what, age_s + CLEAN_UP_S)

    # ---- the connection

    @staticmethod
    def _take(thread: RequestThread, call: WsgiCall) -> Any:
        """Make the loop the connection's only writer; return the thread's output, None if it has finished."""
        output = call.exchange.seize_output()
        if output is None or thread.call is call:
            return output
        call.exchange.return_output(output)
        return None

    def _give_up(
        self, thread: RequestThread, call: WsgiCall, output: Any, age_s: float, limit_s: float
    ) -> None:
        service, runner, exchange = self._service, self._runner, call.exchange
        runner.given_up[call] = output
        exchange.leave_output()  # it is the thread's for as long as it may use it
        begun, answered = call.head_sent, call.answered
        does = "connection cut in mid-response" if begun else "answered with 504"
        if answered:
            does = "its response was sent, its connection is closed"
        more = runner.replace_thread()
        instead = "another takes its place" if more else "no other takes its place"
        over = f"{call.what()} has run {age_s:.1f} s (limit {limit_s:g} s)"
        lines = [
            f"request timeout: {over}; {does}. The thread cannot be ended: {instead}; the worker is replaced",
            f"thread of the request (0x{thread.ident:x}):",
            *(f"  {frame}" for frame in frames_of(thread.ident)),
            self._others(),
        ]
        service.context.log.error("\n".join(lines))
        service.context.process.given_up(call.what(), age_s)
        if answered:
            exchange.close()
        elif begun:
            exchange.abandon()
            exchange.abort()
        else:
            exchange.refuse(504, "request_timeout_s is over")
        if exchange.lost:
            exchange.let_go()  # as nobody will say that it has responded

    def _others(self) -> str:
        now = monotonic()
        running = [one for one in self._runner.under_way() if one.thread]
        running.sort(key=lambda one: one.start)
        named = [f"{one.what} {now - one.start:.2f} s" for one in running[:_OTHERS_MAX]]
        if len(running) > _OTHERS_MAX:
            named.append(f"{len(running) - _OTHERS_MAX} more")
        idle = sum(1 for each in self._runner.threads if each.call is None)
        given_up = len(self._runner.given_up)
        also = f"; given up before: {given_up - 1}" if given_up > 1 else ""
        return f"other threads: idle {idle}" + "".join(f", {each}" for each in named) + also
