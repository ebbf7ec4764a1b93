"""Names in folders of other people: what the master may follow there, open there and make there.

A master is often root, while the folder of its logs, sockets or pid file belongs to the user
of its workers. Whoever may write in a folder decides what a name in it leads to, from one
system call to the next. If root opened such a name as it stands, the application could have
root write anywhere: by a symbolic link, a hard link, or a folder exchanged for a link after
it was looked at.

How it works
    - `reach` goes to the last folder of a path name by name, each opened in the one before
      (openat(2), O_NOFOLLOW): what was checked is what is used, whatever is renamed meanwhile.
    - To root, a folder is *foreign* if it belongs to somebody else. From the first foreign one
      on, no link is followed. Any other is *shared* if others may write in it (/tmp): links
      there are followed only if root or we made them.
    - A file that exists in a foreign or shared folder is written to only if it is a regular
      file with one name, and whose owner could be expected there. One that doesn't is made
      with O_EXCL.
    - A master that is not root has no rights that its workers lack, so to it no folder is
      foreign: the current release is often a link that a deploying user makes.

Opening everything as the folder's owner was the alternative. It loses for files, because a log
that root made there before could then not be opened again; `as_owner` does it for bind(2),
which takes no folder's descriptor.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

_LINKS_MAX: Final = 40  # as Linux: path_resolution(7)
_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_ROOT: Final = 0
_ATTEMPTS: Final = 3
_DEPTH_MAX: Final = 16
"""Of folders that are removed: each holds a descriptor meanwhile."""


class RefusedPlaceError(OSError):
    """Somebody else decides what is at a path. ``strerror`` says who, what is there, and what to do."""

    @property
    def reason(self) -> str:
        return str(self.strerror)


class Place(Struct, frozen=True):
    """A name in a folder that is held open as long as `reach` lasts."""

    path: Path
    """As it was asked for: for messages."""
    folder: int
    """Descriptor of the folder, for ``dir_fd``."""
    name: str
    owner: int
    """Of the folder."""
    foreign: tuple[int, int] | None
    """Owner and group of the first foreign folder on the way; None: there is none, or we are not root."""
    shared: bool
    """Others than root and ourselves may write in the folder."""
    anybody: bool
    """So may everybody."""
    exchangeable: bool
    """Others can put something else in the place of this folder, or of one on the way to it."""
    by_kernel: bool
    """The name is a link of /proc, which stands for an open file: only the kernel can follow it."""

    @property
    def ours(self) -> bool:
        """Nobody else can put anything under this name."""
        return self.foreign is None and not self.shared

    def stat(self) -> os.stat_result | None:
        """What is there, a link itself; None: nothing."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def refusal(self, what: str) -> RefusedPlaceError:
        """The error that says why ``what`` is not used."""
        if self.foreign is not None:
            why = f"a folder on the way belongs to {user(self.foreign[0])}"
        else:
            why = "others may write in its folder"
        text = (
            f"{what}, and {why}: whoever put it there would choose where {user(os.geteuid())} writes. "
            "Remove it, or use a folder in which nobody else may write"
        )
        return RefusedPlaceError(errno.EPERM, text)


def user(uid: int) -> str:
    """``uid 1001 (shop)``, without the name if there is none."""
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"


@contextmanager
def reach(path: Path, *, follow: bool = False) -> Iterator[Place]:
    """Go to the folder of ``path``; with ``follow``, to that of what a link at ``path`` stands for.

    Raises:
        RefusedPlaceError: A link on the way that somebody else can have made.
        OSError: As the calls; ``filename`` is the folder that could not be entered.
    """
    walk = _Walk(path, follow)
    try:
        yield walk.go()
    finally:
        os.close(walk.fd)


class _Walk:
    """The way from ``/`` to one name."""

    def __init__(self, path: Path, follow: bool) -> None:
        self._path = path
        self._follow = follow
        self._left = deque(path.absolute().parts[1:])
        self._links = 0
        self._exchangeable = False
        self._foreign: tuple[int, int] | None = None
        self.fd = os.open("/", _FOLDER)
        self._found = os.fstat(self.fd)

    def go(self) -> Place:
        while self._left:
            name = self._left.popleft()
            last = not self._left
            if self._is_link(name, last=last):
                if self._by_kernel():
                    if last:
                        return self._place(name, by_kernel=True)
                    self._enter(name, 0)
                else:
                    self._take_link(name)
            elif last and name != "..":
                return self._place(name)
            else:
                self._enter(name, os.O_NOFOLLOW)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._path))

    def _place(self, name: str, *, by_kernel: bool = False) -> Place:
        found = self._found
        anybody = bool(found.st_mode & stat.S_IWOTH)
        return Place(
            self._path,
            self.fd,
            name,
            found.st_uid,
            self._foreign,
            anybody or _writable_by_group(found),
            anybody,
            self._exchangeable or _loose(found),
            by_kernel,
        )

    def _is_link(self, name: str, *, last: bool) -> bool:
        if last and not self._follow:
            return False
        try:
            return stat.S_ISLNK(os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False  # a missing file is the caller's to make; a missing folder fails when it is entered

    def _enter(self, name: str, flags: int) -> None:
        self._exchangeable = self._exchangeable or _loose(self._found)
        try:
            inside = os.open(name, _FOLDER | flags, dir_fd=self.fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path.parent)) from None
        os.close(self.fd)
        self.fd = inside
        self._found = os.fstat(inside)
        if os.geteuid() == _ROOT and self._found.st_uid != _ROOT and self._foreign is None:
            self._foreign = (self._found.st_uid, self._found.st_gid)

    def _take_link(self, name: str) -> None:
        made = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        here = self._place(name)
        if self._foreign is not None or (here.shared and made.st_uid not in _trusted()):
            raise here.refusal(f"{name} is a symbolic link")
        self._links += 1
        if self._links > _LINKS_MAX:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(self._path))
        target = Path(os.readlink(name, dir_fd=self.fd))
        if target.is_absolute():
            self._enter("/", 0)
        self._left.extendleft(reversed([part for part in target.parts if part != "/"]))

    def _by_kernel(self) -> bool:
        try:
            return self._found.st_dev == Path("/proc/self").stat().st_dev
        except OSError:
            return False


