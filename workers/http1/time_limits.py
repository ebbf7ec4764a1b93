"""How long a connection may be in each state without progress, and what happens when that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gwctl.config.model.timeouts import Timeouts
from gwctl.workers.exchange.states import BODY, BUSY, DISCARD, FRESH, HEAD, IDLE
from gwctl.workers.http1.bounds import LINGER_SILENCE_S
from gwctl.workers.http1.hangup import has_unread
from gwctl.workers.observe.tcp_info import taken_bytes

if TYPE_CHECKING:
    from gwctl.workers.http1.connection import ConnectionBase


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
            connection.abandon()
            connection.abort()
        connection.unsent = size


def cut_upload(connection: ConnectionBase, why: str) -> None:
    """End a request whose body does not come as it should: 408, if that can still be said."""
    runner = connection.service.runner
    if connection.state == DISCARD:
        connection.linger()
    elif connection.state == BODY:
        connection.refuse(408, why)
    elif connection.request is not None and connection.request.fail(408):
        return
    elif runner.has_responded(connection):
        connection.abandon()
        connection.abort()
    else:
        connection.refuse(408, why)
