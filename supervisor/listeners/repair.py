"""What a worker did to a listener that it shares with others: noticed, mended where possible, and said.

A listener is one socket for all workers of a pool, and what one of them does to it holds for all:
shutdown(2) ends it, and a listener that blocks stops the loop of whoever accepts a moment too late. The
application's code can do either by mistake, with a socket that it got by its number. Looked at with
the scoreboard, every few seconds.

    - A TCP listener that listens no more is bound and listens again, on the same descriptor, so that
      all workers have it. Who waited in its backlog was reset.
    - A Unix socket that was shut down stays so. It counts as lost: the next reload binds it anew.
    - One that blocks is set back.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from gwctl.records.master import ListenerDamaged
from gwctl.supervisor.recorder import Recorder

if TYPE_CHECKING:
    from gwctl.supervisor.listeners.bind import Held

TOLD_S: Final = 60.0
"""Of one address, not more than once in this time."""


class ListenerCare:
    """Remembers where its listeners are bound, and what it has said of them."""

    def __init__(self) -> None:
        self._names: dict[int, Any] = {}
        self._told_at: dict[str, float] = {}

    def remember(self, held: Iterable[Held]) -> None:
        """Note where they are bound: a socket that was shut down may not know any more."""
        socks = [listener.sock for each in held for listener in each.listeners]
        self._names = {sock.fileno(): sock.getsockname() for sock in socks}

    def check(self, held: Iterable[Held], recorder: Recorder) -> None:
        """Look at each, and mend what can be."""
        for each in held:
            for listener in each.listeners:
                if found := self._check(each, listener.sock):
                    self._tell(found, recorder)

    def _check(self, held: Held, sock: socket.socket) -> ListenerDamaged | None:
        """What was wrong, and what is now."""
        pool, address = held.wanted.pool, ", ".join(each.url for each in held.listeners)
        if os.get_blocking(sock.fileno()):
            sock.setblocking(False)
            return ListenerDamaged(pool=pool, address=address, damage="blocking")
        if sock.family == socket.AF_UNIX:
            if held.shut_down or not _hung_up(sock):
                return None
            held.shut_down = True
            return ListenerDamaged(
                pool=pool,
                address=address,
                damage="unix_shut_down",
                mended=False,
                bound_by_us=held.unix is not None,
            )
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return None
        reason = self._listen_again(held, sock)
        return ListenerDamaged(
            pool=pool, address=address, damage="shut_down", mended=not reason, reason=reason
        )

    def _listen_again(self, held: Held, sock: socket.socket) -> str:
        """Return why it cannot; empty: it does."""
        try:
            if name := self._names.get(sock.fileno()):
                _bind_again(sock, name)
            sock.listen(held.wanted.backlog)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _tell(self, found: ListenerDamaged, recorder: Recorder) -> None:
        now = time.monotonic()
        if now - self._told_at.get(found.address, -TOLD_S) < TOLD_S:
            return
        self._told_at[found.address] = now
        recorder.write(found)


def _bind_again(sock: socket.socket, name: Any) -> None:
    """A port that the kernel chose was given back by the shutdown, though the socket still tells of it."""
    try:
        sock.bind(name)
    except OSError as error:
        if error.errno != errno.EINVAL:  # else it is bound yet
            raise


def _hung_up(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))
