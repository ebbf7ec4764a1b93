"""What processes hold in memory, as the kernel says."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = resource.getpagesize()


def resident_bytes(pid: int) -> int:
    """What the process holds in memory now; 0 where /proc does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
