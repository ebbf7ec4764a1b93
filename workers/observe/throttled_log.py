"""Errors that come back with each connection or request: told at once, then once in a while.

A full disk or a limit that is reached fails every request. A line for each would bury what else
happens, fill the disk that the log is on, and cost more than the request. So a kind of error is
told when it comes first, and after that at most every `QUIET_S` with how often it came meanwhile.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gwctl.log.event_log import Log

QUIET_S: Final = 60.0


class ThrottledLog:
    """The recurring errors of one worker, by kind; any thread (a race costs one line)."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._kinds: dict[str, tuple[float, int]] = {}

    def error(self, kind: str, text: str) -> None:
        """Log ``text``, or count it: the next line of its kind says how many it stands for."""
        if since := self._due(kind):
            self._log.error(text + since.removeprefix("."))

    def warning(self, kind: str, text: str) -> None:
        """The same for what may be nobody's fault."""
        if since := self._due(kind):
            self._log.warning(text + since.removeprefix("."))

    def _due(self, kind: str) -> str:
        """Return the end of the line after a dot, or nothing when there is to be none."""
        now = time.monotonic()
        quiet_until, untold = self._kinds.get(kind, (0.0, 0))
        if now < quiet_until:
            self._kinds[kind] = (quiet_until, untold + 1)
            return ""
        self._kinds[kind] = (now + QUIET_S, 0)
        return f". ({untold} more of this kind since it was last said)" if untold else "."
