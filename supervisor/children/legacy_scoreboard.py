"""A scoreboard that new workers do not use: that of workers who were there before an upgrade.

Its layout may not be ours: the state that is handed over has it by names, so a board of any version
can be read. What a worker then wrote somewhere else, or not at all, is found or is 0; nothing is ever
written. It may be shared by all pools, and its size may not be sealed. So it is never mapped: pread(2)
of what a worker has cut off finds nothing, where a mapping would end this process by SIGBUS.
"""

from __future__ import annotations

import os

import msgspec

from gwctl.ipc import scoreboard
from gwctl.ipc.scoreboard import (
    ANSWER_WORDS,
    ANSWERS,
    BUSY_SINCE,
    DURATION_PLACES,
    DURATIONS,
    LATENCY,
    LATENCY_BUCKETS,
    RECORD_BYTES,
    REQUEST_BYTES_MAX,
    Record,
)

_WORD = 8


class BoardSnapshot(msgspec.Struct, frozen=True):
    """A scoreboard, with its layout by names."""

    fd: int
    records_max: int
    layout: int
    fields: dict[str, int]
    pool: str = ""
    """Whose it is; empty: of all of them, as they once were."""


class OlderBoard:
    """One board, for as long as a worker writes to it."""

    def __init__(self, snapshot: BoardSnapshot) -> None:
        self.snapshot = snapshot
        self._record_bytes = snapshot.fields["RECORD_BYTES"]
        theirs = snapshot.fields
        named = {name: index for name, index in scoreboard.FIELDS.items() if name not in _NO_PLACES}
        self._places = {index: theirs[name] for name, index in named.items() if name in theirs}

    def record(self, index: int) -> OlderRecord:
        return OlderRecord(index, self)

    def read(self, index: int) -> bytearray:
        """One record, in our layout."""
        theirs = os.pread(self.snapshot.fd, self._record_bytes, index * self._record_bytes)
        theirs += bytes(self._record_bytes - len(theirs))
        ours = bytearray(RECORD_BYTES)
        for word, place in self._places.items():
            ours[word * _WORD : (word + 1) * _WORD] = theirs[place * _WORD : (place + 1) * _WORD]
        fields = self.snapshot.fields
        for name, length, place, most in _ROWS:
            if name in fields:
                start, count = fields[name] * _WORD, min(fields[length], most)
                ours[place * _WORD : (place + count) * _WORD] = theirs[start : start + count * _WORD]
        head = theirs[(fields["BUSY_SINCE"] + 1) * _WORD :][:REQUEST_BYTES_MAX]
        at = (BUSY_SINCE + 1) * _WORD
        ours[at : at + len(head)] = head
        return ours

    def close_descriptor(self) -> None:
        """Nobody writes to it any more, or this is a worker of another one."""
        os.close(self.snapshot.fd)


_ROWS = (
    ("LATENCY", "LATENCY_BUCKETS", LATENCY, LATENCY_BUCKETS),
    ("ANSWERS", "ANSWER_WORDS", ANSWERS, ANSWER_WORDS),
    ("DURATIONS", "DURATION_PLACES", DURATIONS, DURATION_PLACES),
)
"""Of several words each: the names of place and length, and what they are here."""
_NO_PLACES = frozenset({"RECORD_BYTES", *(name for row in _ROWS for name in row[:2])})
"""Several words, or none."""


class OlderRecord(Record):
    """One record of such a board. Take a `copy` to read it: this is what the copy last found."""

    __slots__ = ("_board",)

    def __init__(self, index: int, board: OlderBoard) -> None:
        super().__init__(0, memoryview(board.read(index)))
        self.index = index
        self._board = board

    def copy(self) -> Record:
        return Record(0, memoryview(self._board.read(self.index)))

    @property
    def board(self) -> OlderBoard:
        return self._board
