"""What the kernel knows of a client: since when it has been silent, and whether it has gone.

It has the time of a client's last data and of its last packet (tcp_info). A client that shuts down its
side right after its request waits for the answer; one that does so a while later has gone. On a Unix
socket the kernel says whether the peer has closed.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import Any, Final

from gwctl.workers.observe.tcp_info import tcp_info

LEFT_S: Final = 0.5
"""A client that ends its side later than so after its request has gone."""

PEEK: Final = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
_TCP_INFO_BYTES: Final = 60
_read_ages: Final = struct.Struct("=52x2I").unpack  # struct tcp_info: tcpi_last_data_recv, tcpi_last_ack_recv


def hung_up(sock: socket.socket) -> bool:
    """Tell whether the peer has closed."""
    poller = select.poll()
    try:
        poller.register(sock, 0)
    except (OSError, ValueError):
        return True
    return bool(poller.poll(0))


def ages_of(sock: Any) -> tuple[float, float] | None:
    """Return the seconds since the client's last data and its last packet; None where nobody says."""
    info = tcp_info(sock, _TCP_INFO_BYTES)
    if not info:
        return None
    data_ms, packet_ms = _read_ages(info)
    return data_ms / 1000, packet_ms / 1000
