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

from gwctl.errors import BindError

_FIRST: Final = 3
_UNNAMED: Final = "unknown"  # what sd_listen_fds_with_names(3) calls a descriptor without a name


class Passed:
    """The descriptors that the service manager passed to this process, by name.

    Made once, in the master, before anything is forked. They are made close-on-exec at
    once: those that no pool binds must not reach what an application executes.
    """

    def __init__(
        self, environ: Mapping[str, str], by_name: Mapping[str, Iterable[int]] | None = None
    ) -> None:
        """``by_name``: what is left of them, when another program was the first to see them."""
        self.by_name: dict[str, list[int]] = {}
        self._pid = environ.get("LISTEN_PID", "")
        if by_name is not None:
            self.by_name.update((name, list(fds)) for name, fds in by_name.items())
            return
        count = environ.get("LISTEN_FDS", "")
        if self._pid != str(os.getpid()) or not count.isdecimal():
            return
        names = environ.get("LISTEN_FDNAMES", "").split(":")
        for index in range(int(count)):
            name = names[index] if index < len(names) else ""
            fd = _FIRST + index
            try:
                os.set_inheritable(fd, False)
            except OSError:
                continue  # announced but closed since: `listening` says so if anybody asks for it
            self.by_name.setdefault(name or _UNNAMED, []).append(fd)

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
