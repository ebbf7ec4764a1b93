"""Responses that leave together, at the latest at the end of the loop's turn.

Waking a client for each response of a turn costs as much as making a small one: the kernel
does it at once, and the code that the next request needs has left the processor's caches
meanwhile. And a plain send(2) costs a tenth of a request less than the transport's own queue.
So whole responses of ordinary size wait here until the loop has served what was ready, or
until the first of them has waited for `HOLD_S`. What the socket does not take then goes to
the transport, like everything else that a connection writes.

Nothing may overtake what waits: a connection with ``queued`` set has it sent before anything
else is done for it (`gwctl.workers.http1.protocol`: input, what of it waits in ``tail``, its end;
`ConnectionBase`: close, linger, abort).

The loop's thread owns all of this. A sync worker's sentry sends in its place while a call
holds that thread (`gwctl.workers.runners.sync_watchdog` says how they keep apart).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from gwctl.workers.exchange.response import WholeResponses

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from gwctl.workers.exchange.exchange import Exchange


HOLD_S: Final = 0.0005
"""Longest that a response waits for the others of its turn, but for the call that goes on then."""


class Outbox(WholeResponses):
    """One per worker process; for plain sockets only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop = loop
        self._context = context  # no request's
        self._until = 0.0
        # At most one of each connection. Taken one by one: a signal's handler may send too.
        self._waiting: deque[tuple[Exchange, bytes]] = deque()

    def take(self, exchange: Exchange, response: bytes, now: float) -> bool:
        """Send ``response``, made ``now``, soon; True. The transport of ``exchange`` holds nothing.

        Others than this one may refuse it: then it is to be written at once.
        """
        if not self._waiting:
            self._loop.call_soon(self.send, context=self._context)
            self._until = now + HOLD_S
        exchange.queued = True
        self._waiting.append((exchange, response))
        if now > self._until:
            self.send()
        return True

    def send(self) -> None:
        """Send all that waits; the loop's thread."""
        waiting = self._waiting
        while waiting:
            try:
                exchange, response = waiting.popleft()
            except IndexError:
                return  # the sentry has sent it
            exchange.queued = False
            rest = exchange.send(response)
            if rest:
                exchange.write(rest)

    def send_what_goes(self) -> None:
        """Send what the sockets take, and keep the rest; any thread, while the loop's is held up."""
        waiting = self._waiting
        for _ in range(len(waiting)):
            try:
                exchange, response = waiting.popleft()
            except IndexError:
                return  # a signal's handler has sent them
            rest = exchange.send(response)
            if rest:
                waiting.append((exchange, rest))  # for `send`, which the loop was asked to call
            else:
                exchange.queued = False

    def __bool__(self) -> bool:
        return bool(self._waiting)
