"""The queue of the threads runner: requests that wait for a thread, and threads that wait for a request.

The loop puts requests in, threads take them out. `WakePolicy` decides whether a request wakes a thread. If it
does not, one that is awake will come for it; and as long as a thread is idle while requests wait, the loop
checks every `CHECK_S` whether those that are awake are held by their calls. So there is no timer while nobody
waits, none while all threads are awake, and none while each request wakes one.

Threads take from ``requests`` itself: an exception from outside that came in a function of Python's, when it
has taken a request and not yet returned it, would lose that.

No wake-up is lost
    A thread that finds no request enters itself among the idle ones, and then looks for requests once more.
    Whoever puts a request in does so first, and then looks for idle threads. One of the two sees the other.
    A thread that is taken from the idle ones gets one token, for which it waits; whoever is awake looks for
    requests before it waits again. A token too many only has it look again. While a thread is woken and has
    not come, no other is woken: many that come at once keep each other from the interpreter, and find nothing
    in the end. The one that comes wakes the next, if more requests wait.

Lists and deques are changed in one step each, under the interpreter's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from gwctl.workers.runners.wake_policy import HELD_S, WakePolicy

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.runners.request_thread import RequestThread
    from gwctl.workers.wsgi.call import WsgiCall
    from gwctl.workers.wsgi.environ import Environ

    Request = tuple[Exchange, Environ, type[WsgiCall]]

CHECK_S: Final = 0.001
"""Between two checks. The loop's timers know whole milliseconds."""


class RequestQueue:
    """Of one worker. ``threads`` are those that take; its owner adds to the list.

    Attributes:
        requests: Those that no thread has taken yet; any thread may ask whether there are any.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: Context, threads: list[RequestThread]
    ) -> None:
        self.requests: deque[Request] = deque()
        self.policy = WakePolicy()
        self._threads = threads
        self._idle: list[RequestThread] = []  # the last one is woken first: it is the warmest
        self._coming = False  # a thread was woken, and has yet to come
        self._closed = False
        self._checking = False
        self._loop = loop
        self._context = context

    # ---- the loop's thread

    def put(self, request: Request, now: float) -> None:
        """Have ``request`` taken by a thread: by one that is awake, or by one that is woken for it."""
        self.requests.append(request)
        idle = self._idle
        if not idle:
            return  # whoever becomes idle looks here afterwards
        if self.policy.wakes(len(self._threads) - len(idle)):
            if not self._coming:
                self._wake()
        elif not self._checking:
            self._check(now)

    def put_back(self, requests: Sequence[Request]) -> None:
        """Have those that were taken out first taken first after all."""
        self.requests.extendleft(reversed(requests))
        self.check()

    def check(self) -> None:
        """Wake as many threads as are needed now; check again soon if that may change."""
        if self.requests and self._idle:
            self._check(monotonic())

    def learn(self, calls: int) -> None:
        """Have the policy know how long all ``calls`` that have ended took, and check by what it says now."""
        self.policy.learn(calls, sum([one.seconds for one in self._threads]))
        self.check()

    def close(self) -> None:
        """Have each thread end as soon as it finds no request."""
        self._closed = True
        while self._idle:
            self._wake()

    def _check(self, now: float) -> None:
        waiting, idle = len(self.requests), len(self._idle)
        awake, held = len(self._threads) - idle, self._held(now)
        wanted = self.policy.check(waiting, idle, awake, held)
        for _ in range(wanted):
            self._wake()
        if not wanted and not self._checking:
            self._checking = True
            self._loop.call_later(CHECK_S, self._check_again, context=self._context)

    def _check_again(self) -> None:
        self._checking = False
        self.check()

    def _held(self, now: float) -> int:
        since = now - HELD_S
        return sum([one.call is not None and one.start <= since for one in self._threads])

    # ---- any thread

    def put_again(self, request: Request) -> None:
        """Put in what a thread has taken and could not begin; that thread goes on to take."""
        self.requests.append(request)

    def has_waiting(self) -> bool:
        """Tell whether a request waits because there is no thread for it."""
        return bool(self.requests) and not self._idle

    def wait(self, thread: RequestThread) -> bool:
        """Wait until there may be a request for ``thread``, the calling one; False: it is to end."""
        if self.enter(thread):
            thread.tokens.get()
            self.come(thread)
        return not self._closed or bool(self.requests)

    def enter(self, thread: RequestThread) -> bool:
        """Have ``thread`` be woken for a request; False if there is something to do by now.

        If not, it is to wait for its token, and then to `come`.
        """
        self._idle.append(thread)
        if self.requests or self._closed:
            return not self._leave(thread)
        return True

    def come(self, thread: RequestThread) -> None:
        """``thread`` is awake and will take a request: wake the next if more wait.

        It has begun, was woken, had a token too many, or an exception from outside threw it out of `wait`.
        """
        if thread in self._idle:
            self._leave(thread)
        self._coming = False  # first: whoever saw it set has put in a request that is seen now
        if self.policy.slow and len(self.requests) > 1:
            self._wake()

    def _leave(self, thread: RequestThread) -> bool:
        """Have ``thread`` not be woken any more; False if it is by now."""
        try:
            self._idle.remove(thread)
        except ValueError:
            return False
        return True

    def _wake(self) -> None:
        try:
            thread = self._idle.pop()
        except IndexError:
            return  # the last one has found something by itself
        self._coming = True
        thread.tokens.put(None)
