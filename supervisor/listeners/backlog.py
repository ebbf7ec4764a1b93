"""How many connections wait at a listening socket."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

_COUNTS: Final = struct.Struct("24xII").unpack_from
"""``tcpi_unacked`` and ``tcpi_sacked`` of tcp_info: of a listener those that wait, and its backlog."""


def waiting(sock: socket.socket) -> tuple[int, int] | None:
    """Connections that wait to be accepted, and how many may; None where nobody says (Unix sockets)."""
    if sock.family == socket.AF_UNIX or sys.platform != "linux":
        return None
    try:
        found: tuple[int, int] = _COUNTS(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104))
    except (OSError, struct.error):
        return None
    return found
