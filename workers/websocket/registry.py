"""All WebSockets of a worker: how HTTP connections become some, and how they end with it.

The engine parses the request head, applies its policy, judges the handshake and hands the
connection over; from then on the transport belongs to the protocol in `websocket.protocol`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import random
from typing import TYPE_CHECKING, Any, Final

from gwctl.config.model.settings import PoolSettings
from gwctl.log import Log
from gwctl.workers.http1.response_head import HeadBuilder
from gwctl.workers.observe.throttled_log import ThrottledLog
from gwctl.workers.websocket.handshake import judge, websocket_scope
from gwctl.workers.websocket.memory import Memory

if TYPE_CHECKING:
    from gwctl.workers.websocket.protocol import WebSocket

STEP_MAX_S: Final = 0.1
"""Longest time between the ends of two WebSockets in a drain."""

Answered = Callable[[int, int], None]
"""Called with status and size of the answer to the handshake, once."""


class Turn:
    """Tells one turn of the loop from the next, for whoever is to do only so much in each."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._number = 0
        self._asked = False

    def current(self) -> int:
        """Return a number that is another one after input was looked for again."""
        if not self._asked:
            self._asked = True
            self._loop.call_soon(self._over)
        return self._number

    def _over(self) -> None:
        self._asked = False
        self._number += 1


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
    connections: set[WebSocket] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    holders: set[WebSocket] = field(default_factory=set)
    """Of whom the connection or the task is left."""
    throttled: ThrottledLog = field(init=False)
    turn: Turn = field(init=False)
    memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        self.throttled = ThrottledLog(self.log)
        self.turn = Turn(self.loop)
        self.memory = Memory(self.loop, self.settings.websocket, self.holders, self.throttled)


class WebSockets:
    """All WebSocket connections of one worker."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._draining = False
        self._drain_timers: list[asyncio.TimerHandle] = []

    def __len__(self) -> int:
        return len(self._around.connections)

    @property
    def idle(self) -> bool:
        """Tell whether no connection is open and no application is still tidying up after one."""
        return not (self._around.connections or self._around.tasks)

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
        around = self._around
        opening = judge(scope["headers"], around.settings.websocket.per_message_deflate)
        # These modules, and zlib, come with the first connection: most workers never have one.
        from gwctl.workers.websocket.protocol import WebSocket  # noqa: PLC0415

        protocol = WebSocket(around, opening, websocket_scope(scope, opening, around.state), before())
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._draining:
            protocol.go_away()  # its client shall come again, to a worker that stays
        if rest:
            protocol.data_received(rest)

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
        for connection in self._all():
            connection.stay()

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
        return max(len(self._around.connections), len(self._around.tasks))

    def leave(self) -> None:
        """The drain's time is over: cancel the applications that go on, and close what is open."""
        for timer in self._drain_timers:
            timer.cancel()
        for connection in self._all():
            connection.shutdown()
        for task in list(self._around.tasks):
            task.cancel()

    def _all(self) -> list[WebSocket]:
        return list(self._around.connections)
