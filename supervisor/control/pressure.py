"""How near a worker is to what the kernel allows: open files."""

from __future__ import annotations

import os
import resource


def open_files(pid: int) -> tuple[int, int] | None:
    """Descriptors that a process has, and how many it may have; None where we may not know."""
    try:
        limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
        return len(os.listdir(f"/proc/{pid}/fd")), limit  # noqa: PTH208 - counted, not used
    except (OSError, AttributeError, ValueError):
        return None
