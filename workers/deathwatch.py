"""When the master dies, its workers must not hold the port nor live on.

Linux: the kernel sends TERM the moment the parent dies (PR_SET_PDEATHSIG). It has to be set
after setuid, which clears it, and getppid is checked afterwards, in case the master died
before. The TERM handler closes the listeners at once and drains (see `process`). Elsewhere,
and as a second way, end of file on the channel does the same.

The end that no stuck application escapes is a C thread of faulthandler: ``drain_timeout_s``
after the death it writes all stacks to stderr and ends the process.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


class DeathWatch:
    """Knows whether the master lives; `finish_or_die` bounds what is left of this process."""

    def __init__(self, master_pid: int, drain_timeout_s: float) -> None:
        self._master_pid = master_pid
        self._drain_timeout_s = drain_timeout_s
        self._ending = False
        self.told_by_kernel = False
        """False: only the channel's end of file tells of the master's death."""

    def arm(self) -> None:
        """Ask the kernel for the signal. A refusal leaves `told_by_kernel` false."""
        if sys.platform == "linux":
            libc = ctypes.CDLL(None, use_errno=True)
            self.told_by_kernel = libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) == 0

    def master_is_gone(self) -> bool:
        return os.getppid() != self._master_pid

    def finish_or_die(self) -> None:
        """Start the clock: ``drain_timeout_s`` from now this process is gone, whatever it does."""
        if not self._ending:
            self._ending = True
            faulthandler.dump_traceback_later(self._drain_timeout_s, exit=True)
