"""Descriptors that clients do not get: connections may have all but a reserve.

A process that is out of descriptors cannot open a file, a database or a temporary file for a
body; whoever opens idle connections would fail everybody's requests. So a worker stops
accepting a little earlier, and the connections wait in the backlog.

The kernel gives the lowest number that is free: one at `ceiling` or above says that so many are
in use. An accepted connection's number costs nothing to look at; only when it was so high is the
next one asked for, by making one.
"""

from __future__ import annotations

import errno
import os
import resource
from typing import Final

_PART: Final = 8
_LEAST: Final = 8
_MOST: Final = 256
_NONE: Final = 1 << 62


class Descriptors:
    """The reserve of one worker, by the limit that is in force when it is made."""

    def __init__(self) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit == resource.RLIM_INFINITY:
            limit = _NONE
        used = _next()
        self.ceiling = max(limit - min(max(limit // _PART, _LEAST), _MOST), used + (limit - used) // 2)
        self._kept = limit - self.ceiling

    def check(self) -> None:
        """Return if there is one for another connection.

        Raises:
            OSError: EMFILE.
        """
        if _next() >= self.ceiling:
            why = f"{os.strerror(errno.EMFILE)}, but for {self._kept} kept for the application"
            raise OSError(errno.EMFILE, why)

    def give_all(self) -> None:
        """Keep no more: those that connect now are the last."""
        self.ceiling = _NONE


def _next() -> int:
    """Return the number that the next descriptor will have.

    Raises:
        OSError: There is none.
    """
    number = os.eventfd(0)
    os.close(number)
    return number
