"""Sockets whose descriptors another program has left open for this one, in an upgrade in place.

A socket object closes its descriptor when it is collected. If restoring fails half way, the program before
has to go on with every one of them, and what an exception passes on its way is collected: the first items of
a list that is never finished, an argument of a call that is never made. So all are held here until the end.
"""

from __future__ import annotations

import socket
from typing import Final

_HELD: Final[list[socket.socket]] = []


def socket_of(fd: int) -> socket.socket:
    """Make the socket of ``fd``, to be closed by its owner, and by nobody else before `let_go`."""
    sock = socket.socket(fileno=fd)
    _HELD.append(sock)
    return sock


def let_go() -> None:
    """Everything is restored: each socket has its owner."""
    _HELD.clear()
