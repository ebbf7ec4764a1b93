"""The master's loop: one `selectors` selector, one thread, and signals as bytes on a descriptor.

Everything the master waits for is a descriptor registered with a callback that takes the
event mask. Signals arrive through `signal.set_wakeup_fd`, one byte each, so that they are
ordinary readable events: a handler never runs policy, it only exists so that the interpreter
notes the signal. (signalfd was the alternative; it needs the signals blocked, and a blocked
mask is inherited by whatever the application executes.)

Blocking signals around a fork is what keeps them from being lost or doubled: until the
child has taken the wakeup descriptor out, a signal meant for it would be written to the
*master's* descriptor.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from gwctl import signal_stack

Callback = Callable[[int], None]

HANDLED: Final = (
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
)
"""SIGPIPE is ignored by the interpreter."""


MASTERS_ONLY: Final = (
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "FDSTORE",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
)
"""Environment variables by which a service manager speaks to the master and to nobody else."""


def _note(_signum: int, _frame: FrameType | None) -> None:
    """Do nothing: the byte on the wakeup descriptor is the news."""


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Hold all signals back; those that arrive meanwhile are delivered at the end."""
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Loop:
    """Selector plus signal wakeup. `wait` runs the callbacks of what is ready."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._wakeup_read, self._wakeup_write = socket.socketpair()
        self._wakeup_read.setblocking(False)
        self._wakeup_write.setblocking(False)
        self._signals: list[int] = []
        self.selector.register(self._wakeup_read, selectors.EVENT_READ, self._read_signals)

    def install_signals(self) -> None:
        """Route the handled signals to the wakeup descriptor."""
        signal_stack.enlarge()  # PYTHONFAULTHANDLER=1 is usual in containers
        signal.set_wakeup_fd(self._wakeup_write.fileno(), warn_on_full_buffer=False)
        for signum in HANDLED:
            signal.signal(signum, _note)

    def ignore_signals(self) -> None:
        """Nothing is left to be told: one that comes while the interpreter ends must not end it by force.

        The interpreter gives handlers of ours back to the kernel at its end, but not this.
        """
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1):
            signal.signal(signum, signal.SIG_IGN)

    def uninstall_signals(self) -> None:
        """Give the default handlers back (in tests)."""
        signal.set_wakeup_fd(-1)
        for signum in HANDLED:
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until something is ready or ``timeout_s`` passed; None waits for ever."""
        for key, mask in self.selector.select(timeout_s):
            if self.selector.get_map().get(key.fd) is key:  # an earlier callback may have taken it out
                key.data(mask)

    def take_signals(self) -> list[int]:
        """Signals since the last call, in order of arrival; repeats are kept."""
        taken, self._signals = self._signals, []
        return taken

    def _read_signals(self, _mask: int) -> None:
        while True:
            try:
                data = self._wakeup_read.recv(4096)
            except BlockingIOError:
                return
            self._signals.extend(data)

    def close_in_child(self) -> None:
        """First acts of a forked child, signals still blocked.

        The selector is closed, never unregistered from: the epoll set is shared with the
        master, and taking a descriptor out of it would deafen the master.
        """
        signal.set_wakeup_fd(-1)
        for signum in HANDLED:
            signal.signal(signum, signal.SIG_DFL)
        self.selector.close()
        self._wakeup_read.close()
        self._wakeup_write.close()

    def close(self) -> None:
        self.selector.close()
        self._wakeup_read.close()
        self._wakeup_write.close()


def clean_environment() -> None:
    """Drop what only the master may act on, so that no worker or its child answers for it."""
    for name in MASTERS_ONLY:
        os.environ.pop(name, None)
