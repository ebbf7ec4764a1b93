"""The states of a connection, their bounds, and what happens when one lasts too long.

    FRESH    connected, no byte yet            IDLE      kept alive, between requests
    HEAD     part of a head has come           BODY      the body is received before the call (WSGI)
    BUSY     the runner has the request        FLUSH     answered, the client has yet to take the rest
    DISCARD  answered, the rest of the request's body is skipped
    LINGER   the last byte is sent; input is dropped so that the client can read it (a close
             with unread input makes the kernel send a reset, which discards the response)
    CLOSING  the transport closes when it has written what it holds
    HANDED_OFF   a sibling has it (`gwctl.workers.balancing.handoff`); our descriptor is closed, the
             connection is not

`TimeLimits` holds how long each may last without progress; `TimeLimits.expire` acts on it.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from gwctl.config.model.timeouts import Timeouts
from gwctl.workers.observe.tcp_info import taken_bytes

if TYPE_CHECKING:
    from gwctl.workers.http1.connection import ConnectionBase

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


class TimeLimits:
    """Seconds a connection may stay in each state without progress, indexed by state."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._body = timeouts.body_timeout_s
        self._response = timeouts.response_timeout_s
        self.seconds = [
            timeouts.header_timeout_s,
            timeouts.keepalive_timeout_s,
            timeouts.header_timeout_s,
            timeouts.body_timeout_s,
            min(timeouts.body_timeout_s, timeouts.response_timeout_s),
            timeouts.response_timeout_s,
            timeouts.body_timeout_s,
            LINGER_SILENCE_S,
            timeouts.response_timeout_s,
            timeouts.response_timeout_s,
        ]

    def drain(self, linger_s: float) -> None:
        """From now on, connections without a request are closed after ``linger_s`` of silence."""
        self.seconds[FRESH] = min(self.seconds[FRESH], linger_s)
        self.seconds[IDLE] = min(self.seconds[IDLE], linger_s)

    def expire(self, connection: ConnectionBase, now: float) -> None:
        """Act on ``connection``, whose state has lasted longer than its limit."""
        state = connection.state
        if connection.transport is None:
            return  # accepted, but the loop has not got round to it
        if state in {FRESH, IDLE}:
            if not has_unread(connection.sock):
                connection.close()  # and not just the transport: what it still holds may never be taken
        elif state == HEAD and not connection.write_paused:
            connection.refuse_unparsed(408, f"no whole head came within {self.seconds[HEAD]:g} s")
        elif state == BODY and not connection.write_paused:
            cut_upload(connection, f"no byte of its body came for {self._body:g} s")
        elif state == DISCARD:
            connection.linger()
        elif state == BUSY and not connection.write_paused:
            self._expire_upload(connection, now)
        else:
            self._expire_output(connection, now)

    def _expire_upload(self, connection: ConnectionBase, now: float) -> None:
        """The application is being waited for; only a client that owes it a body is at fault."""
        waiting = connection.framer is not None and not connection.read_paused and not connection.expecting
        if not waiting or now - connection.since <= self._body:
            return
        cut_upload(connection, f"no byte of its body came for {self._body:g} s")

    def _expire_output(self, connection: ConnectionBase, now: float) -> None:
        """Something is to be written, or was: the client must take a byte now and then."""
        size = connection.transport.get_write_buffer_size()
        before, connection.taken = (
            max(connection.window_taken, connection.taken),
            taken_bytes(connection.sock),
        )
        if not size:
            connection.transport.abort()
        elif size < connection.unsent or 0 <= before < connection.taken:
            connection.since = now
        elif now - connection.since > self._response:
            connection.service.context.throttled.warning(
                "slow reader",
                f"{connection.what()}: the client took no byte for {self._response:g} s; connection aborted",
            )
            connection.service.runner.abandoned(connection)
            connection.abort()
        connection.unsent = size


def cut_upload(connection: ConnectionBase, why: str) -> None:
    """End a request whose body does not come as it should: 408, if that can still be said."""
    runner = connection.service.runner
    if connection.state == DISCARD:
        connection.linger()
    elif connection.state == BODY:
        connection.refuse(408, why)
    elif runner.body_failed(connection, 408):
        return
    elif runner.has_responded(connection):
        runner.abandoned(connection)
        connection.abort()
    else:
        connection.refuse(408, why)


def has_unread(sock: socket.socket) -> bool:
    """Tell whether the kernel has input that was not read, not merely the connection's end; any thread."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
