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
    - All of it in one folder that is held open (`places`). bind() alone takes nothing but a path:
      where the folder is somebody else's it is called with no more than that user's rights, and
      what came of it is looked for in the folder that is held.
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
from pathlib import Path
from typing import Final

from msgspec import Struct

from gwctl.config import paths
from gwctl.control import peer
from gwctl.errors import BindError
from gwctl.safe_files import Place, RefusedPlaceError, as_owner, kind, reach, user
from gwctl.supervisor.listeners import port_owner

PATH_BYTES_MAX: Final = 107 if os.uname().sysname == "Linux" else 103
"""sun_path of unix(7) less its final NUL."""


class Access(Struct, frozen=True):
    """Who may connect. -1 leaves owner or group as the kernel made it."""

    mode: int = 0o660
    uid: int = -1
    gid: int = -1


class UnixSocket(Struct, frozen=True):
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
            with reach(self.path) as place:
                return self._is_at(place)
        except OSError:
            return False

    def unlink(self) -> None:
        """Remove the file if it is still ours. Call before closing the socket (see the module's text)."""
        try:
            with reach(self.path) as place:
                if self._is_at(place):
                    os.unlink(place.name, dir_fd=place.folder)
        except OSError:
            pass  # gone, or its folder is no longer writable since privileges were dropped: it is stale then

    def _is_at(self, place: Place) -> bool:
        found = place.stat()
        return found is not None and _inode(found) == self.inode


def bind(path: Path, access: Access, backlog: int) -> UnixSocket:
    """Listen at ``path``, replacing a stale socket. The result is non-blocking.

    Raises:
        BindError: With errno EADDRINUSE when somebody listens there.
    """
    length = len(bytes(path))
    if length > PATH_BYTES_MAX:
        reason = f"the path has {length} bytes; a Unix socket's path may have {PATH_BYTES_MAX}"
        raise BindError(_address(path), reason, errno.ENAMETOOLONG)
    with _explained(path), reach(path) as place:
        _clear_way(place)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            inode = _bind_in(place, sock, ~access.mode & 0o777 | 0o077)
        except BaseException:
            sock.close()
            raise
    return _finish(UnixSocket(sock, path, inode), access, backlog)


def _bind_in(place: Place, sock: socket.socket, umask: int) -> tuple[int, int]:
    """Give ``sock`` its name; return the inode, which is in this very folder."""
    with as_owner(place) as maker, _umask(umask):
        try:
            sock.bind(str(place.path))
        except PermissionError as error:
            if place.foreign is None:
                raise
            reason = f"{user(maker)}, to whom a folder on the way belongs, may not make it"
            raise BindError(_address(place.path), reason, error.errno) from None
    found = place.stat()
    if found is None or not stat.S_ISSOCK(found.st_mode) or (found.st_uid, found.st_nlink) != (maker, 1):
        raise BindError(_address(place.path), "somebody replaced the socket just made", errno.EADDRINUSE)
    return _inode(found)


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
    if isinstance(error, RefusedPlaceError):
        return error.reason
    match error.errno:
        case errno.ENOENT if paths.exists(folder):
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


def _clear_way(place: Place) -> None:
    """Remove a stale socket; raise BindError for anything else that is there."""
    with _held(place) as found:
        if found is None:
            return
        if not stat.S_ISSOCK(found.st_mode):
            reason = f"there is {kind(found.st_mode)} at this path, not a socket; it is left alone"
            raise BindError(_address(place.path), reason, errno.EEXIST)
        _raise_if_alive(place.path)
        _take_away(place, _inode(found))


@contextmanager
def _held(place: Place) -> Iterator[os.stat_result | None]:
    """What is there, its inode number not to be used again as long as this lasts (Linux)."""
    if not hasattr(os, "O_PATH"):
        yield place.stat()
        return
    try:
        fd = _open_itself(place)
    except FileNotFoundError:
        yield None
        return
    try:
        yield os.fstat(fd)
    finally:
        os.close(fd)


def _open_itself(place: Place) -> int:
    return os.open(place.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.folder)


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
    pid = peer.pid_of(connected)
    return f"in use by {port_owner.describe(pid)}" if pid is not None else "in use"


def _take_away(place: Place, inode: tuple[int, int]) -> None:
    name, aside, folder = place.name, f"{place.name}.{os.getpid()}", place.folder
    try:
        os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
    except FileNotFoundError:
        return
    if (
        _inode(os.stat(aside, dir_fd=folder, follow_symlinks=False)) != inode
    ):  # replaced since we looked: give it back
        with suppress(FileExistsError):
            os.link(aside, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        os.unlink(aside, dir_fd=folder)
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    os.unlink(aside, dir_fd=folder)


# ---- who may connect


@contextmanager
def _handle(path: Path, inode: tuple[int, int]) -> Iterator[Path]:
    """A name for exactly this inode that no rename in its folder can redirect (Linux with /proc)."""
    if not (hasattr(os, "O_PATH") and Path("/proc/self/fd").is_dir()):
        yield path
        return
    with _explained(path), reach(path) as place:
        fd = _open_itself(place)
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
