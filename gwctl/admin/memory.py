"""What each worker holds of the machine's memory, with shared pages by their share (PSS).

The kernel adds it up page by page (/proc/PID/smaps_rollup): 50 ms for a gigabyte, more than the master may
stand still. So it is measured here, in a thread, only if somebody asks for figures, and the answer is of the
time before. Left out are workers into which this process may not look: those of another user, and those that
became another user themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

EVERY_S: Final = 30.0
PART_MAX: Final = 0.02
"""Of the time: what takes long is done less often."""
_FIELD: Final = "Pss:"
_KIB: Final = 1024


class ProportionalMemory:
    """Measured again and again. ``measured`` is by pid."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[int], int | None] | None = None,
    ) -> None:
        self.measured: dict[int, int] = {}
        self._clock = clock
        self._read = read or proportional_bytes
        self._next_at = clock()

    @property
    def due(self) -> bool:
        return self._clock() >= self._next_at

    def put_off(self) -> None:
        """It is being measured: not again meanwhile."""
        self._next_at = float("inf")

    def measure(self, pids: Iterable[int]) -> None:
        """Measure these. Called in a thread."""
        began = self._clock()
        found = {pid: self._read(pid) for pid in pids}
        ended = self._clock()
        self.measured = {pid: value for pid, value in found.items() if value is not None}
        self._next_at = ended + max(EVERY_S, (ended - began) / PART_MAX)


def proportional_bytes(pid: int) -> int | None:
    """What the kernel says of one process; None: nothing, or not to us."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * _KIB for line in lines if line.startswith(_FIELD)), None)
