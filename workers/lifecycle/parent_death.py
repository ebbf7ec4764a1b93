"""When the master dies, its workers must not hold the port nor live on.

Four ways, because each has a hole:

    PR_SET_PDEATHSIG    The kernel sends TERM the moment the parent dies; the handler closes the
                        listeners and drains (see `process`). Set after setuid, which clears it;
                        getppid is checked afterwards, in case the master died before. Linux only,
                        and a main thread that is deep in a C library runs no handler.
    the channel's end   Elsewhere the same, by the loop. A blocked loop does not read.
    a waiting thread    Sleeps on the master's pidfd, never wakes while it lives, and starts the
                        clock whatever the main thread does. If that one does not close the listeners
                        within `REACT_S`, being in a C library, this one lets go of them.
    the C library       Where C code holds the interpreter and never gives it back, no Python runs
                        any more, in no thread. What the kernel then calls is in C, too (`die_by_alarm`).

The clock is a C thread of faulthandler: when a master would have killed, `KILL_S` after
``drain_timeout_s`` is over, it writes all stacks to stderr and ends the process. Who holds the
interpreter is ended by SIGALRM, at the earliest after 39 s and not at all where ``drain_timeout_s``
is longer than 60 s.
"""

from __future__ import annotations

import _thread
import ctypes
import faulthandler
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from gwctl.ipc.assignment import EXIT_GRACE_S

KILL_S: Final = EXIT_GRACE_S + 1.0
"""After the time for work. Before that the process ends itself where it can."""
POLL_S: Final = 1.0
"""Between two looks where no pidfd can be had any more."""
REACT_S: Final = 0.2
"""For the main thread to take its TERM."""

_PR_SET_PDEATHSIG: Final = 1
_OURS: Final = 6
"""So many real-time signals are for others: those of `gwctl.ipc.assignment` are among them."""


class DeathWatch:
    """Knows whether the master lives; `finish_or_die` bounds what is left of this process."""

    def __init__(self, master_pid: int, drain_timeout_s: float) -> None:
        self._master_pid = master_pid
        self._drain_timeout_s = drain_timeout_s
        self._ending = False
        self.told_by_kernel = False
        """False: only the channel's end of file tells of the master's death."""
        self.unheard: Callable[[], None] = _nothing
        """What to do in place of a main thread that does not hear of it; called in another thread."""
        self.died: Callable[[], None] = _nothing
        """What to do first of all, in whichever thread."""

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
        if self.told_by_kernel and (number := alarm_after(self._drain_timeout_s + KILL_S)):
            die_by_alarm(number)
        while not self._has_died(master):
            try:  # the application closed that descriptor before this thread slept on it
                master = os.pidfd_open(self._master_pid)
            except OSError:
                time.sleep(POLL_S)
        self.finish_or_die()
        time.sleep(REACT_S)
        self.unheard()

    def _has_died(self, master: int) -> bool:
        """Sleep until something comes of ``master``; tell whether it was the master's end."""
        poll = select.poll()
        poll.register(master, select.POLLIN)
        poll.poll()
        return self.master_is_gone()

    def master_is_gone(self) -> bool:
        return os.getppid() != self._master_pid

    def finish_or_die(self) -> None:
        """Start the clock: `KILL_S` after ``drain_timeout_s`` this process is gone, whatever it does."""
        self.died()
        if not self._ending:
            self._ending = True
            faulthandler.dump_traceback_later(self._drain_timeout_s + KILL_S, exit=True)


def alarm_after(seconds: float) -> int:
    """The number of a signal that nobody else uses, more than ``seconds``; 0: there is none."""
    return next((n for n in range(signal.SIGRTMIN + _OURS, signal.SIGRTMAX + 1) if n > seconds), 0)


def die_by_alarm(number: int) -> None:
    """Have the kernel end this process ``number`` seconds after its parent's death, without Python.

    To be called in a thread besides the main one: each has a signal of its own for the death of the
    parent, and the main thread's is taken. A handler of Python's would wait for the interpreter. This one is
    alarm() of the C library itself, which takes the number of the signal for the seconds.
    """
    libc = ctypes.CDLL(None)
    libc.signal(number, ctypes.cast(libc.alarm, ctypes.c_void_p))
    libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _nothing() -> None:
    """Nobody has anything to let go of."""
