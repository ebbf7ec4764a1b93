"""Binding what the settings name, and changing it at a reload without closing a port in between.

Rules
    - Each address is exactly what it says. ``[::]:8000`` is IPv6 only (IPV6_V6ONLY), so that
      it can stand beside ``0.0.0.0:8000`` whatever the system's default. SO_REUSEADDR, never
      SO_REUSEPORT: a second master on the port is a mistake, and a worker that dies takes no
      queue of connections with it.
    - ``:8000`` is two sockets, one of each family. Names are not resolved: settings hold numbers.
    - What is new is bound before anything is closed; what is in both plans keeps its sockets,
      with what waits in their backlogs. A Unix socket whose file was removed is bound anew: nobody could
      connect to the one that is open.
    - Nothing is retried here: an address in use raises BindError with errno EADDRINUSE, and
      the caller may try again until its deadline.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from gwctl.config.addresses import bare
from gwctl.config.model.settings import PoolSettings
from gwctl.errors import BindError, InvariantViolation
from gwctl.ipc import inherited_fds
from gwctl.ipc.assignment import Listener
from gwctl.supervisor.listeners import inherited, unix_socket
from gwctl.supervisor.listeners.bind import Held, Wanted, bind
from gwctl.supervisor.listeners.repair import ListenerCare
from gwctl.supervisor.listeners.stored import Stored
from gwctl.supervisor.recorder import Recorder


class ListenerSnapshot(msgspec.Struct, frozen=True):
    """One address and its sockets. ``file`` and ``inode`` are those of a Unix socket that was bound here."""

    wanted: Wanted
    sockets: tuple[tuple[int, str], ...]
    taken: bool = False
    file: str = ""
    inode: tuple[int, int] = (0, 0)


class ListenerSet:
    """The listeners of all pools, by the address as the settings write it.

    ``open``, then ``commit`` or ``abandon``. Between them the listeners of both plans are open.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        passed: Mapping[str, Iterable[int]] | None = None,
        offered: Mapping[str, Iterable[int]] | None = None,
    ) -> None:
        """``passed`` by systemd, if another program saw it first; ``offered`` by another master."""
        self._passed = inherited.Passed(environ, passed)
        self._store = Stored(self._passed.stored, offered)
        self.stored = tuple(self._store.names)
        """Names of what was in systemd's store at the start."""
        self._current: dict[str, Held] = {}
        self._tried: dict[str, Held] | None = None
        self._adjusted: list[tuple[Held, Wanted]] = []
        self._care = ListenerCare()

    def snapshot(self) -> tuple[tuple[ListenerSnapshot, ...], dict[str, tuple[int, ...]]]:
        """The listeners of the plan in force, and what systemd passed; as `resume` takes them."""
        passed = {name: tuple(fds) for name, fds in self._passed.by_name.items()}
        return tuple(map(_snapshot, self._current.values())), passed

    def resume(self, listeners: Iterable[ListenerSnapshot]) -> None:
        """Go on with the sockets of another program. ``passed`` is given to the constructor."""
        self._current = {each.wanted.address: _held(each) for each in listeners}
        self._care.remember(self._current.values())

    def open(self, pools: Mapping[str, PoolSettings], untouched: Container[str] = ()) -> None:
        """Open what the pools bind and is not open yet. Those of ``untouched`` pools stay as they are.

        Raises:
            BindError: Nothing has changed; errno EADDRINUSE is worth another try.
        """
        if self._tried is not None:
            raise InvariantViolation("listeners are opened for a third plan")
        wanted = {address: self._as_it_is(each, untouched) for address, each in wanted_by(pools).items()}
        self._store.release(wanted)
        fresh: dict[str, Held] = {}
        try:
            for address, each in wanted.items():
                if each.pool in untouched and address in self._current:
                    continue
                if address not in self._current or self._current[address].lost:
                    fresh[address] = bind(each, self._passed, self._store)
            for address in wanted.keys() & self._current.keys() - fresh.keys():
                self._adjust(self._current[address], wanted[address])
        except BaseException:
            self._undo(fresh.values())
            raise
        self._tried = {address: fresh.get(address) or self._current[address] for address in wanted}

    @property
    def renewed(self) -> set[str]:
        """Addresses that the tried plan has bound anew: workers of before cannot be reached there."""
        return {
            address
            for address, held in (self._tried or {}).items()
            if address in self._current and self._current[address] is not held
        }

    def commit(self) -> set[str]:
        """Close what only the previous plan had. Returns the names of the pools that had it."""
        if self._tried is None:
            return set()
        removed = [held for address, held in self._current.items() if self._tried.get(address) is not held]
        for held in removed:
            for listener in held.listeners:
                self._passed.closed(listener.sock.fileno())
            held.close()
        self._current, self._tried = self._tried, None
        self._adjusted.clear()
        self._care.remember(self._current.values())
        return {held.wanted.pool for held in removed}

    def abandon(self) -> None:
        """Close what only the tried plan had."""
        if self._tried is None:
            return
        tried, self._tried = self._tried, None
        self._undo(held for address, held in tried.items() if self._current.get(address) is not held)

    def settle(self, keep: Callable[[Mapping[str, tuple[int, ...]]], bool]) -> None:
        """Have what is in force kept elsewhere, by ``keep``; what the store had and is not used goes."""
        in_force = (each for held in self._current.values() for each in held.listeners)
        self._store.settle(listener.sock.fileno() for listener in in_force)
        self.keep(kept=keep(self.own))

    def keep(self, *, kept: bool) -> None:
        """Somebody else has copies of all that is bound here and in force, or of nothing."""
        for held in self._current.values():
            held.kept = kept and not held.taken and not held.shut_down

    @property
    def own(self) -> dict[str, tuple[int, ...]]:
        """The descriptors of what is bound here and in force, by the name for the store."""
        taken = {each.name for each in self._current.values() if each.taken}
        return {name: fds for name, fds in self.in_force.items() if name not in taken}

    @property
    def in_force(self) -> dict[str, tuple[int, ...]]:
        """The descriptors of all that is in force, by the name for the store; also what was passed to us."""
        return {
            each.name: tuple(listener.sock.fileno() for listener in each.listeners)
            for each in self._current.values()
            if not each.shut_down
        }

    def leave(self, names: Container[str] | None) -> None:
        """Those of these names are another master's from now on: `close` is not their end. None: all are."""
        for held in self._current.values():
            held.kept = names is None or held.name in names

    def set_back(self) -> None:
        """Undo what another master may have changed of those that it has copies of."""
        for held in self._current.values():
            with suppress(BindError, OSError):  # somebody has shut it down, or its file is gone
                held.apply()

    def get(self, address: str) -> tuple[Listener, ...]:
        """The open listeners of an address of either plan; none once they are closed."""
        held = (self._tried or {}).get(address) or self._current.get(address)
        return held.listeners if held is not None else ()

    def check(self, recorder: Recorder) -> None:
        """See what workers have done to them."""
        self._care.check(self._current.values(), recorder)

    def close(self) -> None:
        """Close everything: new clients are refused from now on, or wait for who has what outlives us."""
        self.abandon()
        for held in self._current.values():
            held.leave()
        self._current = {}

    def close_in_child(self, keep: Iterable[str]) -> None:
        """In a worker: close the copies of what is not in ``keep``; no file is touched."""
        keep = set(keep)
        held = {id(each): each for plan in (self._current, self._tried or {}) for each in plan.values()}
        unused = {*self._passed.fds, *self._store.fds}
        for each in held.values():
            for listener in each.listeners:
                unused.discard(listener.sock.fileno())
                if each.wanted.address not in keep:
                    listener.sock.close()
        for fd in unused:
            with suppress(OSError):  # whoever stopped the fleet has closed them
                os.close(fd)

    def _as_it_is(self, wanted: Wanted, untouched: Container[str]) -> Wanted:
        """Names of users may have other numbers by now."""
        held = self._current.get(wanted.address)
        return held.wanted if held is not None and wanted.pool in untouched else wanted

    def _adjust(self, held: Held, wanted: Wanted) -> None:
        if held.wanted != wanted:
            self._adjusted.append((held, held.wanted))
            held.adjust(wanted)

    def _undo(self, fresh: Iterable[Held]) -> None:
        for held in fresh:
            held.undo()
        while self._adjusted:
            held, before = self._adjusted.pop()
            with suppress(BindError):  # its file is gone: nothing is left whose mode could be put back
                held.adjust(before)


