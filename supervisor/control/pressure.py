"""How near a pool is to what the kernel allows: connections that wait, open files."""

from __future__ import annotations

import os
import resource
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


def open_files(pid: int) -> tuple[int, int] | None:
    """Descriptors that a process has, and how many it may have; None where we may not know."""
    try:
        limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
        return len(os.listdir(f"/proc/{pid}/fd")), limit  # noqa: PTH208 - counted, not used
    except (OSError, AttributeError, ValueError):
        return None
