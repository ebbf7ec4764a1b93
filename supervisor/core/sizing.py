"""How many workers ``auto`` is: the least that processors and memory allow.

What a worker takes
    Before any worker of the pool is ready nobody knows: `WORKER_BYTES` is taken, and as much for the master.
    Then it is what a worker has written itself, as that is what one more costs. What workers share counts
    once: code, libraries, with ``preload`` most of the application. Of several workers it is the median,
    which one that has grown out of proportion does not change.

Rules
    - Room for one more worker is always left: a successor is begun before the worker goes that it replaces.
    - A worker that was larger counts as it was (`FORGET_S`): sizes that go up and down do not have a pool
      grow and shrink with them.
    - A reload keeps the size. Workers of a new generation are measured anew, and until then it stays.
    - As long as none was measured, nobody is let go for memory: the guess only keeps a pool from growing.
    - Never less than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from gwctl.config.model.types import WORKERS_MAX
from gwctl.wording import size

WORKER_BYTES: Final = 128 << 20
"""What a worker of a usual web application is assumed to need, until one is measured."""

FORGET_S: Final = 600.0
"""Workers have been smaller for so long: only then may there be more of them."""

SMALLER: Final = 0.9
"""Of what they were: from here on they are."""


class Footprint(Struct, eq=False):
    """What a worker of one pool takes of the machine's memory."""

    own_bytes: int = 0
    """What it has written itself; 0: none was measured yet."""
    shared_bytes: int = 0
    """What it shares with others, as far as that can be."""
    as_large_at: float = 0.0
    """When workers were last as large as this, about."""
    other_code: bool = False
    """It is of workers of another generation."""

    def observe(self, workers: Sequence[tuple[int, int]], now: float) -> None:
        """Take in what workers have written themselves, and what they hold with all that they share."""
        own_bytes = _median([own for own, _ in workers])
        if own_bytes >= SMALLER * self.own_bytes:
            self.as_large_at = now
        if self.other_code or own_bytes > self.own_bytes or now - self.as_large_at >= FORGET_S:
            self.own_bytes, self.as_large_at, self.other_code = own_bytes, now, False
            self.shared_bytes = max(0, _median([held - own for own, held in workers]))

    def fits(self, memory_bytes: int, master_bytes: int) -> int:
        """How many such workers there is memory for; as many as there may be where none is known."""
        if not memory_bytes:
            return WORKERS_MAX
        if not self.own_bytes:
            return max(1, memory_bytes // WORKER_BYTES - 1)
        return max(1, (memory_bytes - master_bytes - self.shared_bytes) // self.own_bytes - 1)

    def why(self, memory_bytes: int, fits: int) -> str:
        """``memory allows 7 of 112 MiB each``; empty where none is known."""
        if not memory_bytes:
            return ""
        each = f" of {size(max(self.own_bytes, 1 << 20))} each" if self.own_bytes else ""
        return f"memory allows {fits}{each}"


def _median(values: Sequence[int]) -> int:
    """The upper one of two. (The module ``statistics`` would cost each master 1 MiB.)"""
    return sorted(values)[len(values) // 2]
