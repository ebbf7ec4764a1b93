"""Stdin, stdout and stderr: always open, and no worker reads the terminal.

A starter may have closed them (``2>&-``, some init scripts). The next descriptors that the
master opens would then have the numbers 0 to 2: the access log of ``stdout`` would go to the
pipe of its signals, and what an application prints into a selector.
"""

from __future__ import annotations

import os
import sys
from typing import Final

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
