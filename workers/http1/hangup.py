"""The end of a connection, so that its client sees it whoever else holds the socket.

A socket is closed when its last descriptor is: that of a child process which the application has
forked, of a sibling that is in the middle of a long call, of a thread. So it is shut down first, which
is about the connection and not about the descriptor. What waits to be sent still goes out.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from contextlib import suppress
from typing import Final

_ABORT: Final = b"\x01\0\0\0\0\0\0\0"
_NOWHERE: Final = bytes(16)  # a sockaddr of family AF_UNSPEC


def reset_at_end(sock: socket.socket) -> None:
    """Have the connection end by a reset (RFC 9293 section 3.10.5), where its kind knows one."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)


def hang_up(sock: socket.socket) -> None:
    """End the connection of ``sock``, which is about to be closed."""
    with suppress(OSError):  # it is gone already
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
            _reset(sock)
        else:
            sock.shutdown(socket.SHUT_RDWR)


def hang_up_descriptor(fd: int) -> None:
    """The same where the socket itself is not at hand."""
    with suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
        hang_up(sock)


def _reset(sock: socket.socket) -> None:
    """Reset now: connect(2), "dissolve the association". Elsewhere the last close does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).connect(sock.fileno(), _NOWHERE, len(_NOWHERE))


def has_unread(sock: socket.socket) -> bool:
    """Tell whether the kernel has input that was not read, not merely the connection's end; any thread."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
