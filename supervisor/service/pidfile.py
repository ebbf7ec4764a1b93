"""The pid file, for those who ask for one.

Written whole under another name and then linked into place, so that no reader sees half of
it. Whether the master it names still lives is not guessed from the number (it may be anybody's
by now): each master holds a record lock (fcntl(2)) on its file for as long as it lives, and
the kernel drops the lock with the process. Record locks belong to a process, so forked
workers don't hold it on; flock() locks would be inherited by them.

The folder may be one in which others write (/run/lock, /tmp, one of the workers' user): the file
is made with O_EXCL under a name that cannot be guessed, all in the one folder that is held open
(`places`), and at the end what has the name must be what was made. A pid file that somebody else
put there can so never become ours.

Rule: nobody else in the master may open this file. Closing any descriptor of it in this
process would drop the lock.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from gwctl.control.paths import InstanceError
from gwctl.safe_files import Place, kind, reach
from gwctl.supervisor.listeners import port_owner


class PidfileSnapshot(msgspec.Struct, frozen=True):
    path: str
    fd: int


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
        try:
            with reach(path) as place:
                return cls(path, _write(place))
        except OSError as error:
            raise InstanceError(f"cannot write the pid file {path}: {error.strerror}") from None

    def snapshot(self) -> PidfileSnapshot:
        return PidfileSnapshot(str(self.path), self.fd)

    @classmethod
    def from_snapshot(cls, snapshot: PidfileSnapshot) -> Pidfile:
        return cls(Path(snapshot.path), snapshot.fd)

    def remove(self) -> None:
        """Remove the file if it is still this one, and let go of it."""
        if self.fd < 0:
            return
        try:
            with reach(self.path) as place:
                found = place.stat()
                if found is not None and os.path.samestat(os.fstat(self.fd), found):
                    os.unlink(place.name, dir_fd=place.folder)
        except OSError:
            pass  # gone already, or the folder is no longer writable: its lock says that it is stale
        self.close_in_child()

    def let_go(self) -> None:
        """Leave the file to whoever writes it next: it is stale from now on, and nobody's."""
        self.close_in_child()

    def close_in_child(self) -> None:
        """In a forked child: close the copy of the descriptor. The master's lock stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _write(place: Place) -> int:
    """Make the file, locked, under a name that nobody can have taken before; put it in place."""
    draft = f".{place.name}.{os.getpid()}.{os.urandom(8).hex()}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(draft, flags, 0o644, dir_fd=place.folder)
    try:
        os.write(fd, f"{os.getpid()}\n".encode())
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _put_in_place(place, draft)
        _check_in_place(place, fd)
    except BaseException:
        os.close(fd)
        raise
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=place.folder)
    return fd


def _check_in_place(place: Place, fd: int) -> None:
    there = place.stat()
    if there is None or not os.path.samestat(there, os.fstat(fd)):
        raise InstanceError(f"somebody replaced the pid file {place.path} just made")


def _put_in_place(place: Place, draft: str) -> None:
    """Link ``draft`` as the pid file; a stale file there is replaced while its lock is ours.

    Raises:
        OSError: From the calls.
        InstanceError: The file there is not stale.
    """
    name, folder, path = place.name, place.folder, place.path
    try:
        os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        return
    except FileExistsError:
        pass
    fd = _open_existing(place)
    try:
        pid = _named_pid(fd, path)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InstanceError(
                f"the pid file {path} is held by {port_owner.describe(pid)}, which runs"
            ) from None
        there = place.stat()
        if there is None or not os.path.samestat(os.fstat(fd), there):
            raise InstanceError(f"another master is taking the pid file {path} at this very moment")
        # The old file's lock keeps a third starter out until the rename is done; a temporary
        # second name, because the draft's own is removed by the caller.
        spare = f"{draft}.new"
        os.link(draft, spare, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        os.rename(spare, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(fd)


def _open_existing(place: Place) -> int:
    """Open what is there to read it; looked at first, because opening a device or a pipe has effects."""
    found = place.stat()
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise InstanceError(
            f"the pid file {place.path} exists and is not a file: it is {kind(found.st_mode)}"
        )
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(place.name, flags, dir_fd=place.folder)


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
