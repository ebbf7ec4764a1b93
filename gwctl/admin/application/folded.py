"""What dead workers have counted, in one file for each pool, so that each of them counts exactly once.

How it works
    The file has the values, and the numbers of the workers in them whose folders may still be there. To fold
    a worker is to write a new file with its values and its number, put it in the place of the old one
    (rename(2)), and then remove the worker's folder. Whoever finds a folder whose number is in the file knows
    that it counts already, and only removes it. So this process can be killed at any moment.

    Nothing is synced to the disk: the folder does not outlive the master, let alone the machine.

    Two admin processes may run for a moment, when one replaces the other: who reads or folds holds a lock,
    which goes with its process.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from gwctl.admin.application.files import FOLDER
from gwctl.admin.application.values import Values
from gwctl.errors import GwctlError

NAME: Final = ".folded"
"""Of the folder, beside those of the pools: no pool can be called so."""
_LOCK: Final = ".lock"
_SUFFIX: Final = ".folded"
_LOCK_S: Final = 2.0
_POLL_S: Final = 0.01
_MODE: Final = 0o600
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
BYTES_MAX: Final = 48 << 20
"""More than as many series as there may be, each with the longest key. An application that runs as the same
user may put here what it likes."""


class Folded(msgspec.Struct):
    """One pool's. ``workers`` are those that count here and whose folders may be there."""

    workers: set[int] = set()
    values: Values = msgspec.field(default_factory=Values)


class StoreError(GwctlError):
    """It cannot be read or written; the text says why."""


class DamagedError(StoreError):
    """It is not what was written, and will not become so."""


class Store:
    """The files, while the lock is held."""

    def __init__(self, folder: int) -> None:
        self._folder = folder

    def load(self, pool: str) -> Folded:
        """What there is, or nothing yet.

        Raises:
            DamagedError: It is lost.
            StoreError: It cannot be read now.
        """
        try:
            fd = os.open(pool + _SUFFIX, _READ, dir_fd=self._folder)
            with os.fdopen(fd, "rb") as file:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_size > BYTES_MAX:
                    raise DamagedError("what its dead workers have counted is lost: something else is there")
                return msgspec.msgpack.decode(file.read(BYTES_MAX), type=Folded)
        except FileNotFoundError:
            return Folded()
        except OSError as error:
            reason = f"what its dead workers have counted cannot be read: {error.strerror}"
            raise StoreError(reason) from None
        except msgspec.MsgspecError as error:
            raise DamagedError(f"what its dead workers have counted is lost: {error}") from None

    def save(self, pool: str, folded: Folded) -> None:
        """Put it in the place of what there is.

        Raises:
            StoreError: No room on the disk, say; what there was is as before.
        """
        name, new = pool + _SUFFIX, f"{pool}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with suppress(FileNotFoundError):  # of one that was killed here
                os.unlink(new, dir_fd=self._folder)
            with os.fdopen(os.open(new, flags, _MODE, dir_fd=self._folder), "wb") as file:
                file.write(msgspec.msgpack.encode(folded))
            os.rename(new, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as error:
            reason = f"what its dead workers have counted cannot be kept: {error.strerror}"
            raise StoreError(reason) from None


@contextmanager
def opened(root: int) -> Iterator[Store]:
    """The store in the folder ``root``, for nobody else meanwhile.

    Raises:
        StoreError: It is not there, or another process does not let go of it.
    """
    try:
        folder = os.open(NAME, FOLDER, dir_fd=root)
    except OSError as error:
        raise StoreError(f"the folder {NAME} cannot be opened: {error.strerror}") from None
    try:
        lock = _locked(folder)
        try:
            yield Store(folder)
        finally:
            os.close(lock)
    finally:
        os.close(folder)


def _locked(folder: int) -> int:
    """Called in a thread of its own. Who has it may stand still: so nobody waits for it without end."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        lock = os.open(_LOCK, flags, _MODE, dir_fd=folder)
    except OSError as error:
        raise StoreError(f"its lock cannot be opened: {error.strerror}") from None
    until = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(lock)
                raise StoreError("another process holds its lock") from None
            time.sleep(_POLL_S)
        else:
            return lock
