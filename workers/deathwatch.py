"""When the master dies, its workers must not hold the port nor live on.

Three ways, because each has a hole:

    PR_SET_PDEATHSIG    The kernel sends TERM the moment the parent dies; the handler closes the
                        listeners and drains (see `process`). Set after setuid, which clears it;
                        getppid is checked afterwards, in case the master died before. Linux only,
                        and a main thread that is deep in a C library runs no handler.
    the channel's end   Elsewhere the same, by the loop. A blocked loop does not read.
    a waiting thread    Sleeps on the master's pidfd, never wakes while it lives, and starts the
                        clock whatever the main thread does.

The clock is a C thread of faulthandler: ``drain_timeout_s`` after the death it writes all
stacks to stderr and ends the process. No stuck application escapes it.
"""

from __future__ import annotations

import _thread
import ctypes
import faulthandler
import os
import select
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
        """Ask to be told. To be called as the user the worker stays, in a process without threads.

        The caller checks `master_is_gone` afterwards: a death before this tells nobody.
        """
        if sys.platform == "linux":
            libc = ctypes.CDLL(None, use_errno=True)
            self.told_by_kernel = libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) == 0
        if hasattr(os, "pidfd_open"):
            try:
                master = os.pidfd_open(self._master_pid)
            except OSError:
                return  # gone already (the caller's check), or a kernel or sandbox without pidfds
            # Not threading.Thread: applications list those, and gevent replaces them.
            _thread.start_new_thread(self._wait_for_death, (master,))

    def _wait_for_death(self, master: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
        poll = select.poll()
        poll.register(master, select.POLLIN)
        poll.poll()
        self.finish_or_die()

    def master_is_gone(self) -> bool:
        return os.getppid() != self._master_pid

    def finish_or_die(self) -> None:
        """Start the clock: ``drain_timeout_s`` from now this process is gone, whatever it does."""
        if not self._ending:
            self._ending = True
            faulthandler.dump_traceback_later(self._drain_timeout_s, exit=True)
