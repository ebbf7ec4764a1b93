"""Who asked for events: what of the history was sent to him, and what is to be sent yet.

It holds a place in the history, not a copy: who reads slowly, or not at all, costs nothing, and loses what is
no longer kept when he gets there. He is told how many those were.
"""

from __future__ import annotations

from difflib import get_close_matches

import msgspec

from gwctl.control import protocol
from gwctl.errors import ControlError
from gwctl.log.level import Level
from gwctl.records.happening import KINDS
from gwctl.supervisor.history import Entry, History


class FollowerSnapshot(msgspec.Struct, frozen=True):
    """Where it is, and what it wants to see."""

    next: int
    until: int | None = None
    level: int = Level.DEBUG
    kinds: tuple[str, ...] = ()
    """As it named them: another program may know more of them."""
    sent: int = 0
    lost: int = 0


class Follower:
    """One request for events."""

    def __init__(self, history: History, snapshot: FollowerSnapshot) -> None:
        self._history = history
        self._next = snapshot.next
        self._until = snapshot.until
        self._level = snapshot.level
        self._patterns = snapshot.kinds
        self._kinds = {kind for kind in KINDS for each in snapshot.kinds if _is_meant(kind, each)}
        self._lost = snapshot.lost
        self._sent = snapshot.sent

    @classmethod
    def begin(cls, history: History, wish: protocol.Events) -> Follower:
        """Raises ControlError: a kind that is asked for does not exist."""
        for pattern in wish.kinds:
            if not any(_is_meant(each, pattern) for each in KINDS):
                raise ControlError(_no_such_kind(pattern))
        until = None if wish.follow else history.last
        self = cls(history, FollowerSnapshot(history.first, until, Level[wish.level.upper()], wish.kinds))
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
        return entry.level >= self._level and (not self._patterns or entry.kind in self._kinds)

    @property
    def done(self) -> bool:
        """Nothing will follow."""
        return self._until is not None and self._next > self._until

    @property
    def has_more(self) -> bool:
        """There is something that it has not looked at."""
        return not self.done and self._next <= self._history.last

    @property
    def is_due(self) -> bool:
        """There is something to send, or to say that there is nothing more."""
        return self.done or self.has_more

    def take(self, request: int | str, room: int) -> bytes:
        """Return what is to be sent now, up to ``room`` bytes or a little more.

        ``request`` is the client's name for it.
        """
        lines: list[bytes] = []
        first = self._history.first
        missed = (first if self._until is None else min(first, self._until + 1)) - self._next
        if missed > 0:
            self._lost += missed
            self._next = first
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
        return FollowerSnapshot(self._next, self._until, self._level, self._patterns, self._sent, self._lost)


def _is_meant(kind: str, pattern: str) -> bool:
    """A ``*`` stands for any part of a name. (fnmatch keeps what it has compiled, of whatever is asked.)"""
    first, *parts = pattern.split("*")
    if not parts:
        return kind == pattern
    *between, last = parts
    if not kind.startswith(first):
        return False
    at = len(first)
    for part in between:
        found = kind.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return kind.endswith(last) and at <= len(kind) - len(last)


def _no_such_kind(pattern: str) -> str:
    near = get_close_matches(pattern, KINDS, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "docs/events.md has all of them"
    return f"there is no event of the kind {pattern!r}: {hint}"
