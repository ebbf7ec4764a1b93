"""What a worker has written of its memory itself: that is what one more of its kind would take.

The kernel adds it up page by page (/proc/self/smaps_rollup): up to 50 ms for a gigabyte. So it is not done
at each look, and by the worker, which alone stands still for it: a reader from outside waits for a lock that
a process without memory may hold for long. In between it goes up and down with the resident size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

PART: Final = 0.25
"""By so much the resident size differs: it is added up anew."""

FIRST_S: Final = 60.0
AGAIN_MAX_S: Final = 3600.0
"""Pages that were shared become private by being written to, at the same size: it is added up anew after a
minute, then each time after twice as long, up to this."""

_FIELDS: Final = frozenset({"Private_Dirty:", "Private_Hugetlb:", "Swap:"})
_KIB: Final = 1024


class PrivateMemory:
    """Of this process."""

    def __init__(self, read: Callable[[], int] | None = None) -> None:
        """``read`` adds it up, for tests."""
        self._read = read or private_bytes
        self._found = self._held = 0
        self._wait_s = FIRST_S
        self._due_at = 0.0

    def measure(self, held: int, now: float) -> int:
        """Tell it by the resident size ``held``; 0: the kernel does not say."""
        if now >= self._due_at or abs(held - self._held) > PART * self._held:
            if self._held and now >= self._due_at:
                self._wait_s = min(AGAIN_MAX_S, 2 * self._wait_s)
            self._due_at = now + self._wait_s
            self._found, self._held = self._read(), held
        return max(0, min(held, self._found + held - self._held)) if self._found else 0


def private_bytes() -> int:
    """What this process shares with nobody, and no file has; 0: the kernel does not say."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_bytes().decode("ascii", "replace").splitlines()
    except OSError:
        return 0
    words = (line.split() for line in lines)
    return sum(int(each[1]) * _KIB for each in words if each and each[0] in _FIELDS)
