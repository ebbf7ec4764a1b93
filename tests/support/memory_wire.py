"""What client and server of the protocol in memory give each other: events one way, actions the other.

No bytes but those of bodies, and nothing of either side: `tests.support.memory_client`,
`tests.support.memory_protocol`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Fields = list[tuple[bytes, bytes]]

UPLOAD_WINDOW: Final = 65536
"""So much of a body may be on its way, or wait in the server, that nobody there has taken."""

# ---- what the server sends on a stream


class Event:
    """Of a response."""


@dataclass(frozen=True)
class Head(Event):
    status: int
    fields: Fields


@dataclass(frozen=True)
class Data(Event):
    data: bytes


@dataclass(frozen=True)
class Trailers(Event):
    fields: Fields


@dataclass(frozen=True)
class Hints(Event):
    fields: Fields


class Continue(Event):
    """The body is asked for."""


class End(Event):
    """The response is whole."""


@dataclass(frozen=True)
class Reset(Event):
    """Nothing follows, and nothing more is taken. Behind `End`: the rest of the upload is not wanted."""

    why: str


# ---- what a client does


class Action:
    """On one stream."""


@dataclass(frozen=True)
class Opened(Action):
    """``body``: what came with the head. ``ends``: and nothing follows."""

    method: str
    target: str
    fields: Fields
    body: bytes
    ends: bool


@dataclass(frozen=True)
class Sent(Action):
    data: bytes


class Finished(Action):
    """The upload is whole."""


@dataclass(frozen=True)
class Allowed(Action):
    size: int


class Gone(Action):
    """It wants nothing any more."""


class Wire:
    """One stream, as both sides have it: each writes its own half of the attributes.

    Attributes:
        events: What the server has sent.
        acknowledged: Bytes of the upload that the server has passed on, or dropped.
    """

    def __init__(self, window: int) -> None:
        self.window: Final = window
        self.events: list[Event] = []
        self.acknowledged = 0


class Inbox:
    """What a connection's client has done and the server has not seen to yet. Any thread."""

    def __init__(self, wake: Callable[[], Any]) -> None:
        """``wake`` is called when something is there, in whatever thread puts it there."""
        self._wake = wake
        self._changed = threading.Condition()
        self._actions: deque[tuple[Wire | None, Action]] = deque()

    def put(self, wire: Wire | None, action: Action) -> None:
        """Of the stream ``wire``; None: of all, where the action is `Gone`."""
        with self._changed:
            self._actions.append((wire, action))
            self._changed.notify_all()
        self._wake()

    def first(self) -> tuple[Wire | None, Action] | None:
        """Take one; None: there is none."""
        with self._changed:
            return self._actions.popleft() if self._actions else None

    def of(self, wire: Wire, seconds: float) -> list[Action]:
        """Take all of one stream, and wait up to ``seconds`` for the first. That it is `Gone` stays here."""
        with self._changed:
            self._changed.wait_for(lambda: self._has(wire), seconds)
            taken = [entry for entry in self._actions if entry[0] is wire and type(entry[1]) is not Gone]
            self._actions = deque([entry for entry in self._actions if entry not in taken])
            return [action for _, action in taken]

    def _has(self, wire: Wire) -> bool:
        return any(whose is wire or whose is None for whose, _ in self._actions)

    def is_gone(self, wire: Wire) -> bool:
        """Tell whether the client has gone, as the server is yet to see."""
        with self._changed:
            return any(type(action) is Gone and whose in {wire, None} for whose, action in self._actions)
