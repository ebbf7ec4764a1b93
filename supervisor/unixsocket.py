"""Unix sockets in the file system: made so that at no moment anybody else may connect, and
never taken from anybody who lives.

How it works
    - What is at the path is looked at first. A live socket (something accepts, or its backlog
      is full) is an error; so is anything that is not a socket. A socket that refuses is
      stale: it is moved aside, compared with what was looked at (whose inode is held open
      meanwhile: its number would be given out again at once), and removed. Two processes that
      start at once can't remove each other's socket this way.
    - bind() under a umask that leaves only the owner's bits; then owner, group and mode are
      set through a descriptor of the very inode (a folder's owner could otherwise put a link
      in its place between the calls and have root chmod something else); then listen().
      Binding to a temporary name and renaming was the alternative: it loses, because
      getsockname() answers the temporary name for ever.
    - The file is removed at the end only if device and inode are still those of our bind. The
      number cannot be somebody else's by then: a bound socket keeps its inode alive.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gwctl.errors import BindError
from gwctl.supervisor import holders

PATH_BYTES_MAX: Final = 107 if os.uname().sysname == "Linux" else 103
"""sun_path of unix(7) less its final NUL."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may connect. -1 leaves owner or group as the kernel made it."""

    mode: int = 0o660
    uid: int = -1
    gid: int = -1


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A listening socket and the file that is its name."""

    sock: socket.socket
    path: Path
    inode: tuple[int, int]

    def set_access(self, access: Access) -> None:
        """Change who may connect.

        Raises:
            BindError: Not permitted, or the file is no longer ours.
        """
        with _handle(self.path, self.inode) as handle:
            _apply(self.path, handle, access)

    @property
    def can_be_reached(self) -> bool:
        """Whether its file is there and still ours."""
        try:
            return _inode(self.path.lstat()) == self.inode
        except OSError:
            return False

    def unlink(self) -> None:
        """Remove the file if it is still ours. Call before closing the socket (see the module's text)."""
        try:
            if _inode(self.path.lstat()) == self.inode:
                self.path.unlink()
        except OSError:
            pass  # gone, or its folder is no longer writable since privileges were dropped: it is stale then


def bind(path: Path, access: Access, backlog: int) -> UnixSocket:
    """Listen at ``path``, replacing a stale socket. The result is non-blocking.

    Raises:
        BindError: With errno EADDRINUSE when somebody listens there.
    """
    length = len(bytes(path))
    if length > PATH_BYTES_MAX:
        reason = f"the path has {length} bytes; a Unix socket's path may have {PATH_BYTES_MAX}"
        raise BindError(_address(path), reason, errno.ENAMETOOLONG)
    _clear_way(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _umask(~access.mode & 0o777 | 0o077), _explained(path):
            sock.bind(str(path))
    except BaseException:
        sock.close()
        raise
    return _finish(UnixSocket(sock, path, _inode(path.lstat())), access, backlog)


def _finish(made: UnixSocket, access: Access, backlog: int) -> UnixSocket:
    try:
        made.set_access(access)
        with _explained(made.path):
            made.sock.setblocking(False)
            made.sock.listen(backlog)
    except BaseException:
        made.unlink()
        made.sock.close()
        raise
    return made


def _address(path: Path) -> str:
    return f"unix:{path}"


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an OSError of a call on ``path`` into a BindError."""
    try:
        yield
    except OSError as error:
        raise BindError(_address(path), _reason(path, error), error.errno) from None


def _reason(path: Path, error: OSError) -> str:
    folder = path.parent
    match error.errno:
        case errno.ENOENT if folder.exists():
            return "somebody removed its file"
        case errno.ENOENT:
            return f"folder {folder} does not exist"
        case errno.ENOTDIR:
            return f"{folder} is not a folder"
        case errno.EACCES | errno.EPERM if not os.access(folder, os.W_OK | os.X_OK):
            return f"uid {os.geteuid()} may not make files in {folder}"
        case errno.EROFS:
            return f"{folder} is on a read-only file system"
        case errno.EADDRINUSE:
            return "somebody else made it at this very moment"
    return error.strerror or str(error)


# ---- what is already there


def _clear_way(path: Path) -> None:
    """Remove a stale socket; raise BindError for anything else that is at ``path``."""
    with _explained(path), _held(path) as found:
        if found is None:
            return
        if not stat.S_ISSOCK(found.st_mode):
            reason = f"there is {_kind(found.st_mode)} at this path, not a socket; it is left alone"
            raise BindError(_address(path), reason, errno.EEXIST)
        _raise_if_alive(path)
        _take_away(path, _inode(found))


@contextmanager
def _held(path: Path) -> Iterator[os.stat_result | None]:
    """What is at ``path``, its inode number not to be used again as long as this lasts (Linux)."""
    try:
        if not hasattr(os, "O_PATH"):
            yield path.lstat()
            return
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if not path.parent.exists():
            raise
        yield None
        return
    try:
        yield os.fstat(fd)
    finally:
        os.close(fd)


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISREG, "a file"),
    )
    return next((name for test, name in kinds if test(mode)), "a device")


def _raise_if_alive(path: Path) -> None:
    """Raise BindError when somebody listens at ``path`` or when that can't be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except BlockingIOError:
            raise BindError(_address(path), "in use: its backlog is full", errno.EADDRINUSE) from None
        except OSError as error:
            reason = (
                f"a socket is there that cannot be tried ({error.strerror}); remove it if nobody needs it"
            )
            raise BindError(_address(path), reason, error.errno) from None
        raise BindError(_address(path), in_use_by(probe), errno.EADDRINUSE)


def in_use_by(connected: socket.socket) -> str:
    """``in use by pid 4120 (command)``, of the listener that ``connected`` reached."""
    pid = holders.of_peer(connected)
    return f"in use by {holders.describe(pid)}" if pid is not None else "in use"


def _take_away(path: Path, inode: tuple[int, int]) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if _inode(aside.lstat()) != inode:  # replaced since we looked: give it back
        with suppress(FileExistsError):
            os.link(aside, path, follow_symlinks=False)
        aside.unlink()
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    aside.unlink()


# ---- who may connect


@contextmanager
def _handle(path: Path, inode: tuple[int, int]) -> Iterator[Path]:
    """A name for exactly this inode that no rename in its folder can redirect (Linux with /proc)."""
    if not (hasattr(os, "O_PATH") and Path("/proc/self/fd").is_dir()):
        yield path
        return
    with _explained(path):
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if _inode(found) != inode or not stat.S_ISSOCK(found.st_mode):
            raise BindError(_address(path), "somebody replaced the socket just made", errno.EADDRINUSE)
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _apply(path: Path, handle: Path, access: Access) -> None:
    """Owner before mode: the group must be right by the time it may connect."""
    try:
        if (access.uid, access.gid) != (-1, -1):
            os.chown(handle, access.uid, access.gid)
        handle.chmod(access.mode)
    except PermissionError as error:
        reason = f"uid {os.geteuid()} may not give it to uid {access.uid}, gid {access.gid}; start as root"
        raise BindError(_address(path), reason, error.errno) from None
    except OSError as error:
        raise BindError(_address(path), error.strerror or str(error), error.errno) from None
