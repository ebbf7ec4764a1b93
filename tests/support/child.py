"""Running a function in a forked child, which may become another user, and never returns into the test."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

NOBODY = 65534


def start(function: Callable[[], str], uid: int | None = None) -> tuple[int, int]:
    """Fork. Returns the pid and a descriptor from which the function's result can be read to its end.

    What ``function`` raises is the result, as a traceback. Modules that it needs should be
    imported before: another user may not be able to read them.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            result = function()
        except BaseException:  # the child must not unwind into the test
            result = traceback.format_exc()
        os.write(write, result.encode())
        os._exit(0)
    os.close(write)
    return pid, read


def result(pid: int, read: int) -> str:
    """Wait for the child and return what its function did."""
    blocks = []
    while block := os.read(read, 65536):
        blocks.append(block)
    os.close(read)
    os.waitpid(pid, 0)
    return b"".join(blocks).decode()
