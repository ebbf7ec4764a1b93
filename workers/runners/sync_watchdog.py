"""The sentry of a sync worker: a thread that looks after the others while one is served.

A sync worker reads nothing while the application's call lasts. What kept-alive clients ask
meanwhile would wait behind it, and so would what stands in line already, however idle the
siblings are. So while calls are made this thread looks every `TICK_S`. If a call has lasted
over `LONG_S`, or a request has stood in line for that long, and siblings are free, as many
requests go to the exchange (`gwctl.workers.balancing.handoff`): those in line with what was read of
them, others by their connection with unread input. During a long call the thread then sleeps
in poll() on the connections, and acts as soon as one of them asks for something. It never
reads what a client sent. With nothing to serve, or without siblings, it sleeps.

A sibling is free if two looks a moment apart say so: one that is saturated is between two
calls now and then, and handing connections around among saturated workers would undo the
balance that accepting has made (`gwctl.workers.balancing.accept_gate`). One that has taken what it was given
and is free again gets twice as many the next time.

Who owns a connection is exact. The sentry acts only while the loop's thread is inside a call,
since then nothing else touches connections. The loop's thread ends a call by storing
BUSY_SINCE = 0 and then looking at ``raised``; the sentry, holding the lock, stores ``raised``
and then looks whether BUSY_SINCE is still that of the call. One of them sees the other: either
the sentry gives nothing away, or the loop's thread goes to `settle`, waits for the lock, and
lets go of what was given before it can read from it. A request in which the sentry did nothing
costs the loop's thread that one look.
"""

from __future__ import annotations

import select
import signal
import threading
from collections import deque
from math import inf
from queue import SimpleQueue
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from gwctl.ipc.scoreboard import BUSY_SINCE
from gwctl.workers.app.monkey_patches import patched_by
from gwctl.workers.balancing.handoff import Handover
from gwctl.workers.exchange.outbox import HOLD_S
from gwctl.workers.exchange.states import HANDED_OFF

if TYPE_CHECKING:
    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.service import Service
    from gwctl.workers.wsgi.call import WsgiCall
    from gwctl.workers.wsgi.environ import Environ

    Line = deque[tuple[Exchange, Environ, type[WsgiCall], float]]
    """Requests that wait to be served, and since when."""

TICK_S: Final = 0.02
LONG_S: Final = 0.01
STUCK_S: Final = 0.5
"""A call that has lasted for so long may keep the worker from being told that a listener is closed."""
_CONFIRM_S: Final = 0.002
_RETRY_S: Final = 1.0


