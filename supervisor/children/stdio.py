"""Stdin, stdout and stderr: always open, and no worker reads the terminal or sets the flags of others.

A starter may have closed them (``2>&-``, some init scripts). The next descriptors that the
master opens would then have the numbers 0 to 2: the access log of ``stdout`` would go to the
pipe of its signals, and what an application prints into a selector.

What is inherited is one open file for all, and O_NONBLOCK and O_APPEND are flags of the open file: an
application that sets them for itself would set them for its master and for all others. So each worker opens
its stdout and stderr anew, and the master opens its log anew, where that can be done: pipes, terminals and
files that are appended to. It cannot with sockets (systemd's journal), with what this user may not open, and
with a file that is written to at a position which all share.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from gwctl.log import destination

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def hold_open() -> None:
    """Put /dev/null in the place of those that are closed. Before anything else is opened."""
    for fd, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free number is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:  # so Python starts when it finds one closed
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def leave_stdin() -> None:
    """In a forked child: read nothing.

    Its process group is not the terminal's: read() would fail with EINTR for the SIGTTIN, and
    Python would try it again for ever (``breakpoint()``, ``input()``).
    """
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)


def own_streams() -> None:
    """In a forked child: have open files of its own for stdout and stderr."""
    for fd in (1, 2):
        own = _opened_anew(fd)
        if own >= 0:
            os.set_blocking(own, os.get_blocking(fd))
            os.dup2(own, fd)
            os.close(own)


@contextmanager
def another_of_stderr() -> Iterator[int]:
    """Lend a descriptor for a child: an open file of its own of what stderr is now, or stderr's."""
    own = _opened_anew(2)
    try:
        yield own if own >= 0 else 2
    finally:
        if own >= 0:
            os.close(own)


def own_log(to: str = destination.STDERR) -> int:
    """Where the master writes its log: an open file of its own that never blocks, or stderr.

    ``to``: as `gwctl.log.destination.settled` has it; elsewhere nothing is opened for it.
    """
    if to != destination.STDERR:
        return 2
    return own if not stat.S_ISREG(os.fstat(2).st_mode) and (own := _opened_anew(2)) >= 0 else 2


def _opened_anew(fd: int) -> int:
    """Another open file of what ``fd`` writes to, which does not block; -1: that cannot be."""
    mode, flags = os.fstat(fd).st_mode, fcntl.fcntl(fd, fcntl.F_GETFL)
    appends = stat.S_ISREG(mode) and flags & os.O_APPEND
    if not (appends or stat.S_ISFIFO(mode) or os.isatty(fd)) or flags & os.O_ACCMODE == os.O_RDONLY:
        return -1
    wanted = os.O_WRONLY | flags & os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with suppress(OSError):  # no /proc, another user's, nobody reads a named pipe
        return os.open(f"/proc/self/fd/{fd}", wanted)
    return -1
