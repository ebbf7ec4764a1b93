"""The clocks of a WebSocket connection: pings, a client that takes nothing, the end.

pings   One every ``ping_interval_s``; a client from which not one byte has come within
        ``ping_timeout_s`` is gone. Any byte counts, not only the pong: a pong waits behind the
        message that is being sent. While we do not read (the application is behind),
        nothing can come, so nothing is judged; nor before a loop that stood still has read
        what came meanwhile.
stall   While the client does not take what is written, it must take a byte now and then.
end     After our last byte: the client's turn to close, for `CLOSE_WAIT_S`, and as long as
        more comes from it for `LINGER_S`. What it has not taken yet is not thrown away as long
        as it goes on taking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from gwctl.config.model.settings import PoolSettings
from gwctl.workers.http1.bounds import LINGER_S

CLOSE_WAIT_S: Final = 3.0
"""How long the client may be silent after our close frame."""
_READ_S: Final = 0.05
"""Some turns of the loop: uvloop runs the timers that are due before it reads."""


class Watch:
    """See the module.

    Args:
        ping: Sends a ping.
        dead: Called when the client is gone without a word.
        stuck: Called when the client takes nothing, before the connection is cut.
    """

    __slots__ = (
        "_dead",
        "_ended_at",
        "_ending",
        "_interval_s",
        "_judge_timer",
        "_loop",
        "_ping",
        "_ping_timer",
        "_response_s",
        "_since",
        "_stuck",
        "_timeout_s",
        "_transport",
        "_unsent",
        "heard",
        "reading_paused",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: PoolSettings,
        transport: Any,
        ping: Callable[[], None],
        dead: Callable[[], None],
        stuck: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._interval_s = settings.websocket.ping_interval_s
        self._timeout_s = settings.websocket.ping_timeout_s
        self._response_s = settings.timeouts.response_timeout_s
        self._transport = transport
        self._ping = ping
        self._dead = dead
        self._stuck = stuck
        self._ping_timer: asyncio.TimerHandle | None = None
        self._judge_timer: asyncio.TimerHandle | None = None
        self._ending = False
        self._ended_at = 0.0
        self._unsent = 0
        self._since = 0.0
        self.heard = False  # something came since the last ping, or look at an end
        self.reading_paused = False

    def stop(self) -> None:
        """Stop for good, and let go of the connection: a cycle would outlive it for long."""
        self._ending = True
        self._stop_pings()
        self._stop_judging()
        self._ping = self._dead = self._stuck = _nothing

    def _stop_pings(self) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
            self._ping_timer = None

    def _stop_judging(self) -> None:
        if self._judge_timer is not None:
            self._judge_timer.cancel()
            self._judge_timer = None

    # ---- pings

    def start_pings(self) -> None:
        if self._interval_s and not self._ending:
            self._ping_timer = self._loop.call_later(self._interval_s, self._send_ping)

    def _send_ping(self) -> None:
        if self.reading_paused or self._judge_timer is not None:  # with its buffer full, the stall counts
            self.start_pings()
            return
        self.heard = False
        self._ping_timer = self._loop.call_later(self._timeout_s, self._judge_ping)
        self._ping()

    def _judge_ping(self) -> None:
        if self.heard or self.reading_paused:
            self._judge_read()
        else:
            self._ping_timer = self._loop.call_later(_READ_S, self._judge_read)

    def _judge_read(self) -> None:
        if self.heard:
            self.start_pings()
        elif self.reading_paused:
            self._ping_timer = self._loop.call_later(self._timeout_s, self._judge_ping)
        else:
            self._ping_timer = None
            self._dead()

    # ---- stall and end

    def stalled(self) -> None:
        """The transport's buffer is full."""
        if self._judge_timer is None:
            self._judge_later()

    def flowing(self) -> None:
        """It is no longer."""
        if not self._ending:
            self._stop_judging()

    def ending(self) -> None:
        """Nothing follows what has been written."""
        if not self._ending:
            self._ending = True
            self._ended_at = self._loop.time()
        self.heard = False
        self._stop_pings()
        self._stop_judging()
        self._judge_later()

    def _judge_later(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        self._since = self._loop.time()
        self._arm()

    def _arm(self) -> None:
        wait_s = CLOSE_WAIT_S if self._ending else min(CLOSE_WAIT_S, self._response_s / 2)
        self._judge_timer = self._loop.call_later(wait_s, self._judge)

    def _judge(self) -> None:
        size = self._transport.get_write_buffer_size()
        before, self._unsent = self._unsent, size
        now = self._loop.time()
        if size < before:
            self._since = now
        unanswered = self._ending and not size and not before
        if unanswered and self.heard and now - self._ended_at < LINGER_S:
            self.heard = False
            self._arm()
            return
        if not unanswered and now - self._since < self._response_s:
            self._arm()
            return
        self._judge_timer = None
        if not unanswered:
            self._stuck()
        self._transport.abort()


def _nothing() -> None:
    """Stand for the callbacks of a connection that is over."""
