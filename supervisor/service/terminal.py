"""The terminal that a master in the foreground was started from.

Closing it sends HUP, as asking for a reload does. A fleet that was started by hand in a window is
wanted for as long as the window is there: then HUP means stop. The two are told apart by the
terminal itself, which is dead by the time its HUP arrives. A master that has long been without its
terminal (it was disowned by the shell) takes a HUP for what it is to daemons: reload.
"""

from __future__ import annotations

import os
from typing import Final

HANGUP_S: Final = 1.0
"""From the end of the terminal to the HUP for it, which may come from the kernel or through a shell."""


class Terminal:
    """``fd``: standard input; under a service manager, in a container or with nohup no terminal at all."""

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._is_there = os.isatty(fd)
        self._gone_at = float("-inf")

    def check(self, now: float) -> None:
        """Notice that it is gone. To be called in each turn of the loop."""
        if self._is_there and not os.isatty(self._fd):
            self._is_there = False
            self._gone_at = now

    def was_closed(self, now: float) -> bool:
        """Tell whether a HUP that arrives now is that of the terminal."""
        self.check(now)
        return now - self._gone_at <= HANGUP_S
