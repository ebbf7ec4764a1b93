"""WebSockets: uvicorn's sans-IO protocol on the transport of an HTTP connection that upgrades.

The engine parses the request head, applies its policy, judges the handshake and hands the
connection over; from then on the transport belongs to the protocol in `websocket_protocol`.
What uvicorn would read from the socket (client, scheme) is replaced by what the engine knows
better (trusted proxies).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import random
from typing import TYPE_CHECKING, Any, Final

from gwctl.config.settings import PoolSettings
from gwctl.log import Log
from gwctl.workers.response import HeadBuilder
from gwctl.workers.websocket_handshake import facts, open_with

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

    from gwctl.workers.websocket_protocol import WebSocket

STEP_MAX_S: Final = 0.1
"""Longest time between the ends of two WebSockets in a drain."""

Answered = Callable[[int, int], None]
"""Called with status and size of the answer to the handshake, once."""


@dataclass(slots=True)
class Surroundings:
    """What all WebSockets of a worker share."""

    loop: asyncio.AbstractEventLoop
    call: Callable[..., Any]
    state: dict[str, Any]
    settings: PoolSettings
    heads: HeadBuilder
    log: Log
    changed: Callable[[], None]
    """Called whenever a connection or an application's task has ended."""
    config: Config = None  # type: ignore[assignment] # uvicorn's two come with the first connection
    shared: ServerState = None  # type: ignore[assignment]


class WebSockets:
    """All WebSocket connections of one worker."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._shared: ServerState | None = None
        self._draining = False
        self._drain_timers: list[asyncio.TimerHandle] = []

    def __len__(self) -> int:
        return len(self._shared.connections) if self._shared is not None else 0

    @property
    def idle(self) -> bool:
        """Tell whether no connection is open and no application is still tidying up after one."""
        return self._shared is None or not (self._shared.connections or self._shared.tasks)

    def hand_over(
        self,
        transport: asyncio.Transport,
        rest: bytes,
        scope: Mapping[str, Any],
        before: Callable[[], Answered],
    ) -> None:
        """Make ``transport`` a WebSocket connection.

        Args:
            transport: Its protocol is replaced; it must be reading when ``before`` was called.
            rest: What was received after the head.
            scope: The HTTP scope of the request: client, server, scheme, path and headers
                are taken from it.
            before: Called when nothing can be refused any more; returns what is to be told
                of the answer.

        Raises:
            Refused: The handshake is broken; nothing was changed.
        """
        head = open_with(scope["headers"])
        # uvicorn and websockets come with the first connection: most workers never have one.
        from gwctl.workers.websocket_protocol import WebSocket  # noqa: PLC0415

        if self._shared is None:
            self._shared = self._load()
        protocol = WebSocket(self._around, facts(scope), before())
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._draining:
            protocol.go_away()  # its client shall come again, to a worker that stays
        protocol.data_received(head)
        if rest:
            protocol.data_received(rest)

    def _load(self) -> ServerState:
        from uvicorn.server import ServerState  # noqa: PLC0415

        from gwctl.workers.uvicorn_config import make_config  # noqa: PLC0415

        around = self._around
        around.config = make_config(around.call, websocket=around.settings.websocket)
        around.shared = ServerState()
        return around.shared

    def drain(self, over_s: float) -> None:
        """Close all with 1012, spread over ``over_s``: clients that all reconnect at once are a stampede.

        With jitter, as other workers begin at the same moment. Few are not spread over all that time.
        """
        self.stay()
        self._draining = True
        connections = self._all()
        step_s = min(over_s / len(connections), STEP_MAX_S) if connections else 0.0
        self._drain_timers = [
            self._around.loop.call_later((number + random()) * step_s, connection.go_away)
            for number, connection in enumerate(connections)
        ]

    def stay(self) -> None:
        """Close none any more because of `drain`."""
        self._draining = False
        for timer in self._drain_timers:
            timer.cancel()
        self._drain_timers = []

    def quit(self) -> int:
        """Close all at once, close frame included where it fits; return how many there were."""
        for timer in self._drain_timers:
            timer.cancel()
        connections = self._all()
        for connection in connections:
            connection.shutdown()
        return len(connections)

    def descriptors(self) -> list[int]:
        """Return those of all connections."""
        sockets = [connection.transport.get_extra_info("socket") for connection in self._all()]
        return [sock.fileno() for sock in sockets if sock is not None]

    @property
    def left(self) -> int:
        """Connections that are open, or whose application has not ended."""
        shared = self._shared
        return max(len(shared.connections), len(shared.tasks)) if shared is not None else 0

    def leave(self) -> None:
        """The drain's time is over: cancel the applications that go on, and close what is open."""
        if self._shared is None:
            return
        for timer in self._drain_timers:
            timer.cancel()
        for connection in self._all():
            connection.shutdown()
        for task in list(self._shared.tasks):
            task.cancel()

    def _all(self) -> list[WebSocket]:
        return list(self._shared.connections) if self._shared is not None else []  # type: ignore[arg-type]
