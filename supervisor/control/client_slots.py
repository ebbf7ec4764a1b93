"""Who keeps a place at the control socket, and who has to go: so that an operator always gets in.

All who may speak there are root or the master's user. Where the application runs as that user it may be
among them, with as many connections as it likes. So a place is kept by speaking. Rules

    - A client that has asked nothing for `IDLE_S`, and waits for no answer, is closed. Half a line is
      no question; an answer that is taken piece by piece is a sign of life.
    - Nobody is turned away for want of room. Who comes when all places are taken gets one: that of a
      process with more than `PEER_MAX` connections, that with the most of them; else that of a client
      that waits for nothing, the one that has been silent longest; else that of one that only follows events;
      else that of who has waited longest.
      What it has asked for is done all the same, only the answer is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Final, Protocol, TypeVar

IDLE_S: Final = 30.0
PEER_MAX: Final = 4
"""Connections of one process that count like those of several."""


class Client(Protocol):
    """What is known of one connection."""

    peer: int
    """Pid of who made it; 0: the system does not tell."""
    active_at: float
    """When it last asked something or took a part of an answer."""

    @property
    def waits(self) -> bool:
        """Tell whether it is owed an answer."""

    @property
    def follows(self) -> bool:
        """Tell whether all that it is owed is events, which have no end."""


C = TypeVar("C", bound=Client)


def idle(clients: Collection[C], now: float) -> list[C]:
    """Those who have said nothing for too long."""
    return [each for each in clients if not each.waits and now - each.active_at >= IDLE_S]


def next_idle_at(clients: Collection[C]) -> float:
    """When the next of them may have, if it says nothing; infinite when nobody ever will."""
    return min((each.active_at + IDLE_S for each in clients if not each.waits), default=float("inf"))


def who_leaves(clients: Collection[C]) -> C:
    """Whose place the next one gets. There is one at least."""
    connections = Counter(each.peer for each in clients if each.peer)

    def claim(client: C) -> tuple[int, bool, bool, float]:
        many = connections[client.peer]
        return (many if many > PEER_MAX else 0), not client.waits, client.follows, -client.active_at

    return max(clients, key=claim)
