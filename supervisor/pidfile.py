"""The pid file, for those who ask for one.

Written whole under another name and then linked into place, so that no reader sees half of
it. Whether the master it names still lives is not guessed from the number (it may be anybody's
by now): each master holds a record lock (fcntl(2)) on its file for as long as it lives, and
the kernel drops the lock with the process. Record locks belong to a process, so forked
workers don't hold it on; flock() locks would be inherited by them.

Rule: nobody else in the master may open this file. Closing any descriptor of it in this
process would drop the lock.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from gwctl.supervisor import holders
from gwctl.supervisor.runtime import InstanceError


class Pidfile:
    """A pid file that is ours, from `write` to `remove`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def write(cls, path: Path) -> Pidfile:
        """Write this process's pid, replacing what a dead master left.

        Raises:
            InstanceError: A live master has it, it is not a pid file, or it can't be written.
        """
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                os.write(fd, f"{os.getpid()}\n".encode())
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _put_in_place(draft, path)
            except BaseException:
                os.close(fd)
                raise
            finally:
                draft.unlink()
        except OSError as error:
            raise InstanceError(f"cannot write the pid file {path}: {error.strerror}") from None
        return cls(path, fd)

    def remove(self) -> None:
        """Remove the file if it is still this one, and let go of it."""
        if self.fd < 0:
            return
        try:
            if os.path.samestat(os.fstat(self.fd), self.path.lstat()):
                self.path.unlink()
        except OSError:
            pass  # gone already, or the folder is no longer writable: its lock says that it is stale
        self.close_in_child()

    def close_in_child(self) -> None:
        """In a forked child: close the copy of the descriptor. The master's lock stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _put_in_place(draft: Path, path: Path) -> None:
    """Link ``draft`` as ``path``; a stale file there is replaced while its lock is ours.

    Raises:
        OSError: From the calls.
        InstanceError: The file there is not stale.
    """
    try:
        os.link(draft, path, follow_symlinks=False)
        return
    except FileExistsError:
        pass
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        pid = _named_pid(fd, path)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InstanceError(
                f"the pid file {path} is held by {holders.describe(pid)}, which runs"
            ) from None
        if not os.path.samestat(os.fstat(fd), path.lstat()):
            raise InstanceError(f"another master is taking the pid file {path} at this very moment")
        # The old file's lock keeps a third starter out until the rename is done; a temporary
        # second name, because the draft's own is removed by the caller.
        spare = draft.with_name(f"{draft.name}.new")
        os.link(draft, spare, follow_symlinks=False)
        spare.rename(path)
    finally:
        os.close(fd)


def _named_pid(fd: int, path: Path) -> int:
    """The number in the file. Something else is not ours to overwrite: a wrong path in the settings."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise InstanceError(f"the pid file {path} exists and is not a file")
    text = os.read(fd, 64).strip()
    if text and not text.isdigit():
        raise InstanceError(
            f"the pid file {path} exists and holds something else than a pid; it is left alone"
        )
    return int(text or b"0")
