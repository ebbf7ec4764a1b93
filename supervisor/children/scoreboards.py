"""The scoreboards of the pools: one for each, so no worker sees or writes what those of another pool do.

Rules
    - A pool's board is made with its first worker and lasts as long as the pool is in the settings or
      one of its workers lives: workers of two generations share their load by it.
    - A new worker keeps the board of its own pool. Of all others it has neither descriptor nor mapping.
    - A board from before an upgrade is gone on with if it is of this layout, of one pool, and sealed.
      Any other is an `OlderBoard`: read until its last worker is gone, and never mapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gwctl import sealed_files
from gwctl.ipc import scoreboard
from gwctl.ipc.scoreboard import Record, Scoreboard
from gwctl.supervisor.children.legacy_scoreboard import BoardSnapshot, OlderBoard

RECORDS_MAX: Final = 4096
"""Workers of one pool that can exist at once, dying ones included (8 MiB, touched on use)."""


class Boards:
    """The boards of this layout, by pool."""

    def __init__(
        self, boards: Mapping[str, Scoreboard] | None = None, records_max: int = RECORDS_MAX
    ) -> None:
        """``boards``: those that another program has made. All are kept until the first `keep`."""
        self._boards = dict(boards or {})
        self._records_max = records_max
        self._wanted: frozenset[str] | None = None

    def of(self, pool: str) -> Scoreboard:
        """The board of ``pool``, made at first need.

        Raises:
            OSError: No descriptor or no memory is left for one.
        """
        if pool not in self._boards:
            self._boards[pool] = Scoreboard(self._records_max)
        return self._boards[pool]

    def snapshot(self) -> tuple[BoardSnapshot, ...]:
        fields = dict(scoreboard.FIELDS)
        return tuple(
            BoardSnapshot(board.fd, board.records_max, scoreboard.LAYOUT, fields, pool)
            for pool, board in self._boards.items()
        )

    def items(self) -> Iterable[tuple[str, Scoreboard]]:
        return self._boards.items()

    def keep(self, pools: Iterable[str]) -> None:
        """These pools are in force: the boards of others go with their last workers."""
        self._wanted = frozenset(pools)
        for pool in list(self._boards):
            self._close_if_unused(pool)

    def release(self, pool: str, record: Record) -> None:
        """Give back the record of a worker that is gone."""
        self._boards[pool].release(record)
        self._close_if_unused(pool)

    def _close_if_unused(self, pool: str) -> None:
        if self._wanted is None or pool in self._wanted:
            return
        if not self._boards[pool].is_used:
            self._boards.pop(pool).close()

    def close_in_child(self, pool: str) -> None:
        """In a new worker of ``pool``: keep the mapping of its board, and nothing of all others."""
        for name, board in self._boards.items():
            if name == pool:
                board.close_descriptor()
            else:
                board.close()


def is_ours(layout: int, fields: Mapping[str, int], pool: str, fd: int) -> bool:
    """Tell whether new workers of ``pool`` can use a board that another program has made."""
    same = layout == scoreboard.LAYOUT and fields == scoreboard.FIELDS
    return bool(pool) and same and sealed_files.is_sealed(fd)


def boards_from(
    snapshots: Sequence[BoardSnapshot], used: Iterable[tuple[int, int]]
) -> list[Scoreboard | OlderBoard]:
    """Those that new workers can use, and those that are only read. ``used``: boards and records in use."""
    taken: dict[int, set[int]] = {}
    for board, record in used:
        taken.setdefault(board, set()).add(record)
    return [
        Scoreboard(each.records_max, each.fd, taken.get(index, set()))
        if is_ours(each.layout, each.fields, each.pool, each.fd)
        else OlderBoard(each)
        for index, each in enumerate(snapshots)
    ]
