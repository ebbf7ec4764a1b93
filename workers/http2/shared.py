"""What the HTTP/2 connections of a worker share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gwctl.workers.http2.connection import Http2Connection
from gwctl.workers.http2.refusal import Refusal
from gwctl.workers.http2.response_head import BlockBuilder
from gwctl.workers.http2.responses import Handed
from gwctl.workers.http2.stream_limits import StreamLimits

if TYPE_CHECKING:
    import asyncio

    from gwctl.workers.context import WorkerContext
    from gwctl.workers.http1.protocol import Connection


class Http2:
    """Of one worker that speaks it.

    Attributes:
        blocks: Makes header blocks of responses.
        handed: What calls in threads have written.
        limits: Judges streams.
        tunnels: An extended CONNECT is offered, for WebSockets.
        connections: Those that there are.
    """

    def __init__(self, context: WorkerContext) -> None:
        settings = context.settings
        self.blocks = BlockBuilder(bytes if context.interface == "asgi" else str, settings.retry_after_s)
        self.handed = Handed(context)
        self.limits = StreamLimits(settings)
        self.tunnels = context.worker_class.has_websockets and context.interface == "asgi"
        self.connections: set[Http2Connection] = set()

    def take_over(self, connection: Connection) -> asyncio.Protocol:
        """Return what speaks HTTP/2 in the place of ``connection``, of which nothing was read."""
        if not connection.serves:
            return Refusal(connection)
        successor = Http2Connection(connection)
        connection.service.replace(connection, successor)
        self.connections.add(successor)
        return successor

    def sweep(self, now: float, add_up: Callable[[Http2Connection], None]) -> None:
        """See to what has lasted too long; ``add_up`` notes who holds responses that wait for windows."""
        for connection in list(self.connections):
            connection.sweep(now)
            if connection.streams and not connection.write_paused:
                add_up(connection)

    def drain(self) -> None:
        """Have the clients leave."""
        for connection in list(self.connections):
            connection.ask_to_leave()

    def was_away(self, now: float, seconds: float) -> None:
        """Give all clients the time again in which the loop did not turn."""
        for connection in self.connections:
            for stream in connection.streams.values():
                stream.since = min(stream.since + seconds, now)
                stream.window_at = min(stream.window_at + seconds, now)
