"""Listeners that outlive the master: names for them in systemd's store, and taking them back.

Those that a master has which still runs come by the same names, when a new one is to take its place.

systemd keeps descriptors for a service (FileDescriptorStoreMax=) and passes them to its next start like
those of a socket unit, by name. What is in its store is a listener that was bound here, with its backlog:
so clients that come while there is no master wait, and are refused neither by a restart nor by a crash.

A name is the address, in what systemd allows in a name, and for a Unix socket device and inode of its
file: ``gwctl;127.0.0.1%3A8000``, ``gwctl;unix%3A/run/shop/web.sock;26.1042``. The file belongs to the socket
if they are still the same, as a bound socket keeps its inode alive.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from gwctl.errors import BindError
from gwctl.supervisor.listeners import inherited, unix_socket
from gwctl.supervisor.listeners.syn_filter import let_in_again

_NAME_MAX: Final = 255  # FDNAME_MAX of systemd
_KEPT: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/[]@")


def name_of(address: str, inode: tuple[int, int] | None = None) -> str:
    """What a listener is called in the store; ``inode`` is that of a Unix socket's file."""
    quoted = "".join(each if each in _KEPT else _percent(each) for each in address)
    where = f";{inode[0]}.{inode[1]}" if inode is not None else ""
    name = f"{inherited.STORED}{quoted}{where}"
    if len(name) <= _NAME_MAX:
        return name
    digest = sha256(address.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{inherited.STORED}{digest}{where}"


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


class Stored:
    """What the store, or another master, had for us at the start: by name, until it is taken or let go.

    A descriptor stays open, and in here, until `settle`: a start that fails has taken nothing away.
    """

    def __init__(
        self, by_name: Mapping[str, Iterable[int]], offered: Mapping[str, Iterable[int]] | None = None
    ) -> None:
        """``offered``: what a master has that still runs. It goes before what systemd has of the name."""
        offered = offered or {}
        self._by_name = {name: list(fds) for name, fds in {**by_name, **offered}.items()}
        self._unused = [fd for name in by_name.keys() & offered for fd in by_name[name]]
        self._offered = frozenset(offered)

    @property
    def fds(self) -> list[int]:
        return [*self._unused, *(fd for fds in self._by_name.values() for fd in fds)]

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    def release(self, wanted: Iterable[str]) -> None:
        """Let go of listeners whose address is not among ``wanted``: they may be in the way of one that is.

        They are shut down: systemd has copies, which would go on to listen until it has heard that they go.
        Those of a master that runs are not: it serves on should this start come to nothing.
        """
        kept = set(map(name_of, wanted))
        for name in self.names:
            if name in self._offered or name in kept or name.rpartition(";")[0] in kept:
                continue
            for fd in self._by_name.pop(name):
                with socket.socket(fileno=fd) as sock, suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def take(self, address: str) -> list[socket.socket]:
        """The listening sockets of an address, IPv4 first; none when there are none that are fit."""
        return [sock for _, sock in sorted(self._usable(name_of(address), address), key=lambda each: each[0])]

    def offered(self, address: str) -> list[int]:
        """What a master that runs was passed itself, by ``address``; not bound by any gwctl."""
        name = name_of(address)
        return self._by_name.get(name, []) if name in self._offered else []

    def take_unix(self, path: Path, address: str) -> unix_socket.UnixSocket | None:
        """The one whose file is still at ``path``."""
        start = f"{name_of(address)};"
        for name in self._by_name:
            inode = name.removeprefix(start).split(".")
            if not name.startswith(start) or len(inode) != 2 or not all(map(str.isdecimal, inode)):
                continue
            for _, sock in self._usable(name, address):
                found = unix_socket.UnixSocket(sock, path, (int(inode[0]), int(inode[1])))
                if sock.family == socket.AF_UNIX and found.can_be_reached:
                    return found
                sock.detach()
        return None

    def _usable(self, name: str, address: str) -> list[tuple[int, socket.socket]]:
        usable: dict[object, tuple[int, socket.socket]] = {}
        for fd in self._by_name.get(name, ()):
            with suppress(
                BindError
            ):  # somebody has shut it down: it is bound anew, and let go of by `settle`
                sock = inherited.listening(fd, address)
                let_in_again(sock)
                if sock.getsockname() in usable:
                    sock.detach()
                else:
                    usable[sock.getsockname()] = (int(sock.family), sock)
        return list(usable.values())

    def settle(self, taken: Iterable[int]) -> None:
        """The start has succeeded: close what could not be used. The rest is no longer the store's."""
        kept = set(taken)
        for fd in self.fds:
            if fd not in kept:
                with suppress(OSError):
                    os.close(fd)
        self._by_name, self._unused, self._offered = {}, [], frozenset()
