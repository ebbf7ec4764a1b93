"""Stdin, stdout and stderr of a process that runs an application: kept open, and flushed at its end."""

from __future__ import annotations

import os
import sys


def hold_open() -> None:
    """Put /dev/null in the place of those that the application has closed.

    The next descriptor to be opened would have that number: a channel or a client would get what is printed.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            os.set_inheritable(fd, True)


def flush_stdio() -> None:
    """Flush what print() has buffered: os._exit does not. Never raises, whatever stands there by now."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except BaseException:  # noqa: BLE001, S112 - closed, gone, or an object of the application's
            continue
