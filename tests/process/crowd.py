"""Silent clients of a control socket. Imported by small processes, too: it needs nothing of gwctl."""

from __future__ import annotations

import contextlib
import socket

SAID = [b"", b'{"jsonrpc": "2.0", "id": 1, "meth', b'{"id": 1, "method": "status"}\n' * 300]
"""Nothing, half a line, and more questions than answers are read."""


def a_client(path: str, number: int) -> socket.socket:
    """Connect, say one of the things above, and never read."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        sock.send(SAID[number % len(SAID)])
    return sock
