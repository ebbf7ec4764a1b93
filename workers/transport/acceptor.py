"""Accepting connections: a few at a time, never spinning.

The listeners are shared by all workers of a pool, and whoever accepts first serves. So a
worker takes only as many in one turn of its loop as its runner can start soon, and no more
than its share while siblings can take the others (`gwctl.workers.balancing.accept_gate`).

When there is no room (`gwctl.workers.balancing.overload`), or no descriptor or memory
(`gwctl.workers.transport.fd_reserve`), siblings that have room come first. Else silent clients make room
(`gwctl.workers.balancing.eviction`). Where there is none, a new one is told 503, if that is wanted, or
accepting pauses for a moment: the connections wait in the backlog.

uvloop's own server is not used: it accepts as many as there are, and stopping it closes the
listener, which parking must not.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Coroutine
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.ipc.assignment import Listener
from gwctl.ipc.connection_queue import TransferHeader
from gwctl.workers.balancing.accept_gate import DECLINE_S, Gate
from gwctl.workers.balancing.eviction import Eviction, Patience
from gwctl.workers.balancing.handoff import AdoptedConnection, SharedConnection
from gwctl.workers.balancing.overload import RECHECK_S, Overload, RefusedConnection
from gwctl.workers.exchange.descriptor_limit import descriptors_max
from gwctl.workers.http1.protocol import Connection
from gwctl.workers.observe.tcp_info import tcp_info
from gwctl.workers.transport.fd_reserve import Descriptors
from gwctl.workers.transport.preamble import FirstProtocol, plain_http

if TYPE_CHECKING:
    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.http1.connections import ConnectionService

PAUSE_S: Final = 0.5
_MAKING_ROOM_S: Final = 0.001
"""Those that were closed to make room have gone by then."""
LAST_SWEEP_S: Final = 0.05
"""After the first sweep of a backlog into which nobody new is let: handshakes under way are done by then."""
_BATCH_MAX: Final = 16
_TCP_INFO_BYTES: Final = 104
_backlog: Final = struct.Struct("=24xI76x").unpack  # struct tcp_info of linux/tcp.h, up to tcpi_total_retrans
_SWEEP_MAX: Final = 65536
_SO_GET_FILTER: Final = 26
_FILTER_BYTES: Final = 512  # more than what `gwctl.supervisor.listeners.syn_filter` attaches has

_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# Errors of the one connection that was to be accepted (accept(2), "Error handling").
_THEIRS: Final = {
    errno.ECONNABORTED,
    errno.EINTR,
    errno.EPERM,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENOPROTOOPT,
    errno.ENONET,
    errno.EOPNOTSUPP,
}


class Acceptor:
    """Accepts on all listeners of the worker."""

    def __init__(
        self,
        service: ConnectionService,
        balancing: Balancing,
        overload: Overload | None,
        first_protocol: FirstProtocol,
    ) -> None:
        self._service = service
        self._context = context = service.context
        self._siblings = balancing.siblings
        self._queue = balancing.queue
        self._overload = overload
        self._first_protocol = first_protocol
        self._loop: Any = context.loop
        self._listeners = list(context.assignment.listeners)
        self._batch = service.runner.accept_batch
        self._reserve = service.runner.reserve
        self._gate = Gate(self._siblings, context.record, self._batch)
        self._watching: list[Listener] = []
        self._vacated: list[Listener] = []  # their numbers are kept until the loop turns again
        self._setups: set[Coroutine[Any, Any, Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._shared = context.assignment.board is not None
        self._new_connection = SharedConnection if self._shared else Connection
        self._closing = threading.RLock()  # a signal's handler may close while its thread does
        self._descriptors = Descriptors()
        self._no_delay = context.settings.loop == "asyncio"  # uvloop sets it itself
        self._eviction = Eviction(service, balancing.rates, overload)
        self._patience = Patience()
        self._expecting_room = False
        self._sweeping = False
        self._unable = False
        self.accepted = 0

    @property
    def idle(self) -> bool:
        """Tell whether no connection is still on its way to its protocol, nor may come to be."""
        return not (self._setups or self._sweeping)

    @property
    def backlog_waits(self) -> bool:
        """Tell whether somebody waits to be accepted, while this worker accepts."""
        poller = select.poll()
        if self._watching or self._pause is not None:
            for listener in self._listeners:
                poller.register(listener.sock, select.POLLIN)
        return bool(poller.poll(0))

    def start(self) -> None:
        """Accept from now on."""
        self._pause = None
        for listener in self._listeners:
            if listener not in self._watching:
                self._watching.append(listener)
                self._loop.add_reader(listener.sock, self._accept, listener)

    def stop(self) -> None:
        """Accept no more; the listeners stay open."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        while self._watching:
            self._loop.remove_reader(self._watching.pop().sock)

    def close(self) -> None:
        """Stop, and close this process's copies of the listeners.

        Unregistered first: the open file stays, as others hold it, and would go on to wake us.
        """
        self.stop()
        with self._closing:
            while self._listeners:
                self._listeners.pop().sock.close()
            while self._vacated:
                self._vacated.pop().sock.close()
        self._service.runner.release()

    def vacate(self) -> None:
        """From another thread, while the loop's is stuck: let go of the listeners but keep their numbers.

        The loop goes by the numbers until it turns again and closes them; something else must not have
        got one of them by then.
        """
        null = os.open(os.devnull, os.O_RDWR)
        with self._closing:
            for listener in self._listeners:
                os.dup2(null, listener.sock.fileno(), inheritable=False)
        os.close(null)

    def vacate_closed(self) -> None:
        """From another thread, during a long call: let go of the listeners that nobody can reach any more.

        The master has closed them to new connections, and those that came before have been accepted. Held
        here until the call is over, they would leave clients unanswered, and nobody could bind the address.
        """
        with self._closing:
            for listener in list(self._listeners):
                if _is_closed(listener.sock):
                    null = os.open(os.devnull, os.O_RDWR)
                    os.dup2(null, listener.sock.fileno(), inheritable=False)
                    os.close(null)
                    self._listeners.remove(listener)
                    self._vacated.append(listener)

    def sweep_and_close(self) -> None:
        """Accept everything that waits in the backlogs, and what is completed right after; then close."""
        self._sweeping = True
        self._sweep()
        self._loop.call_later(LAST_SWEEP_S, self._sweep_last)

    def _sweep_last(self) -> None:
        self._sweep()
        self._sweeping = False
        self.close()
        self._service.check_drained()

    def _sweep(self) -> None:
        self._descriptors.give_all()
        for listener in self._listeners:
            for _ in range(_SWEEP_MAX):
                if not self._accept_one(listener):
                    break

    def _accept(self, listener: Listener) -> None:
        """Accept what this worker may have and its siblings should not."""
        waiting = room = self._batch
        if self._shared:
            waiting = _waiting(listener.sock)
            mine = max(self._service.connections, self._service.active_requests)
            room = self._gate.room(mine, waiting, monotonic())
            if not room:
                self._rest(DECLINE_S)
        overload = self._overload
        if room and self._queue.dropping:
            room = (
                _BATCH_MAX  # those that have waited too long are to be told so, and others come behind them
            )
        if room and overload is not None:
            room = min(room, overload.room())
            if room <= 0:
                self._at_the_bound(listener, overload)
                return
        for _ in range(min(room, waiting, _BATCH_MAX)):
            if not self._accept_one(listener):
                return

    def _at_the_bound(self, listener: Listener, overload: Overload) -> None:
        """Make room for who waits, refuse them, or leave them to a sibling or to later."""
        if overload.connections_full:
            if self._leave_to_siblings(self._context.settings.connections_max):
                return
            if self._make_room(listener):
                return
        overload.note()
        self._queue.falls_behind()
        if overload.refuses:
            self._refuse(listener, overload)
        else:
            self._rest(RECHECK_S)

    def _leave_to_siblings(self, bound: int) -> bool:
        """Leave those that wait to a sibling with fewer than ``bound`` connections, if there is one."""
        if not self._shared or not self._siblings.have_room(bound):
            return False
        if not self._patience.wait(monotonic()):
            return False
        self._rest(DECLINE_S)
        return True

    def _make_room(self, listener: Listener) -> bool:
        """Have silent clients leave for those that wait; False if there are none: others may soon."""
        waiting = _waiting(listener.sock)
        if not self._eviction.make_room(min(waiting, self._batch, _BATCH_MAX), monotonic()):
            overload = self._overload
            if overload is None or not overload.refuses:  # else nobody waits: they are answered
                self._expecting_room = self._eviction.ask_to_leave(waiting)
            return False
        self._rest(_MAKING_ROOM_S)
        return True

    def _refuse(self, listener: Listener, overload: Overload) -> None:
        for _ in range(min(_waiting(listener.sock), _BATCH_MAX)):
            if not overload.may_refuse():
                self._rest(_MAKING_ROOM_S)
                return
            if not self._accept_one(listener, RefusedConnection):
                return

    def _rest(self, seconds: float) -> None:
        """Accept nothing for a moment, with the listeners off the loop: they are readable, it would spin."""
        if not self._watching:
            return  # it parks, or does so already
        self.stop()
        self._pause = self._loop.call_later(seconds, self.start)

    def _accept_one(self, listener: Listener, kind: type[Connection] | None = None) -> bool:
        """Accept one connection; return whether there may be another."""
        try:
            self._reserve()
            if self._descriptors.scarce and self._service.connections:
                self._descriptors.check(to_refuse=kind is not None)
            sock, peer = listener.sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            return self._failed(listener, error, kind)
        self._descriptors.got(sock.fileno())
        self.accepted += 1
        connection = (kind or self._new_connection)(self._service, sock, peer, listener)
        if isinstance(connection, RefusedConnection):
            assert self._overload is not None
            self._overload.admit(connection)
        self._set_up(connection, self._first_protocol)
        return True

    def adopt(self, sock: socket.socket, header: TransferHeader, data: bytes) -> None:
        """Go on with a connection that a sibling has begun; ``data`` was read of its next request."""
        arrived_at = [each for each in self._context.assignment.listeners if each.address == header.listener]
        listener = (arrived_at or self._context.assignment.listeners)[0]
        connection = AdoptedConnection(self._service, sock, _address(header.peer), listener, data)
        connection.local = _address(header.local)
        self._set_up(connection, plain_http)

    def _set_up(self, connection: Connection, first_protocol: FirstProtocol) -> None:
        sock = connection.sock
        sock.setblocking(False)
        if self._no_delay and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._service.runner.on_accept(connection)
            self._service.admit(connection)
            setup = self._loop.connect_accepted_socket(partial(first_protocol, connection), sock)
        except BaseException:
            self._forget(connection)
            raise
        self._connect(setup, connection)

    def _connect(
        self,
        setup: Coroutine[Any, Any, Any],
        connection: Connection,
        _awaited: asyncio.Future[None] | None = None,
    ) -> None:
        """Take ``setup`` one step further. No task: those want the running loop, which sync hides.

        An application can have an exception raised in this thread, wherever that is: nothing is left then for
        whose end a drain would wait.
        """
        made = _awaited is not None  # the transport: it stands soon, whatever happens here
        awaited = _awaited
        over = waits = False
        try:
            self._setups.add(setup)
            awaited = setup.send(None)
            made = True
            awaited.add_done_callback(partial(self._connect, setup, connection))
            waits = True
        except (StopIteration, RuntimeError):  # or it was over before, with such an exception
            over = True
        except OSError:
            pass  # the client was gone before the transport stood
        finally:
            if not waits:
                self._setups.discard(setup)
            if not (waits or over):
                if made:
                    self._loop.call_soon(self._connect, setup, connection, awaited)
                else:
                    self._forget(connection)
        if over and connection.tail:
            connection.resume()

    def _forget(self, connection: Connection) -> None:
        """Let go of a connection for which there is no transport."""
        connection.sock.close()
        self._service.runner.on_disconnect(connection)
        self._service.forget(connection)

    def _failed(self, listener: Listener, error: OSError, kind: type[Connection] | None) -> bool:
        if error.errno in _THEIRS:
            return True
        if listener.sock.fileno() < 0:
            return False  # a signal's handler closed it meanwhile
        if error.errno in _EXHAUSTED:
            self._exhausted(listener, error, kind)
        else:
            self._context.throttled.error("accept", f"cannot accept on {listener.url}: {error.strerror}")
            self._rest(PAUSE_S)
        return False

    def _exhausted(self, listener: Listener, error: OSError, kind: type[Connection] | None) -> None:
        """There is no descriptor, or no memory, for another connection."""
        service = self._service
        lowered = self._descriptors.take_back() if error.errno == errno.EMFILE else ""
        if lowered:
            self._context.throttled.warning("nofile", lowered)
            return
        if error.errno == errno.EMFILE and self._descriptors.none_left(service.connections):
            self._give_up(listener)
            return
        overload = self._overload
        refuses = overload is not None and overload.refuses
        if kind is None:
            if self._leave_to_siblings(service.connections - self._batch):
                return
            if self._make_room(listener):
                return
        self._context.throttled.error(
            "accept",
            f"cannot accept on {listener.url}: {error.strerror}, with {service.connections} connections; "
            + ("new ones are told 503" if refuses else "others wait until some of them leave")
            + ". `nofile` raises the limit of open files, `connections_max` keeps below it",
        )
        if overload is None or not refuses:
            self._rest(RECHECK_S if self._expecting_room else PAUSE_S)
        elif kind is None:
            self._refuse(listener, overload)
        else:
            overload.close_oldest()
            self._rest(_MAKING_ROOM_S if overload.lingering else PAUSE_S)

    def _give_up(self, listener: Listener) -> None:
        """Nobody can be accepted any more: have the worker drain, which is then replaced."""
        self._rest(PAUSE_S)  # a while, in which its end begins
        if not self._unable:
            self._unable = True
            self._context.log.error(
                f"cannot accept on {listener.address}: the application has lowered the limit of open files "
                f"(RLIMIT_NOFILE) to {descriptors_max()}, for good. This worker drains, to be replaced"
            )
            self._context.process.unable()


def _waiting(listener: socket.socket) -> int:
    """Return how many connections wait in the backlog, at least 1; 1 where the kernel does not say."""
    info = tcp_info(listener, _TCP_INFO_BYTES)
    return (_backlog(info)[0] or 1) if info else 1  # a listener's tcpi_unacked


def _is_closed(listener: socket.socket) -> bool:
    """Tell whether the master lets nobody in any more (a filter on the socket), and nobody waits."""
    if listener.family == socket.AF_UNIX or sys.platform != "linux":
        return False
    try:
        if not listener.getsockopt(socket.SOL_SOCKET, _SO_GET_FILTER, _FILTER_BYTES):
            return False
    except OSError:
        return False
    info = tcp_info(listener, _TCP_INFO_BYTES)
    return bool(info) and not _backlog(info)[0]


def _address(found: Any) -> Any:
    """Make an address again of what JSON has made of it."""
    return tuple(found) if isinstance(found, list) else found
