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
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from gwctl.workers.http1.connection import ConnectionBase


HOLD_S: Final = 0.0005
"""Longest that a response waits for the others of its turn, but for the call that goes on then."""


class Outbox:
    """One per worker process; for plain sockets only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop = loop
        self._context = context  # no request's
        self._until = 0.0
        # At most one of each connection. Taken one by one: a signal's handler may send too.
        self._waiting: deque[tuple[ConnectionBase, bytes]] = deque()

    def add(self, connection: ConnectionBase, response: bytes, now: float) -> None:
        """Send ``response``, made ``now``, soon. The transport of ``connection`` holds nothing."""
        if not self._waiting:
            self._loop.call_soon(self.send, context=self._context)
            self._until = now + HOLD_S
        connection.queued = True
        self._waiting.append((connection, response))
        if now > self._until:
            self.send()

    def take(self, call: Any, connection: ConnectionBase, response: bytes, now: float) -> bool:  # noqa: ARG002
        """Tell whether the response of ``call``, made ``now``, was taken: it need not send it itself."""
        self.add(connection, response, now)
        return True

    def add_behind(self, connection: ConnectionBase, response: bytes, now: float) -> None:
        """Add ``response``, or have it follow what the transport holds. The transport may do TLS."""
        transport = connection.transport
        if connection.tls is None and not transport.get_write_buffer_size():
            self.add(connection, response, now)
        else:
            transport.write(response)

    def send(self) -> None:
        """Send all that waits; the loop's thread."""
        waiting = self._waiting
        while waiting:
            try:
                connection, response = waiting.popleft()
            except IndexError:
                return  # the sentry has sent it
            connection.queued = False
            rest = _send(connection, response)
            if rest:
                connection.transport.write(rest)

    def send_what_goes(self) -> None:
        """Send what the sockets take, and keep the rest; any thread, while the loop's is held up."""
        waiting = self._waiting
        for _ in range(len(waiting)):
            try:
                connection, response = waiting.popleft()
            except IndexError:
                return  # a signal's handler has sent them
            rest = _send(connection, response)
            if rest:
                waiting.append((connection, rest))  # for `send`, which the loop was asked to call
            else:
                connection.queued = False

    def __bool__(self) -> bool:
        return bool(self._waiting)


def _send(connection: ConnectionBase, response: bytes) -> bytes:
    """Return what the socket did not take; nothing if the client is gone, as the transport will notice."""
    try:
        sent = connection.sock.send(response)
    except BlockingIOError:
        return response
    except OSError:
        return b""
    return b"" if sent == len(response) else response[sent:]