class Sentry:
    """One per sync worker. ``raised``: the loop's thread must `settle` before it goes on."""

    def __init__(self, service: Service, balancing: Balancing, line: Line) -> None:
        self.raised = False
        self._service = service
        self._siblings = balancing.siblings
        self._handover = balancing.handover
        self._floats = service.context.record.floats
        self._lock = threading.Lock()
        self._given: list[Exchange] = []
        self._bell: SimpleQueue[bool] = SimpleQueue()
        self._awake = False
        self._thread: threading.Thread | None = None
        self._next_try_at = 0.0
        self._listeners_at = 0.0
        self._line = line

    # ---- the loop's thread

    def wake(self) -> None:
        """A batch of requests begins: have an eye on it."""
        if self._awake:
            return
        if self._thread is None and not self._begin():
            return
        self._awake = True
        self._bell.put(True)

    def _begin(self) -> bool:
        """Start the thread. False: the machine has none to give. Requests are served without it meanwhile."""
        now = monotonic()
        if now < self._next_try_at:
            return False
        library = patched_by()
        if library is not None:  # it would be no thread, but something that waits for its own loop to turn
            self._next_try_at = inf
            self._service.context.log.warning(
                f"the application patches the standard library for {library}: in a sync worker it is called "
                "as any other, and requests that come during a long call wait until it has ended"
            )
            return False
        thread = threading.Thread(target=self._run, name="gwctl-sentry", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._next_try_at = now + _RETRY_S
            self._service.context.throttled.warning(
                "sentry",
                f"no thread can be started ({error}): requests that come during a long call wait until it "
                "has ended. Raise the limit of processes and threads (TasksMax=, pids.max, ulimit -u)",
            )
            return False
        self._thread = thread
        return True

    def end(self) -> None:
        """End the thread once nothing is due; that of a worker ends with its process."""
        self._bell.put(False)

    def settle(self) -> None:
        """Let go of the connections that were given away during the call which has just ended."""
        with self._lock:
            given, self._given = self._given, []
            self.raised = False
        for exchange in given:
            Handover.let_go(exchange)

    # ---- the sentry's thread

    def _run(self) -> None:
        # Signals are for the loop's thread: a handler must be able to interrupt the call.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while self._bell.get():
            while self._check():
                sleep(TICK_S)

    def _check(self) -> bool:
        """Look once; return whether to look again soon."""
        since = self._floats[BUSY_SINCE]
        if since:
            self._see_to_listeners(since)
            if self._service.outbox and monotonic() - since >= HOLD_S:
                self._send_for_the_loop(since)
            handover = self._handover
            if self._is_late(since) and handover is not None and self._siblings.free():
                self._relieve(handover, since)
            return True
        self._awake = False
        if self._service.accounts.flush_due:  # stored before `wake` looks at ``_awake``
            self._awake = True
            return True
        return False

    def _see_to_listeners(self, since: float) -> None:
        """Let go of those that are closed to new clients, once a call has lasted for a while."""
        now = monotonic()
        if now - since >= STUCK_S and now >= self._listeners_at:
            self._listeners_at = now + STUCK_S
            self._service.vacate_closed()

    def _is_late(self, since: float) -> bool:
        """Tell whether a request may have waited over `LONG_S`."""
        now = monotonic()
        try:
            oldest = self._line[0][-1]
        except IndexError:
            return now - since >= LONG_S
        return now - min(since, oldest) >= LONG_S

    def _relieve(self, handover: Handover, since: float) -> None:
        """Give away what waits, and in a long call also what comes while it lasts."""
        poller = select.poll()
        by_fd: dict[int, Exchange] = {}
        for exchange in handover.givable():
            fd = exchange.fileno()
            if fd < 0:
                return  # the call is over, and the loop has closed it meanwhile
            by_fd[fd] = exchange
            poller.register(fd, select.POLLIN)
        ready = poller.poll(0)
        batch = 1
        while self._floats[BUSY_SINCE] == since:
            self._see_to_listeners(since)
            if ready or self._line:
                free = self._free_siblings(handover)
                if free is None:
                    return
                batch = 2 * batch if free else 1
                free *= batch // 2
                given = self._give_first_in_line(handover, free, since)
                if free and not given and not ready:
                    return  # what stands in line cannot be given
                for fd, _ in ready[: free - given]:
                    poller.unregister(fd)
                    self._give(handover, by_fd[fd], since)
            elif monotonic() - since < LONG_S:
                return
            ready = poller.poll(0 if self._line else TICK_S * 1000)

    def _send_for_the_loop(self, since: float) -> None:
        """Send the responses that were to leave at the end of the turn in which the call was made."""
        with self._lock:
            self.raised = True
            if self._floats[BUSY_SINCE] == since:
                self._service.outbox.send_what_goes()

    def _free_siblings(self, handover: Handover) -> int | None:
        """Return how many siblings are free, seen twice, with nothing to take already; None: all are busy."""
        before = self._siblings.free()
        if not before:
            return None
        sleep(_CONFIRM_S)
        return 0 if handover.pending else len(before & self._siblings.free())

    def _give_first_in_line(self, handover: Handover, count: int, since: float) -> int:
        """Give the ``count`` requests away that have waited longest; return how many could be given."""
        given = 0
        for waiting in list(self._line)[:count]:
            with self._lock:
                self.raised = True
                if self._floats[BUSY_SINCE] != since:
                    break
                exchange, environ, kind, _ = waiting
                body = environ["wsgi.input"] if kind.has_body else None
                if handover.give_request(exchange, body):
                    self._line.remove(waiting)
                    exchange.state = HANDED_OFF
                    self._given.append(exchange)
                    given += 1
        return given

    def _give(self, handover: Handover, exchange: Exchange, since: float) -> None:
        with self._lock:
            self.raised = True
            if self._floats[BUSY_SINCE] == since and handover.give_unread(exchange):
                exchange.state = HANDED_OFF
                self._given.append(exchange)
