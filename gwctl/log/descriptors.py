"""Which open file a descriptor is: an application may close all, and its own then have their numbers."""

from __future__ import annotations

import os


def identity(fd: int) -> tuple[int, int] | None:
    """Device and inode of what ``fd`` is open for; None: it is closed."""
    if fd < 0:
        return None
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino
