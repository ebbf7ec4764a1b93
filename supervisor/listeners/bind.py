"""Binding one address: TCP, a Unix socket, an abstract one, or what was passed to us.

Every failure is a BindError that says what is in the way, who, and what to do.
"""

from __future__ import annotations

import errno
import os
import socket
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Final, assert_never

from msgspec import Struct

from gwctl.config.addresses import Address, FdAddress, SystemdAddress, TcpAddress, UnixAddress, parse, shown
from gwctl.errors import BindError
from gwctl.ipc.assignment import Listener
from gwctl.supervisor.listeners import inherited, port_owner, unix_socket
from gwctl.supervisor.listeners.stored import Stored, name_of
from gwctl.supervisor.listeners.syn_filter import reject_new_connections

_PROBES: Final = {"TCP_KEEPIDLE": 120, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A client that has vanished without a word (its power, its network) is found out after about 3 minutes of
silence: a stream that has nothing to say, or a WebSocket without pings, would keep its socket for ever."""


class Wanted(Struct, frozen=True):
    """One address of a pool, with what belongs to it."""

    address: str
    pool: str
    backlog: int
    access: unix_socket.Access

    @property
    def shown(self) -> str:
        """For a person: `address` tells two with port 0 apart by the zeros of the port."""
        return shown(self.address)


class Held(Struct):
    """What one address stands for: several listeners when systemd passed several of the name."""

    wanted: Wanted
    listeners: tuple[Listener, ...]
    unix: unix_socket.UnixSocket | None = None
    taken: bool = False
    """Taken over from whoever started us, not bound here."""
    shut_down: bool = False
    """It is a Unix socket, and a worker has shut it down."""
    from_store: tuple[int, ...] = ()
    """Descriptors that systemd had for us, of a listener that was bound here by the master before."""
    kept: bool = False
    """Somebody else has a copy, so that clients wait there when this master has closed its own."""

    @property
    def lost(self) -> bool:
        """It is a Unix socket, shut down or its file removed or replaced: nobody can connect any more."""
        return self.shut_down or (self.unix is not None and not self.unix.can_be_reached)

    @property
    def name(self) -> str:
        """By which it is kept elsewhere: see `gwctl.supervisor.listeners.stored`."""
        return name_of(self.wanted.address, self.unix.inode if self.unix is not None else None)

    def close(self) -> None:
        """Close for good, and remove the file that is ours. Workers have copies, to accept the last."""
        if self.unix is not None:
            self.unix.unlink()
        for listener in self.listeners:
            if not self.taken:
                reject_new_connections(listener.sock)
            listener.sock.close()

    def leave(self) -> None:
        """Close our copies. Where nobody else has any, that is for good."""
        if not self.kept:
            self.close()
            return
        for listener in self.listeners:
            listener.sock.close()

    def undo(self) -> None:
        """Make it as if it had not been opened: descriptors that were taken over stay open."""
        if self.from_store:
            for listener in self.listeners:
                if listener.sock.fileno() in self.from_store:
                    listener.sock.detach()
                else:
                    listener.sock.close()
        elif self.taken:
            for listener in self.listeners:
                listener.sock.detach()
        else:
            self.close()

    def adjust(self, wanted: Wanted) -> None:
        """Apply another backlog and, to a Unix socket's file, other permissions."""
        if self.unix is not None and wanted.access != self.wanted.access:
            self.unix.set_access(wanted.access)
        if not self.taken and wanted.backlog != self.wanted.backlog:
            for listener in self.listeners:
                listener.sock.listen(wanted.backlog)
        self.wanted = wanted

    def apply(self) -> None:
        """Have backlog and permissions as they are wanted, whoever has changed them."""
        if self.taken:
            return
        if self.unix is not None:
            self.unix.set_access(self.wanted.access)
        for listener in self.listeners:
            listener.sock.listen(self.wanted.backlog)


def bind(wanted: Wanted, passed: inherited.Passed, store: Stored) -> Held:
    """Open one address, with what is in ``store`` for it.

    Raises:
        BindError: Says why, and who has it.
    """
    address = parse(wanted.address)
    if held := _from_store(wanted, address, store):
        return held
    match address:
        case TcpAddress(host=host, port=port):
            return _made(wanted, _bind_tcp(wanted, host, port) if host else _bind_everywhere(wanted, port))
        case UnixAddress(path=path) if path.startswith("@"):
            return _made(wanted, [_bind_abstract(wanted, path)])
        case UnixAddress(path=path):
            unix = unix_socket.bind(Path(path), wanted.access, wanted.backlog)
            return _made(wanted, [unix.sock], unix)
        case FdAddress(fd=fd):
            return _take(wanted, store.offered(wanted.address) or [fd])
        case SystemdAddress(name=name):
            fds = passed.by_name.get(name) or store.offered(wanted.address) or passed.named(name)
            return _take(wanted, fds)
        case unknown:
            assert_never(unknown)


def _from_store(wanted: Wanted, address: Address, store: Stored) -> Held | None:
    """What was bound here by the master before, as it is wanted now; None: it has to be bound."""
    unix = None
    if isinstance(address, UnixAddress) and not address.path.startswith("@"):
        unix = store.take_unix(Path(address.path), wanted.address)
        socks = [unix.sock] if unix is not None else []
    elif isinstance(address, TcpAddress | UnixAddress):
        socks = store.take(wanted.address)
    else:
        socks = []
    if not socks:
        return None
    kept = tuple(sock.fileno() for sock in socks)
    try:
        if unix is not None:
            unix.set_access(wanted.access)
        if isinstance(address, TcpAddress) and not address.host and len(socks) == 1:
            socks += _other_family(wanted, socks[0])
        for sock in socks:
            sock.listen(wanted.backlog)
    except (BindError, OSError) as error:
        for sock in socks:
            sock.detach() if sock.fileno() in kept else sock.close()
        if isinstance(error, BindError):
            raise
        raise BindError(wanted.shown, error.strerror or str(error), error.errno) from None
    held = _made(wanted, socks, unix)
    held.from_store, held.kept = kept, True
    return held


def _other_family(wanted: Wanted, sock: socket.socket) -> list[socket.socket]:
    """One of the two is missing: there was no IPv6 then, or somebody has shut one of them down."""
    if sock.family == socket.AF_INET:
        return _beside(wanted, sock)
    return _bind_tcp(wanted, "0.0.0.0", sock.getsockname()[1])


def _made(wanted: Wanted, socks: Iterable[socket.socket], unix: unix_socket.UnixSocket | None = None) -> Held:
    return Held(wanted, tuple(Listener(sock, wanted.address, url_of(sock)) for sock in socks), unix)


def _take(wanted: Wanted, fds: Iterable[int]) -> Held:
    held = Held(wanted, (), taken=True)
    try:
        for fd in fds:
            sock = inherited.listening(fd, wanted.address)
            if sock.family != socket.AF_UNIX and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
                probe_silent_clients(sock)  # else its owner has values of his own, as systemd's KeepAlive=
            held.listeners += (Listener(sock, wanted.address, url_of(sock)),)
    except BindError:
        held.undo()
        raise
    return held


def url_of(sock: socket.socket) -> str:
    """What a person can open: ``http://127.0.0.1:8000`` with the real port, or ``unix:/path``."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        if isinstance(name, bytes):
            name = os.fsdecode(name.replace(b"\0", b"@", 1))
        return f"unix:{_on_a_line(name)}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"http://{host}:{name[1]}"


def _on_a_line(name: str) -> str:
    """A socket that was passed to us can have any name, with NULs and line ends in it."""
    return "".join(repr(each)[1:-1] if unicodedata.category(each) == "Cc" else each for each in name)


# ---- TCP


def _bind_tcp(wanted: Wanted, host: str, port: int) -> list[socket.socket]:
    try:
        return [_listen_tcp(host, port, wanted.backlog)]
    except OSError as error:
        raise BindError(wanted.shown, _tcp_reason(error, host, port), error.errno) from None


def _bind_everywhere(wanted: Wanted, port: int) -> list[socket.socket]:
    """IPv4 and IPv6 on the same port, each on a socket of its own.

    One socket for both would do, but shows IPv4 clients to the application as ``::ffff:1.2.3.4``.
    """
    (first,) = _bind_tcp(wanted, "0.0.0.0", port)
    try:
        return [first, *_beside(wanted, first)]
    except BindError:
        first.close()
        raise


def _beside(wanted: Wanted, first: socket.socket) -> list[socket.socket]:
    """The IPv6 socket on the port of an IPv4 one; none where there is no IPv6."""
    port = first.getsockname()[1]
    try:
        return [_listen_tcp("::", port, wanted.backlog)]
    except OSError as error:
        if error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            return []
        raise BindError(wanted.shown, _tcp_reason(error, "::", port), error.errno) from None


def _listen_tcp(host: str, port: int, backlog: int) -> socket.socket:
    """``host`` is an IP address, with a scope (``fe80::1%eth0``) if need be."""
    flags = socket.AI_NUMERICHOST | socket.AI_PASSIVE
    family, _, _, _, sockaddr = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe_silent_clients(sock)
        sock.setblocking(False)
        sock.bind(sockaddr)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def probe_silent_clients(listener: socket.socket) -> None:
    """Have the kernel probe silent connections of ``listener``: accepted ones inherit it (tcp(7))."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        option = getattr(socket, name, None)  # macOS lacks some
        if option is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


def _tcp_reason(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return _in_use(port)
        case errno.EACCES | errno.EPERM:
            return (
                f"uid {os.geteuid()} may not use ports below {_first_free_port()}. "
                "Let systemd bind it (a socket unit and bind = systemd:NAME), or give the service "
                "AmbientCapabilities=CAP_NET_BIND_SERVICE, or start as root with pool.user set"
            )
        case errno.EADDRNOTAVAIL:
            return f"no interface of this machine has the address {host}"
        case errno.EAFNOSUPPORT:
            return "this machine has no IPv6"
    return error.strerror or str(error)  # gaierror too: a scope that names no interface


def _in_use(port: int) -> str:
    pids = port_owner.of_port(port)
    if os.getpid() in pids:
        return "in use by this master itself: another address of the settings covers it"
    if not pids:
        return "in use by a process that this user may not see"
    others = f" and {len(pids) - 1} more" if len(pids) > 1 else ""
    return f"in use by {port_owner.describe(pids[0])}{others}"


def _first_free_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text("utf-8"))
    except (OSError, ValueError):
        return 1024


# ---- Unix sockets


def _bind_abstract(wanted: Wanted, path: str) -> socket.socket:
    """An abstract socket has a name instead of a file, so no permissions either: unix(7)."""
    name = b"\0" + os.fsencode(path[1:])
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(name)
        sock.listen(wanted.backlog)
    except OSError as error:
        sock.close()
        reason = _abstract_in_use(name) if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise BindError(wanted.shown, reason, error.errno) from None
    return sock


def _abstract_in_use(name: bytes) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(name)
        except OSError:
            return "in use"
        return unix_socket.in_use_by(probe)
