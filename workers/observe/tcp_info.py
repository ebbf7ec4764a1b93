"""What the kernel knows of a TCP connection or listener (struct tcp_info of linux/tcp.h)."""

from __future__ import annotations

import socket
from typing import Any


def tcp_info(sock: Any, size: int) -> bytes:
    """Return the first ``size`` bytes, or none: of a Unix socket, a closed one, on other kernels."""
    if sock.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
        return b""
    try:
        info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    except (OSError, ValueError):
        return b""
    return info if len(info) == size else b""
