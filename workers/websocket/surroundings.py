"""What all WebSockets of a worker share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from gwctl.config.model.settings import PoolSettings
from gwctl.log.event_log import Log
from gwctl.workers.http1.response_head import HeadBuilder
from gwctl.workers.observe.throttled_log import ThrottledLog
from gwctl.workers.websocket.memory import Holder, Memory

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


class Member(Holder, Protocol):
    """A connection among them (`gwctl.workers.websocket.protocol.WebSocket`)."""

    transport: Any

    def go_away(self) -> None: ...
    def stay(self) -> None: ...
    def shutdown(self) -> None: ...


@dataclass(slots=True)
class Surroundings:
    """Of one worker."""

    loop: asyncio.AbstractEventLoop
    call: Callable[..., Any]
    state: dict[str, Any]
    settings: PoolSettings
    heads: HeadBuilder
    log: Log
    changed: Callable[[], None]
    """Called whenever a connection or an application's task has ended."""
    connections: set[Member] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    holders: set[Member] = field(default_factory=set)
    """Of whom the connection or the task is left."""
    throttled: ThrottledLog = field(init=False)
    turn: Turn = field(init=False)
    memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        self.throttled = ThrottledLog(self.log)
        self.turn = Turn(self.loop)
        self.memory = Memory(self.loop, self.settings.websocket, self.holders, self.throttled)
