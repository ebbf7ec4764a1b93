"""All WebSockets of a worker: how HTTP connections become some, and how they end with it.

The engine parses the request head, applies its policy, judges the handshake and hands the
connection over; from then on the transport belongs to the protocol in `websocket.protocol`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import random
from typing import TYPE_CHECKING, Any, Final

from gwctl.workers.websocket.handshake import Opening, judge, judge_connect, websocket_scope
from gwctl.workers.websocket.surroundings import Answered, Member, Surroundings

if TYPE_CHECKING:
    from gwctl.workers.http2.response_head import BlockBuilder
    from gwctl.workers.http2.tunnel import Tunnel
    from gwctl.workers.websocket.answers import Answer
    from gwctl.workers.websocket.protocol import WebSocket

STEP_MAX_S: Final = 0.1
"""Longest time between the ends of two WebSockets in a drain."""


class WebSockets:
    """All WebSocket connections of one worker."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._draining = False
        self._drain_timers: list[asyncio.TimerHandle] = []

    def __len__(self) -> int:
        return len(self._around.connections)

    @property
    def sockets(self) -> int:
        """How many have a connection of their own."""
        return len(self._around.connections) - len(self._around.carried)

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
        from gwctl.workers.websocket.answers import Http1Answer  # noqa: PLC0415 - as below

        protocol = self._begin(transport, opening, scope, Http1Answer(transport, around.heads), before())
        if rest:
            protocol.data_received(rest)

    def carry(
        self, tunnel: Tunnel, blocks: BlockBuilder, scope: Mapping[str, Any], before: Callable[[], Answered]
    ) -> None:
        """Make a stream of HTTP/2 a WebSocket connection; see `hand_over`.

        Raises:
            Refused: The handshake is broken; nothing was changed.
        """
        around = self._around
        opening = judge_connect(scope["headers"], around.settings.websocket.per_message_deflate)
        from gwctl.workers.http2.tunnel import StreamTransport  # noqa: PLC0415 - as below
        from gwctl.workers.websocket.answers import Http2Answer  # noqa: PLC0415 - as below

        answer = Http2Answer(tunnel, blocks)
        around.carried.add(self._begin(StreamTransport(tunnel), opening, scope, answer, before()))
        tunnel.go_on()

    def _begin(
        self,
        transport: asyncio.Transport,
        opening: Opening,
        scope: Mapping[str, Any],
        answer: Answer,
        answered: Answered,
    ) -> WebSocket:
        around = self._around
        # These modules, and zlib, come with the first connection: most workers never have one.
        from gwctl.workers.websocket.protocol import WebSocket  # noqa: PLC0415

        own_scope = websocket_scope(scope, opening, around.state)
        protocol = WebSocket(around, opening, own_scope, transport, answer, answered)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._draining:
            protocol.go_away()  # its client shall come again, to a worker that stays
        return protocol

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

    def _all(self) -> list[Member]:
        return list(self._around.connections)
