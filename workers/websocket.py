"""WebSockets: uvicorn's sans-IO protocol on the transport of an HTTP connection that upgrades.

The engine parses the request head, applies its policy and hands the connection over with the
head's bytes; from then on the transport belongs to the protocol here. What uvicorn would read
from the socket (client, scheme) is replaced by what the engine knows better (trusted proxies).

Differences from uvicorn: writing waits when the client does not read, also in the versions
that leave that out; and on drain the close frame (1012, service restart) is followed by the
closing handshake, so that what the client still sends does not turn it into a reset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from gwctl.workers.websocket_protocol import WebSocket

CLOSE_WAIT_S: Final = 3.0
"""How long the client may take to answer our close frame."""

_FROM_REQUEST: Final = ("client", "server", "root_path", "path", "raw_path", "query_string", "headers")
_SCHEMES: Final = {"http": "ws", "https": "wss"}


class WebSockets:
    """All WebSocket connections of one worker.

    ``changed`` is called whenever a connection or an application's task has ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        call: Callable[..., Any],
        state: dict[str, Any],
        changed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._call = call
        self._state = state
        self._changed = changed
        self._shared: ServerState | None = None
        self._drain_timers: list[asyncio.TimerHandle] = []

    def __len__(self) -> int:
        return len(self._shared.connections) if self._shared is not None else 0

    @property
    def idle(self) -> bool:
        """Tell whether no connection is open and no application is still tidying up after one."""
        return self._shared is None or not (self._shared.connections or self._shared.tasks)

    def hand_over(
        self, transport: asyncio.Transport, head: bytes, rest: bytes, scope: Mapping[str, Any]
    ) -> None:
        """Make ``transport`` a WebSocket connection.

        Args:
            transport: Not paused; its protocol is replaced.
            head: The request head as bytes, to its empty line.
            rest: What was received after it.
            scope: The HTTP scope of the request: client, server, scheme, path and headers
                are taken from it.
        """
        # uvicorn and websockets come with the first connection: most workers never have one.
        from gwctl.workers.uvicorn_config import make_config  # noqa: PLC0415
        from gwctl.workers.websocket_protocol import WebSocket  # noqa: PLC0415

        if self._shared is None:
            self._shared = _shared_state()
        facts = {key: scope[key] for key in _FROM_REQUEST if key in scope}
        facts["scheme"] = _SCHEMES.get(scope.get("scheme", "http"), "ws")
        config = make_config(self._with_facts(facts))
        protocol = WebSocket(config, self._shared, self._state, self._loop, self._changed)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(head + rest)

    def _with_facts(self, facts: Mapping[str, Any]) -> Callable[..., Any]:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            scope.update(facts)
            await self._call(scope, receive, send)

        return application

    def drain(self, over_s: float) -> None:
        """Close all with 1012, evenly over ``over_s``: clients that all reconnect at once are a stampede."""
        connections = self._all()
        step_s = over_s / len(connections) if connections else 0.0
        self._drain_timers = [
            self._loop.call_later(number * step_s, connection.go_away)
            for number, connection in enumerate(connections)
        ]

    def quit(self) -> int:
        """Close all at once, close frame included where it fits; return how many there were."""
        for timer in self._drain_timers:
            timer.cancel()
        connections = self._all()
        for connection in connections:
            connection.shutdown()
        return len(connections)

    def _all(self) -> list[WebSocket]:
        return list(self._shared.connections) if self._shared is not None else []  # type: ignore[arg-type]


def _shared_state() -> ServerState:
    from uvicorn.server import ServerState  # noqa: PLC0415 - with the first WebSocket

    return ServerState()
