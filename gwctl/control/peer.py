"""Who is at the other end of a Unix socket, by what the kernel notes of it when it connects."""

from __future__ import annotations

import socket
import struct


def pid_of(connected: socket.socket) -> int | None:
    """The peer's pid: for a listener, of the process that called listen()."""
    known = credentials(connected)
    return known[0] if known and known[0] > 0 else None


def credentials(connected: socket.socket) -> tuple[int, int, int] | None:
    """(pid, uid, gid) of the peer when it connected; None where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", raw)
    return pid, uid, gid
