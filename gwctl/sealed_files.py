"""Memory files whose size is fixed: whoever maps one is safe from a holder who would cut it short."""

from __future__ import annotations

import fcntl
from typing import Final

_LAST_SEAL: Final = 1  # F_SEAL_SEAL of linux/fcntl.h; fcntl's constants are there on Linux only
_SHRINK: Final = 2  # F_SEAL_SHRINK
_GROW: Final = 4  # F_SEAL_GROW
WRITE: Final = 8  # F_SEAL_WRITE


def is_sealed(fd: int) -> bool:
    """Tell whether nobody can change the size of the memory file ``fd``."""
    return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SHRINK)


def seal(fd: int, more: int = 0) -> None:
    """Fix the size of a memory file (made with ``MFD_ALLOW_SEALING``) for all its holders, for good.

    ``more``: further seals, as of fcntl(2).
    """
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SHRINK | _GROW | _LAST_SEAL | more)
