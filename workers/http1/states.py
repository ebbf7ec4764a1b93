"""The states of a connection, and their bounds.

    FRESH    connected, no byte yet            IDLE      kept alive, between requests
    HEAD     part of a head has come           BODY      the body is received before the call (WSGI)
    BUSY     the runner has the request        FLUSH     answered, the client has yet to take the rest
    DISCARD  answered, the rest of the request's body is skipped
    LINGER   the last byte is sent; input is dropped so that the client can read it (a close
             with unread input makes the kernel send a reset, which discards the response)
    CLOSING  the transport closes when it has written what it holds
    HANDED_OFF   a sibling has it (`gwctl.workers.balancing.handoff`); our descriptor is closed, the
             connection is not

How long each may last without progress: `gwctl.workers.http1.time_limits`.
"""

from __future__ import annotations

import socket
from typing import Final

FRESH: Final = 0
IDLE: Final = 1
HEAD: Final = 2  # up to here the next bytes belong to a head
BODY: Final = 3
BUSY: Final = 4
FLUSH: Final = 5
DISCARD: Final = 6
LINGER: Final = 7
CLOSING: Final = 8
HANDED_OFF: Final = 9

SLICE_BYTES: Final = 16384
"""Most that is fed to the parser at once: what follows a head is copied back, so pipelines come in slices."""
TAIL_BYTES_MAX: Final = 65536
"""Reading pauses while more than this waits for the request in progress."""
DISCARD_BYTES_MAX: Final = 65536
"""So much of an unread body is skipped to keep a connection; beyond it closing is cheaper."""
LINGER_S: Final = 10.0
"""Longest lingering close; `LINGER_SILENCE_S` without a byte ends it earlier."""
LINGER_SILENCE_S: Final = 2.0


def has_unread(sock: socket.socket) -> bool:
    """Tell whether the kernel has input that was not read, not merely the connection's end; any thread."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
