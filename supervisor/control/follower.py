"""Who asked for events: what of the history was sent to him, and what is to be sent yet.

It holds a place in the history, not a copy: who reads slowly, or not at all, costs nothing, and loses what is
no longer kept when he gets there. He is told how many those were.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

import msgspec

from gwctl.control import protocol
from gwctl.errors import ControlError
from gwctl.log import Level
from gwctl.records.happening import KINDS
from gwctl.supervisor.history import Entry, History


class FollowerSnapshot(msgspec.Struct, frozen=True):
    """Where it is, and what it wants to see."""

    next: int
    until: int | None = None
    level: int = Level.DEBUG
    kinds: tuple[str, ...] = ()


class Follower:
    """One request for events."""

    def __init__(self, history: History, snapshot: FollowerSnapshot) -> None:
        self._history = history
        self._next = snapshot.next
        self._until = snapshot.until
        self._level = Level(snapshot.level)
        self._kinds = frozenset(snapshot.kinds)
        self._lost = 0
        self._sent = 0

    @classmethod
    def begin(cls, history: History, wish: protocol.Events) -> Follower:
        """Raises ControlError: a kind that is asked for does not exist."""
        kinds = tuple(sorted(_kinds(wish.kinds)))
        until = None if wish.follow else history.last
        self = cls(history, FollowerSnapshot(history.first, until, Level[wish.level.upper()], kinds))
        self._skip(wish.since_s, wish.last)
        return self

    def _skip(self, since_s: float | None, last: int | None) -> None:
        """Begin with what is not older than ``since_s``, and with at most ``last`` of those that it wants."""
        wanted = [each for each in self._history.since(self._next) if self._wants(each)]
        if since_s is not None:
            oldest = self._history.now - since_s
            wanted = [each for each in wanted if each.monotonic >= oldest]
        if last is not None:
            wanted = wanted[-last:] if last else []
        self._next = wanted[0].number if wanted else self._history.last + 1

    def _wants(self, entry: Entry) -> bool:
        return entry.level >= self._level and (not self._kinds or entry.kind in self._kinds)

    @property
    def done(self) -> bool:
        """Nothing will follow."""
        return self._until is not None and self._next > self._until

    @property
    def is_due(self) -> bool:
        """There is something to send, or to say that there is nothing more."""
        return self.done or self._next <= self._history.last

    def take(self, request: int | str, room: int) -> bytes:
        """Return what is to be sent now, up to ``room`` bytes or a little more.

        ``request`` is the client's name for it.
        """
        lines: list[bytes] = []
        missed = self._history.first - self._next
        if missed > 0:
            self._lost += missed
            self._next = self._history.first
            lines.append(protocol.encode_lost(request, missed))
            room -= len(lines[0])
        for entry in self._history.since(self._next):
            if room <= 0 or self.done:
                break
            self._next = entry.number + 1
            if self._wants(entry):
                lines.append(protocol.encode_event(request, entry.line))
                room -= len(lines[-1])
                self._sent += 1
        return b"".join(lines)

    def result(self) -> dict[str, int]:
        return {"events": self._sent, "lost": self._lost}

    def snapshot(self) -> FollowerSnapshot:
        return FollowerSnapshot(self._next, self._until, self._level, tuple(sorted(self._kinds)))


def _kinds(patterns: Iterable[str]) -> set[str]:
    """Those that ``patterns`` mean; a ``*`` stands for any part of a name."""
    meant: set[str] = set()
    for pattern in patterns:
        found = {each for each in KINDS if fnmatchcase(each, pattern)}
        if not found:
            near = get_close_matches(pattern, KINDS, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "docs/events.md has all of them"
            raise ControlError(f"there is no event of the kind {pattern!r}: {hint}")
        meant |= found
    return meant
