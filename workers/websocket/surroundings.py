"""What all WebSockets of a worker share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from gwctl.config.model.settings import PoolSettings
from gwctl.log.event_log import Log
from gwctl.workers.http1.response_head import HeadBuilder
from gwctl.workers.observe.throttled_log import ThrottledLog
from gwctl.workers.websocket.memory import Holder, Memory

Answered = Callable[[int, int], None]
"""Called with status and size of the answer to the handshake, once."""


ALL_WORK: Final = 4_194_304
"""Work (`FrameReader.work`) done for all connections together in one turn of the loop: some 20 ms, whether
they unpack or read tiny frames. The others wait in line, and whatever else the worker serves has its turn."""


class Turn:
    """Tells one turn of the loop from the next, for whoever is to do only so much in each.

    Attributes:
        work: What was done in this one so far, by those who add it here.
    """

    __slots__ = ("_asked", "_line", "_loop", "_number", "work")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._number = 0
        self._asked = False
        self._line: deque[Callable[[], None]] = deque()
        self.work = 0

    def current(self) -> int:
        """Return a number that is another one after input was looked for again."""
        if not self._asked:
            self._asked = True
            self._loop.call_soon(self._over)
        return self._number

    @property
    def used_up(self) -> bool:
        """Tell whether no more is to be done in this one."""
        return self.work >= ALL_WORK

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have ``go_on`` called in a later turn, when those are served who came first."""
        self._line.append(go_on)
        self.current()

    def _over(self) -> None:
        self._asked = False
        self._number += 1
        self.work = 0
        for _ in range(len(self._line)):
            if self.used_up:
                break
            self._line.popleft()()
        if self._line:
            self.current()


class Member(Holder, Protocol):
    """A connection among them (`gwctl.workers.websocket.protocol.WebSocket`)."""

    transport: Any

    def go_away(self) -> None: ...
    def stay(self) -> None: ...
    def shutdown(self) -> None: ...


class Surroundings:
    """Of one worker.

    Attributes:
        carried: Those of the connections that are streams of a connection of HTTP/2.
        changed: Called whenever a connection or an application's task has ended.
        holders: Of whom the connection or the task is left.
    """

    __slots__ = (
        "call",
        "carried",
        "changed",
        "connections",
        "heads",
        "holders",
        "log",
        "loop",
        "memory",
        "settings",
        "state",
        "tasks",
        "throttled",
        "turn",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        call: Callable[..., Any],
        state: dict[str, Any],
        settings: PoolSettings,
        heads: HeadBuilder,
        log: Log,
        changed: Callable[[], None],
    ) -> None:
        self.loop = loop
        self.call = call
        self.state = state
        self.settings = settings
        self.heads = heads
        self.log = log
        self.changed = changed
        self.connections: set[Member] = set()
        self.carried: set[Member] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.holders: set[Member] = set()
        self.throttled = ThrottledLog(log)
        self.turn = Turn(loop)
        self.memory = Memory(loop, settings.websocket, self.holders, self.throttled)
