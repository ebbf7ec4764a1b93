"""What happened lately, in memory: the last records of a master, for whoever asks or follows.

Each is encoded once, when it happens. How many are kept is bounded, and how much they may take: a traceback
or the stacks of a hundred threads are as long as they are. The oldest go first; who follows and has not read
them yet is told how many those were.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from gwctl.json_text import encode
from gwctl.log.json_lines import shortened
from gwctl.log.level import Level
from gwctl.records import AnyRecord
from gwctl.records.happening import Happening, happening

KEPT_MAX: Final = 1000
KEPT_BYTES_MAX: Final = 1 << 20
EVENT_BYTES_MAX: Final = 1 << 16
"""Of one, as JSON; a longer one is cut."""
_TEXT_CHARS: Final = 8192
_WORD_CHARS: Final = 256
"""What is left of one that is cut: of its text, of each text in its figures."""

_decode: Final = msgspec.json.Decoder(Happening).decode


class Entry(NamedTuple):
    """One happening as JSON, and what is asked for."""

    number: int
    monotonic: float
    kind: str
    level: Level
    line: bytes


class HistorySnapshot(msgspec.Struct, frozen=True):
    last: int = 0
    """The number of the newest."""
    lines: tuple[bytes, ...] = ()
    """Those that are kept."""


class History:
    """The last happenings of the master that is called ``instance``."""

    def __init__(self, instance: str, clocks: tuple[Callable[[], float], Callable[[], float]]) -> None:
        """``clocks`` are the wall's and the monotonic one."""
        self.instance = instance
        self._wall, self._monotonic = clocks
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.last = 0
        """The number of the newest; 0: nothing has happened."""

    @classmethod
    def of(cls, instance: str) -> History:
        return cls(instance, (time.time, time.monotonic))

    @property
    def first(self) -> int:
        """The number of the oldest that is kept; one more than `last` if none is."""
        return self.last - len(self._entries) + 1

    @property
    def now(self) -> float:
        return self._monotonic()

    def add(self, record: AnyRecord) -> Happening:
        """Keep ``record``, as what happens now."""
        it = happening(record, self.last + 1, self._wall(), self._monotonic(), self.instance)
        line = encode(it)
        if len(line) > EVENT_BYTES_MAX:
            text, figures = shortened(it.text, _TEXT_CHARS), shortened(it.figures, _WORD_CHARS)
            line = encode(msgspec.structs.replace(it, text=text, figures=figures, cut=True))
        self._keep(it, line)
        return it

    def _keep(self, it: Happening, line: bytes) -> None:
        self.last = it.number
        self._entries.append(Entry(it.number, it.monotonic, it.kind, Level[it.level.upper()], line))
        self._bytes += len(line)
        while len(self._entries) > KEPT_MAX or (self._bytes > KEPT_BYTES_MAX and len(self._entries) > 1):
            self._bytes -= len(self._entries.popleft().line)

    def since(self, number: int) -> Iterator[Entry]:
        """Those from ``number`` on, the oldest first."""
        return islice(self._entries, max(0, number - self.first), None)

    # ---- upgrade

    def snapshot(self) -> HistorySnapshot:
        return HistorySnapshot(self.last, tuple(each.line for each in self._entries))

    def resume(self, snapshot: HistorySnapshot) -> None:
        """Go on with what another program has seen, from what is not understood on."""
        for line in snapshot.lines:
            try:
                it = _decode(line)
            except (ValueError, RecursionError):
                self._entries.clear()  # they are numbered without a gap
                self._bytes = 0
            else:
                self._keep(it, line)
        self.last = max(self.last, snapshot.last)
        if not self._entries or self._entries[-1].number != self.last:
            self._entries.clear()
            self._bytes = 0
