"""How long a stream may be without progress, and how slow: as HTTP/1's connections are judged.

Asked by the server's sweep. What the client's kernel takes is the connection's to judge; here it is what its
windows take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gwctl.workers.exchange.states import BODY, BUSY, FLUSH

if TYPE_CHECKING:
    from gwctl.config.model.settings import PoolSettings
    from gwctl.workers.http2.connection import Http2Connection
    from gwctl.workers.http2.stream import Stream


class StreamLimits:
    """Of one worker."""

    def __init__(self, settings: PoolSettings) -> None:
        timeouts, limits = settings.timeouts, settings.limits
        self._body_s = timeouts.body_timeout_s
        self._response_s = timeouts.response_timeout_s
        self._grace_s = timeouts.rate_grace_s
        self._body_rate = limits.body_rate_min_bytes_per_s
        self._response_rate = limits.response_rate_min_bytes_per_s

    def check(self, connection: Http2Connection, now: float) -> None:
        for stream in list(connection.streams.values()):
            if stream.state in {BODY, BUSY} and stream.receiving and not stream.ended:
                self._check_body(connection, stream, now)
            if stream.is_stuck:
                self._cut(stream, "the client has ended its side and gives no room for the rest")
            elif stream.in_turns and connection.out.window > 0:
                stream.since = now  # it waits for others on its connection, which is judged as a whole
                stream.window_taken = -1
            elif stream.state == FLUSH or (stream.state == BUSY and stream.write_paused):
                self._check_response(stream, now)
            else:
                stream.window_taken = -1

    def _check_body(self, connection: Http2Connection, stream: Stream, now: float) -> None:
        if stream.read_paused or stream.expecting or stream.write_paused:
            return
        if connection.is_full:  # it is we who keep it from coming
            stream.since = stream.window_at = now
            stream.window_bytes = stream.received
            return
        if now - stream.since > self._body_s:
            stream.cut_upload(f"no byte of its body came for {self._body_s:g} s")
            return
        elapsed = now - stream.window_at
        if not self._body_rate or elapsed < self._grace_s:
            return
        rate = (stream.received - stream.window_bytes) / elapsed
        stream.window_at, stream.window_bytes = now, stream.received
        if rate < self._body_rate:
            stream.cut_upload(
                f"its body comes at {rate:,.0f} bytes a second "
                f"(limits.body_rate_min_bytes_per_s {self._body_rate})"
            )

    def _check_response(self, stream: Stream, now: float) -> None:
        """Judge one of which more waits than its client has room for."""
        taken = stream.sent_bytes
        if taken != stream.taken_before:
            stream.taken_before = taken
            stream.since = now
        elif now - stream.since > self._response_s:
            self._cut(stream, f"the client took no byte for {self._response_s:g} s")
            return
        before, elapsed = stream.window_taken, now - stream.window_at
        if before >= 0 and elapsed < self._grace_s:
            return
        stream.window_taken, stream.window_at = taken, now
        rate = (taken - before) / max(elapsed, 0.001)
        if before >= 0 and self._response_rate and rate < self._response_rate:
            self._cut(
                stream,
                f"the client took {rate:,.0f} bytes a second "
                f"(limits.response_rate_min_bytes_per_s {self._response_rate})",
            )

    @staticmethod
    def _cut(stream: Stream, why: str) -> None:
        context = stream.connection.service.context
        context.throttled.warning("slow reader", f"{stream.what()}: {why}; {stream.aborted_as}")
        stream.abandon()
        stream.abort()
