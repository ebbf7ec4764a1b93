"""Descriptors that clients do not get: connections may have all but a reserve.

A process that is out of descriptors cannot open a file, a database or a temporary file for a
body; whoever opens idle connections would fail everybody's requests. So a worker stops
accepting a little earlier, and the connections wait in the backlog.

The kernel gives the lowest number that is free: one at `ceiling` or above says that so many are
in use. An accepted connection's number costs nothing to look at; only when one was near lately are the
next ones asked for, by making one. Lately: a connection that ends leaves its low number to the
next one, and another one after that would be above the ceiling again, one higher each time.

A connection that is only told 503 may have a quarter of what is kept: it is over in a moment.
"""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress
from time import monotonic
from typing import Final

from gwctl.workers.exchange.descriptor_limit import UNLIMITED, descriptors_max, number_of

_PART: Final = 8
_LEAST: Final = 8
_MOST: Final = 256
_NEAR: Final = 4
_SCARCE_S: Final = 1.0
"""So long after a number near the ceiling each connection is asked for."""


class Descriptors:
    """The reserve of one worker, by the limit that is in force when it is made."""

    def __init__(self) -> None:
        self._limit = limit = descriptors_max()
        self._used = used = _next()
        self.ceiling = max(limit - min(max(limit // _PART, _LEAST), _MOST), used + (limit - used) // 2)
        self._kept = limit - self.ceiling
        self._scarce_until = 0.0

    @property
    def scarce(self) -> bool:
        """Tell whether they must be asked for; costs nothing when there are enough."""
        if not self._scarce_until:
            return False
        if monotonic() > self._scarce_until:
            self._scarce_until = 0.0
        return True

    def got(self, number: int) -> None:
        """Note the number that a connection has got."""
        if number >= self.ceiling - _NEAR:
            self._scarce_until = monotonic() + _SCARCE_S

    def check(self, *, to_refuse: bool = False) -> None:
        """Return if there is one for another connection, or for one that is to be refused.

        Raises:
            OSError: EMFILE.
        """
        if _next() >= self.ceiling + (self._kept // 4 if to_refuse else 0):
            self._scarce_until = monotonic() + _SCARCE_S
            why = f"{os.strerror(errno.EMFILE)}, but for {self._kept} kept for the application"
            raise OSError(errno.EMFILE, why)

    def take_back(self) -> str:
        """Have the limit again that the application has lowered; return what to say, or "" if it has not."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(self._limit, number_of(hard))
        if number_of(soft) >= wanted:
            return ""
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard if wanted == UNLIMITED else wanted, hard))
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft:
            return ""
        return (
            f"the application had lowered its limit of open files to {soft}, which let nobody in: it is what "
            "it was when the worker began. `nofile` sets it, and `connections_max` limits connections"
        )

    def none_left(self, connections: int) -> bool:
        """Tell whether the application has lowered the limit, for good, so far that nobody can be served."""
        limit = descriptors_max()
        return limit < self._limit and (limit <= self._used or not connections)

    def give_all(self) -> None:
        """Keep no more: those that connect now are the last."""
        self.ceiling = UNLIMITED


def _next() -> int:
    """Return the number that the next descriptor will have.

    Raises:
        OSError: There is none.
    """
    number = os.eventfd(0)
    os.close(number)
    return number
