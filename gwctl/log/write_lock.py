"""An advisory lock among the processes that write one log, which cannot hold anybody up.

A pipe keeps 4096 bytes together and no more (PIPE_BUF). What is longer is written in pieces, and
would be mixed with what other processes write meanwhile, unless they wait for each other.

Rules
    - It is a record lock (fcntl(2)) on a memory file that all of them have inherited. The kernel
      gives it back when its holder dies, and a fork does not inherit it.
    - Nobody relies on it. A holder that is stopped, or an application that locks the file, costs each
      of the others `PATIENCE_S`, and for `IMPATIENT_S` after that they only try.
    - The file is sealed, empty: what an application wrote there would stay for as long as the master lives.
    - The descriptor is known by its inode: an application that closes all descriptors and opens its
      own ones must not find one of its files locked, or the locks it has on it gone.
"""

from __future__ import annotations

import fcntl
import os
import select
import time
from typing import Final

from gwctl.log.descriptors import identity
from gwctl.sealed_files import WRITE, seal

PATIENCE_S: Final = 0.25
IMPATIENT_S: Final = 60.0
_PAUSE_MS: Final = 1
_YIELDS: Final = 20
"""A holder needs some microseconds, if it is running: most waits are over after one of these."""


class WriteLock:
    """One process's view of the lock. -1: there is none, and `take` always fails."""

    def __init__(self, fd: int = -1) -> None:
        self.fd = fd
        self._inode = identity(fd)
        self._impatient_until = 0.0
        self._pause = select.poll()

    @classmethod
    def make(cls) -> WriteLock:
        """A new one; without memory files (not Linux) or descriptors, one that always fails."""
        try:
            fd = os.memfd_create("gwctl-log-lock", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            seal(fd, WRITE)
        except (OSError, AttributeError):
            return cls()
        return cls(fd)

    def take(self) -> bool:
        """Get it, or give up after `PATIENCE_S`. A second thread of this process gets it, too."""
        if self.fd < 0 or identity(self.fd) != self._inode:
            return False
        return self._try() or self._wait()

    def give_back(self) -> None:
        """After `take` was True."""
        if identity(self.fd) == self._inode:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def _wait(self) -> bool:
        begin = time.monotonic()
        if begin < self._impatient_until:
            return False
        for _ in range(_YIELDS):
            os.sched_yield()
            if self._try():
                return True
        while time.monotonic() < begin + PATIENCE_S:
            self._pause.poll(_PAUSE_MS)
            if self._try():
                return True
        self._impatient_until = time.monotonic() + IMPATIENT_S
        return False

    def _try(self) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
