"""What the kernel knows of a TCP connection or listener, and what it holds (tcp(7), linux/tcp.h)."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Any, Final

_ACKNOWLEDGED_BYTES: Final = 128
_read_acknowledged: Final = struct.Struct("=120xQ").unpack  # tcpi_bytes_acked
_read_int: Final = struct.Struct("i").unpack


def tcp_info(sock: Any, size: int) -> bytes:
    """Return the first ``size`` bytes, or none: of a Unix socket, a closed one, on other kernels."""
    if sock.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
        return b""
    try:
        info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    except (OSError, ValueError):
        return b""
    return info if len(info) == size else b""


def taken_bytes(sock: Any) -> int:
    """Return how much the peer's kernel has acknowledged in the connection's life; 0: nobody says."""
    info = tcp_info(sock, _ACKNOWLEDGED_BYTES)
    return int(_read_acknowledged(info)[0]) if info else 0


def in_kernel(sock: Any) -> int:
    """Return how many bytes the kernel holds that the peer has not acknowledged; 0 where it does not say."""
    try:
        answer: bytes = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except (OSError, ValueError):
        return 0  # it was closed meanwhile
    size: int = _read_int(answer)[0]
    return size
