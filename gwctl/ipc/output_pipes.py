"""The pipes by which a master takes what a worker prints, one for each stream.

Flags belong to the open file, and what a worker inherits it may change: so the end that the master reads is
the master's alone, and is opened anew for the worker. That one reads only when its master is dead. Until then
it keeps the pipe whole: who prints in that moment finds a reader.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

STREAMS: Final = ("stdout", "stderr")


class MasterEnds(NamedTuple):
    """To read; they never block."""

    stdout: int
    stderr: int

    def close(self) -> None:
        for fd in self:
            os.close(fd)


class WorkerEnds(NamedTuple):
    """To write, and to read when the master is dead: /dev/null where that cannot be had (no /proc)."""

    stdout: int
    stderr: int
    stdout_back: int
    stderr_back: int

    def close(self) -> None:
        for fd in self:
            os.close(fd)


def make() -> tuple[MasterEnds, WorkerEnds]:
    """Make both pipes.

    Raises:
        OSError: No descriptor is left. Then nothing stays open.
    """
    opened: list[int] = []
    try:
        for _ in STREAMS:
            opened += os.pipe()
        for read in opened[::2]:
            os.set_blocking(read, False)
        opened += [_opened_again(read) for read in opened[::2]]
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    stdout, stdout_write, stderr, stderr_write, stdout_back, stderr_back = opened
    return MasterEnds(stdout, stderr), WorkerEnds(stdout_write, stderr_write, stdout_back, stderr_back)


def _opened_again(read: int) -> int:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{read}", flags)
    except (FileNotFoundError, PermissionError):
        return os.open(os.devnull, flags)
