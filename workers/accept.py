"""Accepting connections: a few at a time, never spinning.

The listeners are shared by all workers of a pool, and whoever accepts first serves. So a
worker takes only as many in one turn of its loop as its runner can start soon. When
descriptors or memory run out, accepting pauses for a moment; the connections wait in the
backlog, where a sibling may take them.

uvloop's own server is not used: it accepts as many as there are, and stopping it closes the
listener, which parking must not.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gwctl.assignment import Listener
from gwctl.workers.http1 import Connection

if TYPE_CHECKING:
    from gwctl.workers.server import Server

PAUSE_S: Final = 0.5
_SWEEP_MAX: Final = 65536

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

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop: Any = server.loop
        self._listeners = list(server.assignment.listeners)
        self._batch = server.runner.accept_batch
        self._reserve = server.runner.reserve
        self._watching: list[Listener] = []
        self._setups: set[Coroutine[Any, Any, Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._exhaustion_told = False
        self.accepted = 0

    @property
    def idle(self) -> bool:
        """Tell whether no accepted connection is still on its way to its protocol."""
        return not self._setups

    def start(self) -> None:
        """Accept from now on."""
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
        while self._listeners:
            self._listeners.pop().sock.close()
        self._server.runner.release()

    def sweep(self) -> None:
        """Accept everything that waits in the backlogs."""
        for listener in self._listeners:
            for _ in range(_SWEEP_MAX):
                if not self._accept_one(listener):
                    break

    def _accept(self, listener: Listener) -> None:
        for _ in range(self._batch):
            if not self._accept_one(listener):
                return

    def _accept_one(self, listener: Listener) -> bool:
        """Accept one connection; return whether there may be another."""
        try:
            self._reserve()
            sock, peer = listener.sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            return self._failed(listener, error)
        self._exhaustion_told = False
        sock.setblocking(False)
        connection = Connection(self._server, sock, peer, listener)
        self._server.runner.accepted(connection)
        self._server.admit(connection)
        self.accepted += 1
        setup = self._loop.connect_accepted_socket(partial(self._server.first_protocol, connection), sock)
        self._setups.add(setup)
        self._connect(setup, connection, sock)
        return True

    def _connect(
        self,
        setup: Coroutine[Any, Any, Any],
        connection: Connection,
        sock: socket.socket,
        _awaited: asyncio.Future[None] | None = None,
    ) -> None:
        """Take ``setup`` one step further. No task: those want the running loop, which sync hides."""
        try:
            awaited = setup.send(None)
        except StopIteration:
            self._setups.discard(setup)
        except OSError:
            # The client was gone before the transport stood.
            self._setups.discard(setup)
            sock.close()
            self._server.runner.disconnected(connection)
            self._server.forget(connection)
        else:
            awaited.add_done_callback(partial(self._connect, setup, connection, sock))

    def _failed(self, listener: Listener, error: OSError) -> bool:
        if error.errno in _THEIRS:
            return True
        if listener.sock.fileno() < 0:
            return False  # a signal's handler closed it meanwhile
        if error.errno not in _EXHAUSTED:
            self._server.log.error(f"cannot accept on {listener.address}: {error.strerror}")
        elif not self._exhaustion_told:
            self._exhaustion_told = True
            self._server.log.error(
                f"cannot accept on {listener.address}: {error.strerror}; "
                f"trying again every {PAUSE_S:g} s. `nofile` raises the limit of open files"
            )
        if self._watching:
            self.stop()
            self._pause = self._loop.call_later(PAUSE_S, self.start)
        return False
