"""The master as the parent of those whose parent has ended.

A template forks a worker through a process in between that ends at once, so that the worker becomes a
child of the nearest ancestor that asked for such orphans. With that the master waits for it as for one
that it forked itself. Asked for when the first template is made: from then on it also gets, and
reaps, what applications leave behind.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> None:
    """Ask for them. It lasts for the life of this process, an exec included; children do not inherit it.

    Raises:
        OSError: The kernel refuses, or there is no such thing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "prctl"):
        raise OSError(0, "orphans cannot be adopted on this system")
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
