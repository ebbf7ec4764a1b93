"""Clients that are never silent for long, and never done: they are held to a least rate.

What counts is the average over windows of ``rate_grace_s``, one after the other, and not that since
the beginning: a quick start would pay for hours of a byte now and then. Time in which the
worker itself did not want to read, or had nothing to write, is not counted: a window begins anew.

    bodies      what has come of a request's body, also of one that is skipped: 408
    responses   what the client's kernel has acknowledged, while the transport has more for it: a reset

While responses that nobody takes hold more memory than ``responses_memory_bytes_max``, who holds some
of it is held to more: to take it within ``response_timeout_s``, at the rate of the last `PRESSURE_S`, or
of less where it is several times as much. Of those who are too slow the slowest go, until the rest has
room. Nobody waits for another's client (docs/adr/0026).

Heads, handshakes and lingering have a time for the whole instead (`gwctl.workers.exchange.states`), and what
a WSGI call waits for is judged by the call (`gwctl.workers.exchange.client_wait`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gwctl.workers.exchange.states import BODY, BUSY, CLOSING, DISCARD, FLUSH
from gwctl.workers.http1.time_limits import cut_upload
from gwctl.workers.observe.tcp_info import taken_bytes

if TYPE_CHECKING:
    from gwctl.config.model.settings import PoolSettings
    from gwctl.workers.http1.connection import ConnectionBase


PRESSURE_S: Final = 5.0
"""So long a client is watched before it is cut off for the memory that its response holds."""
_PRESSURE_MIN_S: Final = 1.0
"""However far beyond the limit they are all together: the further, the shorter it is."""
_MIB: Final = 1_048_576


class LeastRates:
    """The settings of one worker, and what to do about who falls short of them."""

    def __init__(self, settings: PoolSettings) -> None:
        self._grace_s = settings.timeouts.rate_grace_s
        self._body = settings.limits.body_rate_min_bytes_per_s
        self._response = settings.limits.response_rate_min_bytes_per_s
        self._memory = settings.limits.responses_memory_bytes_max or 1 << 62
        self._patience_s = settings.timeouts.response_timeout_s
        self._holders: list[tuple[ConnectionBase, int]] = []
        self._seen: dict[ConnectionBase, tuple[float, int]] = {}  # since when, and what was taken by then

    def check(self, connection: ConnectionBase, now: float) -> None:
        """Judge ``connection`` once its window is over. Called by the server's sweep."""
        if connection.write_paused or connection.state in {FLUSH, CLOSING}:
            if self._response and connection.transport is not None:
                self._judge_response(connection, now)
            return
        connection.window_taken = -1
        if connection.framer is not None and self._body and now - connection.window_at >= self._grace_s:
            self._judge_body(connection, now)

    def add_up(self, connection: ConnectionBase) -> None:
        """Note how much waits in memory. Called by the server's sweep, for each that may hold some."""
        if connection.transport is not None:
            self._holders.append((connection, connection.unsent_bytes()))

    def relieve(self, now: float) -> None:
        """Judge those of the sweep that is over by the memory that they hold together."""
        holders, self._holders = self._holders, []
        total = sum([held for _, held in holders])
        if total <= self._memory:
            self._seen = {}
            return
        before, self._seen = self._seen, {}
        watch_s = min(PRESSURE_S, max(PRESSURE_S * self._memory / total, _PRESSURE_MIN_S))
        slow = []
        for connection, held in holders:
            taken = taken_bytes(connection.sock) or connection.service.runner.sent(connection) - held
            since, then = before.get(connection, (now, taken))
            if held and now - since >= watch_s:
                needed_s = held * (now - since) / max(taken - then, 1)
                if needed_s > self._patience_s:
                    slow.append((needed_s, held, connection))
                since, then = now, taken
            self._seen[connection] = since, then
        slow.sort(key=lambda each: -each[0])
        for _, held, connection in slow:
            if total <= self._memory:
                break
            connection.service.context.throttled.warning(
                "responses in memory",
                f"{connection.what()}: connection aborted, since its client has {held / _MIB:.1f} MiB yet to "
                f"take and is too slow for it, while responses of this worker hold {total / _MIB:.0f} MiB "
                f"(limits.responses_memory_bytes_max {self._memory / _MIB:.0f} MiB)",
            )
            total -= held
            self._seen.pop(connection, None)
            connection.abandon()
            connection.abort()

    def body_is_slow(self, connection: ConnectionBase, now: float) -> bool:
        """Tell whether a body that is being received has been too slow in its present window."""
        elapsed = now - connection.window_at
        rate = (connection.received - connection.window_bytes) / max(elapsed, 0.001)
        return rate < self._body and connection.framer is not None and _wants_body(connection)

    def response_is_slow(self, connection: ConnectionBase, now: float) -> bool:
        """Tell whether a response that was more than fits has been taken too slowly in its present window."""
        taken, before = taken_bytes(connection.sock), connection.window_taken
        if before < 0 or not (taken and connection.transport.get_write_buffer_size()):
            return False
        return (taken - before) / max(now - connection.window_at, 0.001) < self._response

    def _judge_body(self, connection: ConnectionBase, now: float) -> None:
        slow = self.body_is_slow(connection, now)
        rate = (connection.received - connection.window_bytes) / (now - connection.window_at)
        connection.window_at = now
        connection.window_bytes = connection.received
        if not slow:
            return
        cut_upload(
            connection,
            f"its body comes at {rate:,.0f} bytes a second (limits.body_rate_min_bytes_per_s {self._body})",
        )

    def _judge_response(self, connection: ConnectionBase, now: float) -> None:
        """Judge a connection whose transport has been full at each look since its window began."""
        if not connection.transport.get_write_buffer_size():
            connection.window_taken = -1
            return
        taken, before, elapsed = (
            taken_bytes(connection.sock),
            connection.window_taken,
            now - connection.window_at,
        )
        if 0 <= before <= taken and elapsed < self._grace_s:
            return
        connection.window_taken, connection.window_at = taken, now
        rate = (taken - before) / max(elapsed, 0.001)
        if before < 0 or rate >= self._response or not taken:
            return  # where nobody says what was taken, silence alone is judged
        connection.service.context.throttled.warning(
            "slow reader",
            f"{connection.what()}: the client took {rate:,.0f} bytes a second "
            f"(limits.response_rate_min_bytes_per_s {self._response}); connection aborted",
        )
        connection.abandon()
        connection.abort()


def _wants_body(connection: ConnectionBase) -> bool:
    """Tell whether nothing but the client keeps its body from coming."""
    if connection.state not in {BODY, BUSY, DISCARD} or connection.write_paused:
        return False
    return not (connection.read_paused or connection.expecting)
