"""The states of an exchange: those of a whole HTTP/1.1 connection, which is one request after the other.

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
