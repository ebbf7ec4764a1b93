"""Whole responses of threads, sent together by whichever thread comes to it.

Each send lets another thread have the interpreter and wakes a client, so while requests wait
for a thread, responses wait here (why that pays: `gwctl.workers.http1.outbox`). A thread that ends a
call sends all of them when no request waits any more, or when the first response has waited
for `HOLD_S`. A call may take longer than that: the first response of a batch also wakes the
loop, which sends what it finds as soon as it runs, and it runs when a call waits for anything.

The writer of a connection is still one: whoever takes a response out of the deque sends it. Its
connection is released by whoever is second of two, the sender and the thread that ends the
call: both count down the call's ``halves``, and the second comes to 0.

Exceptions from outside
    Libraries end calls that take too long by an exception raised in their thread
    (PyThreadState_SetAsyncExc), and it may come when the call is over. The interpreter raises it, as it
    lets other threads run, only behind a call of C code, where a Python function begins, and at the end
    of a loop's turn. So what must not be torn apart here is written without any of these: taking from
    the deque, counting down. All else can be done again, and is (`ThreadsRunner._astray`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from gwctl.workers.http1.outbox import HOLD_S, Outbox
from gwctl.workers.wsgi.call import OVER

if TYPE_CHECKING:
    from gwctl.workers.http1.connection import ConnectionBase
    from gwctl.workers.wsgi.call import WsgiCall


class ThreadsOutbox(Outbox):
    """One per worker process. ``release`` is called with a call that is over and whose response is sent."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        queue: SimpleQueue[Any],
        release: Callable[[WsgiCall], None],
    ) -> None:
        super().__init__(loop, context)
        self._queue = queue
        self._release = release
        self._asked = False
        self._held: deque[tuple[WsgiCall, bytes]] = deque()

    def take(self, call: Any, connection: ConnectionBase, response: bytes, now: float) -> bool:  # noqa: ARG002
        if self._queue.empty():
            return False
        if not self._held:
            self._until = now + HOLD_S
        call.halves = 2
        self._held.append((call, response))
        if not self._asked:  # looked at after the response is there: the loop clears it before it looks
            self._asked = True
            self._loop.call_soon_threadsafe(self._send_for_threads, context=self._context)
        return True

    def ended(self, call: WsgiCall, now: float) -> None:
        """``call`` is over: release its connection unless its response is still here; send if it is time."""
        call.stage, call.halves = OVER, call.halves - 1
        if not call.halves:
            self._release(call)
        if self._held and (now > self._until or self._queue.empty()):
            self.send()

    def _send_for_threads(self) -> None:
        self._asked = False
        self.send()

    def ask_again(self) -> None:
        """A thread may have been kept from waking the loop."""
        self._asked = False

    def send(self) -> None:
        """Send all that waits; any thread."""
        held = self._held
        while held:
            call, response = held[0]
            del held[0]
            astray: BaseException | None = None
            try:
                call.send_now(response)
            except BaseException as error:  # noqa: BLE001 - see the module: it was meant for another call
                call.keep_alive, call.aborted = False, True  # nobody knows how much has gone
                astray = error
            call.halves -= 1
            if not call.halves:
                try:
                    self._release(call)
                except BaseException as error:  # noqa: BLE001 - the same
                    self._release(call)
                    astray = error
            if astray is not None:
                raise astray

    def __bool__(self) -> bool:
        return bool(self._held)
