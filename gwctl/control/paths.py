"""Where a master's control socket is, and how the command line finds it again.

The folder (design, "Control"): ``$RUNTIME_DIRECTORY`` if the service manager made one, else
``/run/gwctl`` for root, else ``$XDG_RUNTIME_DIR/gwctl``. The socket in it is ``NAME.sock``.
A folder that systemd made for the service (``/run/shop``, mode 755) gets a ``gwctl`` folder
of our own inside, so that the socket always lies in one of mode 700, and so that a shell that
lacks the service's environment can find it: ``/run/*/gwctl``, and ``$XDG_RUNTIME_DIR/*/gwctl`` for
units of the user manager.

Nothing falls back to /tmp or to the working directory: a master without a folder runs
without a control socket.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from gwctl.errors import GwctlError
from gwctl.safe_files import reach, user

_OWN: Final = "gwctl"
_SUFFIX: Final = ".sock"


class InstanceError(GwctlError):
    """This master cannot be what it is asked to be: another one is, or its files can't be made."""


class NoRuntimeDirectoryError(GwctlError):
    """There is no folder to put the control socket into."""


class Instance(Struct, frozen=True):
    """A control socket that was found; whoever listens there is asked for the rest."""

    name: str
    path: Path


def control_path(name: str, environ: Mapping[str, str], uid: int, root: Path = Path("/")) -> Path:
    """Where the master called ``name`` has its control socket. Makes nothing.

    Args:
        name: Of the instance.
        environ: For RUNTIME_DIRECTORY and XDG_RUNTIME_DIR.
        uid: Effective user of the master.
        root: Above ``run``; tests put a folder of their own.

    Raises:
        NoRuntimeDirectoryError: With what to do.
    """
    folder = _home(environ, uid, root)
    if folder is None:
        raise NoRuntimeDirectoryError(
            "no runtime directory: neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR is set; "
            "give one, or set master.control to a path or to off"
        )
    return folder / f"{name}{_SUFFIX}"


def make_folder(path: Path) -> str:
    """Make the folder of a control socket, mode 700, or see that nobody else can exchange the one there.

    Returns a warning about the one there; empty: there is none.

    Raises:
        NoRuntimeDirectoryError: It cannot be made, or others may write into it.
    """
    try:
        with reach(path, follow=True) as place:
            with suppress(FileExistsError):
                os.mkdir(place.name, 0o700, dir_fd=place.folder)
            found = place.stat()
    except OSError as error:
        raise NoRuntimeDirectoryError(f"cannot make {path}: {error.strerror}") from None
    if found is None or not stat.S_ISDIR(found.st_mode):
        raise NoRuntimeDirectoryError(f"cannot make {path}: it exists and is not a folder")
    if found.st_uid not in {0, os.geteuid()}:
        raise NoRuntimeDirectoryError(f"{path} belongs to {user(found.st_uid)}, who could replace the socket")
    if place.foreign is not None:
        raise NoRuntimeDirectoryError(
            f"{path} is in a folder of {user(place.foreign[0])}, who could replace the socket; "
            "use a folder that only root may write in"
        )
    if found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH:
        raise NoRuntimeDirectoryError(f"anybody may write in {path}: chmod it to 700")
    if found.st_mode & stat.S_IWGRP:
        text = f"{_group(found.st_gid)} may write in {path}, and replace the control socket: chmod it to 700"
        if found.st_gid not in {0, os.getegid()}:
            raise NoRuntimeDirectoryError(text)
        return text
    if place.exchangeable and os.geteuid() == 0:
        return f"others may rename {path}, and put a control socket of theirs there: see the folders above it"
    return ""


def let_enter(path: Path) -> None:
    """Have everybody find the sockets in a folder of ours. One that is not ours alone is left as it is.

    Raises:
        OSError: It cannot be.
    """
    if path.name != _OWN:
        return
    with reach(path, follow=True) as place:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(place.name, flags, dir_fd=place.folder)
        try:
            found = os.fstat(fd)
            if found.st_uid == os.geteuid() and found.st_mode & 0o055 != 0o055:
                os.fchmod(fd, stat.S_IMODE(found.st_mode) | 0o055)
        finally:
            os.close(fd)


def _group(gid: int) -> str:
    try:
        return f"group {gid} ({grp.getgrgid(gid).gr_name})"
    except KeyError:
        return f"group {gid}"


def instances(environ: Mapping[str, str], uid: int, root: Path = Path("/")) -> list[Instance]:
    """Masters that can be asked, by name: sockets in the usual folders at which somebody listens.

    With ``RUNTIME_DIRECTORY`` set (inside a service: ExecReload) only that folder counts.
    """
    found: dict[Path, Instance] = {}
    for folder in _search(environ, uid, root):
        for path in _sockets(folder):
            if path not in found and _alive(path):
                found[path] = Instance(path.name.removesuffix(_SUFFIX), path)
    return sorted(found.values(), key=lambda instance: (instance.name, instance.path))


def _own_folder(folder: Path) -> Path:
    return folder if folder.name == _OWN else folder / _OWN


def _given(environ: Mapping[str, str]) -> list[Path]:
    """The folders of $RUNTIME_DIRECTORY (several when the unit names several), one of our name first."""
    folders = [Path(part) for part in environ.get("RUNTIME_DIRECTORY", "").split(":") if part.startswith("/")]
    return sorted(folders, key=lambda folder: folder.name != _OWN)


def _home(environ: Mapping[str, str], uid: int, root: Path) -> Path | None:
    given = _given(environ)
    if given:
        return _own_folder(given[0])
    if uid == 0:
        return root / "run" / _OWN
    session = environ.get("XDG_RUNTIME_DIR", "")
    return Path(session) / _OWN if session.startswith("/") else None


def _search(environ: Mapping[str, str], uid: int, root: Path) -> Iterator[Path]:
    given = _given(environ)
    if given:
        yield from map(_own_folder, given)
        return
    home = _home(environ, uid, root)
    if home is not None:
        yield home
    yield root / "run" / _OWN
    session = environ.get("XDG_RUNTIME_DIR", "")
    for top in (root / "run", *([Path(session)] if uid != 0 and session.startswith("/") else [])):
        with suppress(OSError):
            yield from sorted(top.glob(f"*/{_OWN}"))


def _sockets(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.name.endswith(_SUFFIX) and path.is_socket()]
    except OSError:
        return []  # not there, or another user's


def _alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            return probe.connect_ex(str(path)) in {0, errno.EAGAIN}
        except OSError:
            return False  # a path too long for a socket
