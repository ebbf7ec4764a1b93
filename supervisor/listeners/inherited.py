"""Sockets that somebody else has bound for us: ``fd:N`` and systemd's ``systemd:NAME``.

systemd (or anything that speaks sd_listen_fds(3)) passes descriptors from 3 on and says in
the environment how many (LISTEN_FDS), for which process (LISTEN_PID) and, separated by
colons, what the socket unit calls each (LISTEN_FDNAMES). One name may stand for several.

Whatever is not a listening stream socket is refused with what it is: accept() on anything
else would fail much later, in a worker.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from typing import Final

from gwctl.errors import BindError, GwctlError

_FIRST: Final = 3
_DIGITS_MAX: Final = 9
_NAME_MAX: Final = 255  # FDNAME_MAX of systemd
_SHOWN_MAX: Final = 40
STORED: Final = "gwctl;"
"""What the names of descriptors begin with that gwctl itself gave to systemd. No unit is called so."""
_UNNAMED: Final = "unknown"  # what sd_listen_fds_with_names(3) calls a descriptor without a name


class PassedError(GwctlError):
    """What the environment says of passed descriptors cannot be so."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}. Unset LISTEN_PID, or start the service through its socket unit")


class Passed:
    """The descriptors that the service manager passed to this process, by name.

    Made once, in the master, before anything is forked. They are made close-on-exec at
    once: those that no pool binds must not reach what an application executes.
    """

    def __init__(
        self, environ: Mapping[str, str], by_name: Mapping[str, Iterable[int]] | None = None
    ) -> None:
        """``by_name``: what is left of them, when another program was the first to see them.

        Raises:
            PassedError: The environment is nonsense.
        """
        self.by_name: dict[str, list[int]] = {}
        self.stored: dict[str, list[int]] = {}
        """Those that this service had systemd keep for it: what `gwctl.supervisor.listeners.stored` takes."""
        self._pid = environ.get("LISTEN_PID", "")
        if by_name is not None:
            self.by_name.update((name, list(fds)) for name, fds in by_name.items())
            return
        if self._pid and not _is_number(self._pid):
            raise PassedError(f"LISTEN_PID={_shown(self._pid)} is not the number of a process")
        if self._pid != str(os.getpid()):
            return  # meant for somebody who passed the environment on
        count = _count(environ.get("LISTEN_FDS", ""))
        names = _names(environ, count)
        for fd in range(
            _FIRST, _FIRST + count
        ):  # ends at the first that is not there, however many are said to be
            if not _is_passed(fd):
                raise PassedError(f"LISTEN_FDS={count} announces descriptor {fd}, which was not passed")
            os.set_inheritable(fd, False)
            name = names[fd - _FIRST] if names else ""
            ours = self.stored if name.startswith(STORED) else self.by_name
            ours.setdefault(name or _UNNAMED, []).append(fd)

    @property
    def fds(self) -> list[int]:
        return [fd for fds in self.by_name.values() for fd in fds]

    def closed(self, fd: int) -> None:
        """``fd`` was closed for good: the number may be anything's from now on."""
        for fds in self.by_name.values():
            if fd in fds:
                fds.remove(fd)

    def named(self, name: str) -> list[int]:
        """The descriptors called ``name``.

        Raises:
            BindError: There is none; says what there is.
        """
        fds = self.by_name.get(name)
        if fds:
            return fds
        address = f"systemd:{name}"
        if name in self.by_name:
            raise BindError(address, "its sockets were closed when a reload removed them; restart for it")
        if self.by_name:
            names = ", ".join(sorted(self.by_name))
            raise BindError(address, f"systemd passed no socket of this name; it passed {names}")
        if self._pid and self._pid != str(os.getpid()):
            reason = (
                f"systemd passed its sockets to pid {self._pid}, which is not this process ({os.getpid()})"
            )
            raise BindError(address, reason)
        raise BindError(address, "systemd passed no sockets: start the service through its socket unit")


def _count(text: str) -> int:
    """How many descriptors LISTEN_FDS announces."""
    if not text:
        return 0
    if not _is_number(text):
        raise PassedError(f"LISTEN_FDS={_shown(text)} is not a number of descriptors")
    return int(text)


def _names(environ: Mapping[str, str], count: int) -> list[str]:
    """One for each, as sd_listen_fds_with_names(3) demands; none at all where they have no names."""
    text = environ.get("LISTEN_FDNAMES")
    if not text or not count:
        return []
    names = text.split(":")
    if len(names) != count:
        raise PassedError(f"LISTEN_FDNAMES has {len(names)} names for LISTEN_FDS={count} descriptors")
    for name in names:
        if len(name) > _NAME_MAX or not name.isascii() or not name.isprintable():
            raise PassedError(f"LISTEN_FDNAMES has {_shown(name)}, which is no name of a descriptor")
    return names


def _is_passed(fd: int) -> bool:
    """It came through exec(2): those of ours are made close-on-exec."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}...")


def listening(fd: int, address: str) -> socket.socket:
    """Take over descriptor ``fd``, which must be a listening stream socket.

    The result is non-blocking and close-on-exec, and has the same number, so that closing the
    listener closes the port.

    Raises:
        BindError: Says what ``fd`` is instead.
    """
    try:
        mode = os.fstat(fd).st_mode
    except OSError as error:
        raise BindError(address, f"descriptor {fd} is not open", error.errno) from None
    if not stat.S_ISSOCK(mode):
        raise BindError(address, f"descriptor {fd} is {_kind(mode)}, not a socket", errno.ENOTSOCK)
    sock = socket.socket(fileno=fd)
    reason = _unfit(sock)
    if reason is not None:
        sock.detach()  # not ours to close: it may be named by mistake
        raise BindError(address, f"descriptor {fd} is {reason}", errno.EINVAL)
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


def _unfit(sock: socket.socket) -> str | None:
    if sock.family not in {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}:
        return f"a socket of another family ({sock.family!s}), not TCP or Unix"
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:
        return "a datagram socket, not a stream socket"
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "a connection, not a listening socket" if _connected(sock) else "a socket that does not listen"
    return None


def _connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISREG, "a file"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISCHR, "a terminal or device"),
        (stat.S_ISDIR, "a folder"),
    )
    return next((name for test, name in kinds if test(mode)), "something else")
