"""Whole responses of threads, sent together by whichever thread comes to it.

Each send lets another thread have the interpreter and wakes a client, so while requests wait
for a thread, responses wait here (why that pays: `gwctl.workers.exchange.outbox`). A thread that ends a
call sends all of them when no request waits any more, or when the first response has waited
for `HOLD_S`. A call may take longer than that: the first response of a batch also wakes the
loop, which sends what it finds as soon as it runs, and it runs when a call waits for anything.

The writer of a connection is still one: whoever takes a response out of the deque sends it. Its
connection is released by whoever is second of two, the sender and the thread that ends the
call: both take one of the call's ``halves``, which is atomic, and the second finds True.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from gwctl.workers.exchange.outbox import HOLD_S, Outbox

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.wsgi.call import WsgiCall


class ThreadsOutbox(Outbox):
    """One per worker process. ``release`` is called with a call that is over and whose response is sent."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        requests: deque[Any],
        release: Callable[[WsgiCall], None],
    ) -> None:
        super().__init__(loop, context)
        self._requests = requests  # those that wait for a thread
        self._release = release
        self._asked = False
        self._held: deque[tuple[WsgiCall, bytes]] = deque()

    def take(self, exchange: Exchange, response: bytes, now: float) -> bool:
        if not self._requests:
            return False
        call: WsgiCall = exchange.response.call
        call.halves = [True, False]
        if not self._held:
            self._until = now + HOLD_S
        self._held.append((call, response))
        if not self._asked:  # looked at after the response is there: the loop clears it before it looks
            self._asked = True
            self._loop.call_soon_threadsafe(self._send_for_threads, context=self._context)
        return True

    def ended(self, call: WsgiCall, now: float) -> None:
        """``call`` is over: release its connection unless its response is still here; send if it is time."""
        if call.halves is None or call.halves.pop():
            self._release(call)
        if self._held and (now > self._until or not self._requests):
            self.send()

    def _send_for_threads(self) -> None:
        self._asked = False
        self.send()

    def send(self) -> None:
        """Send all that waits; any thread."""
        held = self._held
        while held:
            try:  # in one step: what it replaces may have other threads run when it is freed
                call, response = held.popleft()
            except IndexError:
                return  # another thread has it
            call.send_now(response)
            if call.halves is not None and call.halves.pop():
                self._release(call)

    def __bool__(self) -> bool:
        return bool(self._held)