def _snapshot(held: Held) -> ListenerSnapshot:
    sockets = tuple((each.sock.fileno(), each.url) for each in held.listeners)
    if held.unix is None:
        return ListenerSnapshot(held.wanted, sockets, held.taken)
    return ListenerSnapshot(held.wanted, sockets, held.taken, str(held.unix.path), held.unix.inode)


def _held(snapshot: ListenerSnapshot) -> Held:
    listeners = tuple(
        Listener(inherited_fds.socket_of(fd), snapshot.wanted.address, url) for fd, url in snapshot.sockets
    )
    unix = (
        unix_socket.UnixSocket(listeners[0].sock, Path(snapshot.file), snapshot.inode)
        if snapshot.file
        else None
    )
    for listener in listeners:
        listener.sock.setblocking(False)
    return Held(snapshot.wanted, listeners, unix, snapshot.taken)


def wanted_by(pools: Mapping[str, PoolSettings]) -> dict[str, Wanted]:
    """Collect the addresses of all pools.

    Raises:
        BindError: Two pools name the same address, or a socket's owner does not exist.
    """
    wanted: dict[str, Wanted] = {}
    for name, pool in pools.items():
        for address in map(bare, pool.bind):
            other = wanted.get(address)
            if other is not None and other.pool != name:
                raise BindError(address, f"both pool.{other.pool} and pool.{name} bind it")
            access = _access(pool, address) if address.startswith("unix:") else unix_socket.Access()
            wanted[address] = Wanted(address, name, pool.backlog, access)
    return wanted


def _access(pool: PoolSettings, address: str) -> unix_socket.Access:
    """Mode and owner of a Unix socket: by default the pool's own user and group, if we may give it away."""
    user, group = pool.socket_user, pool.socket_group
    if os.geteuid() == 0:
        user, group = user or pool.user, group or pool.group
    uid, gid = _user(user, address)
    if group:
        gid = _group(group, address)
    return unix_socket.Access(int(pool.socket_mode, 8), uid, gid)


def _user(name: str, address: str) -> tuple[int, int]:
    """(uid, its primary group) of a name or number; -1 leaves them."""
    if not name:
        return -1, -1
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        if name.isdecimal():
            return int(name), -1
        raise BindError(address, f"there is no user {name}") from None
    return entry.pw_uid, entry.pw_gid


def _group(name: str, address: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise BindError(address, f"there is no group {name}") from None
