"""A scoreboard whose layout is not ours: that of workers who were there before an upgrade.

The state that is handed over has the layout by its names, so a board of any version can be read. What
a worker then wrote somewhere else, or not at all, is found or is 0; nothing is ever written.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import TYPE_CHECKING, Any, cast

from gwctl import scoreboard
from gwctl.scoreboard import Record

if TYPE_CHECKING:
    from gwctl.supervisor.state import BoardFacts


class OlderBoard:
    """A board of another layout, for as long as a worker writes to it."""

    def __init__(self, facts: BoardFacts) -> None:
        self.facts = facts
        self._record_bytes = facts.fields["RECORD_BYTES"]
        self._map = mmap.mmap(facts.fd, facts.records_max * self._record_bytes, prot=mmap.PROT_READ)
        self._names = {index: name for name, index in scoreboard.FIELDS.items() if name not in _NO_PLACES}

    def record(self, index: int) -> OlderRecord:
        return OlderRecord(index, self)

    def place(self, field: int) -> int | None:
        """Where a field of our layout is in this one, in words; None: it has none."""
        name = self._names.get(field)
        return self.facts.fields.get(name) if name is not None else None

    def read(self, index: int, word: int, kind: str) -> Any:
        return struct.unpack_from(kind, self._map, index * self._record_bytes + word * 8)[0]

    def head(self, index: int) -> bytes:
        """What was noted of the request being served."""
        end = (index + 1) * self._record_bytes
        return self._map[index * self._record_bytes + (self.facts.fields["BUSY_SINCE"] + 1) * 8 : end]

    def latency(self, index: int) -> list[int]:
        start, count = self.facts.fields["LATENCY"], self.facts.fields["LATENCY_BUCKETS"]
        buckets = [self.read(index, start + each, "Q") for each in range(count)]
        return (buckets + [0] * scoreboard.LATENCY_BUCKETS)[: scoreboard.LATENCY_BUCKETS]

    def close_descriptor(self) -> None:
        """Nobody writes to it any more, or this is a worker of another one."""
        os.close(self.facts.fd)


_NO_PLACES = frozenset({"LATENCY_BUCKETS", "RECORD_BYTES"})


class _Words:
    """Reads by our indices what the board has elsewhere."""

    def __init__(self, board: OlderBoard, index: int, kind: str) -> None:
        self._board = board
        self._index = index
        self._kind = kind

    def __getitem__(self, field: int) -> Any:
        place = self._board.place(field)
        return 0 if place is None else self._board.read(self._index, place, self._kind)


class OlderRecord(Record):
    """One record of such a board, to be read as one of ours."""

    __slots__ = ("_board",)

    def __init__(self, index: int, board: OlderBoard) -> None:
        self.index = index
        self._board = board
        self.floats = cast("memoryview[float]", _Words(board, index, "d"))
        self.words = cast("memoryview", _Words(board, index, "Q"))
        self.request = memoryview(bytes(8) + board.head(index))

    @property
    def request_line(self) -> str:
        self.request = memoryview(bytes(8) + self._board.head(self.index))
        return super().request_line

    @property
    def board(self) -> OlderBoard:
        return self._board

    def latency(self) -> list[int]:
        return self._board.latency(self.index)