def _loose(found: os.stat_result) -> bool:
    """Others may rename in the folder what is not theirs."""
    if found.st_uid not in _trusted():
        return True
    shared = bool(found.st_mode & stat.S_IWOTH) or _writable_by_group(found)
    return shared and not found.st_mode & stat.S_ISVTX


def _trusted() -> set[int]:
    return {_ROOT, os.geteuid()}


def _writable_by_group(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_IWGRP) and found.st_gid not in {_ROOT, os.getegid()}


# ---- files


def open_to_append(path: Path, mode: int) -> int:
    """Open ``path`` for appending, and make it if it is not there. Never waits for a pipe's reader.

    Raises:
        RefusedPlaceError: What is there is not to be written to.
        OSError: As open(2).
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    with reach(path, follow=True) as place:
        if place.ours:
            only_itself = 0 if place.by_kernel else os.O_NOFOLLOW
            return os.open(place.name, flags | os.O_CREAT | only_itself, mode, dir_fd=place.folder)
        for _ in range(_ATTEMPTS):
            with suppress(FileExistsError):
                return os.open(
                    place.name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=place.folder
                )
            with suppress(FileNotFoundError):  # removed at this very moment: made in the next attempt
                return _open_existing(place, flags)
    raise RefusedPlaceError(errno.EBUSY, "somebody makes and removes it all the time")


def _open_existing(place: Place, flags: int) -> int:
    _check(place, place.stat())  # before it is opened: that alone may have effects on a pipe or device
    fd = os.open(place.name, flags | os.O_NOFOLLOW, dir_fd=place.folder)
    try:
        opened = os.fstat(fd)
        _check(place, opened)
        # A second name could have been taken away between open() and fstat(): then this one is gone, too.
        there = place.stat()
        _check(place, there)
        _check_same(place, opened, there)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_same(place: Place, opened: os.stat_result, there: os.stat_result | None) -> None:
    if there is None or not os.path.samestat(there, opened):
        raise place.refusal("it was exchanged while it was opened")


def _check(place: Place, found: os.stat_result | None) -> None:
    """Raise RefusedPlaceError unless ``found``, in a foreign or shared folder, may be written to."""
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not stat.S_ISREG(found.st_mode):
        raise place.refusal(f"it is {kind(found.st_mode)}")
    if found.st_nlink != 1:
        raise place.refusal(f"it is a file with {found.st_nlink} names (hard links)")
    group_only = place.foreign is None and not place.anybody
    expected = {*_trusted(), place.owner, *(place.foreign[:1] if place.foreign else ())}
    if not group_only and found.st_uid not in expected:
        raise place.refusal(f"it is a file of {user(found.st_uid)}")


def kind(mode: int) -> str:
    """What something is, as in "there is a folder at this path"."""
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
    )
    return next((name for test, name in kinds if test(mode)), "a device")


# ---- folders


def remove_tree(name: str, entries_max: int, folder: int) -> int:
    """Remove the folder ``name`` in ``folder``, with all that others have put there, or as much as it may.

    No link is followed. What cannot be removed stays, without a word.

    Returns:
        How many of ``entries_max`` are left over. 0: there may be more than that.
    """
    return _remove_tree(name, entries_max, folder, _DEPTH_MAX)


def _remove_tree(name: str, left: int, folder: int, depth: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(OSError):
        inside = os.open(name, flags, dir_fd=folder)
        try:
            with os.scandir(inside) as entries:
                for entry in entries:
                    if left <= 0:
                        return 0
                    left -= 1
                    if not entry.is_dir(follow_symlinks=False):
                        with suppress(OSError):
                            os.unlink(entry.name, dir_fd=inside)
                    elif depth > 0:
                        left = _remove_tree(entry.name, left, inside, depth - 1)
        finally:
            os.close(inside)
        os.rmdir(name, dir_fd=folder)
    return left


# ---- sockets


@contextmanager
def as_owner(place: Place) -> Iterator[int]:
    """Have only the rights of the owner of a foreign folder, for a call that takes nothing but a path.

    Wherever the path leads by then, nothing is made that its owner could not have made. Yields the
    user who makes it.
    """
    if place.foreign is None or os.geteuid() != _ROOT:
        yield os.geteuid()
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(place.foreign[1])
    os.seteuid(place.foreign[0])
    try:
        yield place.foreign[0]
    finally:
        os.seteuid(_ROOT)
        os.setegid(gid)
        os.setgroups(groups)
