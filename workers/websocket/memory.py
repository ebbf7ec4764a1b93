"""What the WebSockets of a worker hold together: one budget, ``websocket.memory_bytes_max``.

Counted are messages that are being received (unpacked, and with the input that waits behind
them), messages that the application has not received, and output that clients have not taken.

    to 3/4 of the budget   everybody goes on
    beyond it              who holds more than a small share stops reading, until there is room:
                           the large ones wait, the small ones are served as before. When room
                           comes, the smallest of those waiting goes first. After `PATIENCE_S`
                           of waiting, the one that holds most is closed with 1013.
    beyond the budget      the one that holds most is closed at once

A step of work (`websocket.frames`) adds at most 64 KiB before it is counted, one read of the socket
256 KiB: the budget is not exceeded by more. There is always room for one message of
``message_bytes_max``, and for what it is made of: a budget under twice that counts as twice.

Nobody is told when output leaves, so it is looked up: in the turn of the loop after enough was
written to matter, since the loop sends at the end of a turn what is written in it. An application
that writes more than there is room for waits for such a turn in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from gwctl.workers.observe.throttled_log import ThrottledLog

if TYPE_CHECKING:
    from gwctl.config.model.settings import WebSocketSettings

PATIENCE_S: Final = 2.0
"""How long those who hold much wait for room before the one that holds most is closed."""
SHARE_BYTES_MIN: Final = 4096
SHARE_BYTES_MAX: Final = 65536
_READ_BYTES: Final = 524_288
"""For what one read of the socket may bring, and a share."""
_MEASURE_BYTES: Final = 1_048_576
"""Most that is written between two looks at what is still unsent."""
_MIB: Final = 1_048_576


class Holder(Protocol):
    """One connection."""

    size: int
    """Bytes of input and messages that it holds; it keeps the sum in `Memory.total`."""

    def unsent(self) -> int:
        """Return how many bytes of output the client has not taken."""

    def go_on(self) -> None:
        """There is room."""

    def give_way(self, reason: str) -> None:
        """Let go of all that is held, and close with 1013."""

    def name(self) -> str:
        """Say which one it is, in a log line."""


class Memory:
    """See the module."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: WebSocketSettings,
        holders: Iterable[Holder],
        throttled: ThrottledLog,
    ) -> None:
        limit = settings.memory_bytes_max
        self._loop = loop
        self._holders = holders
        self._throttled = throttled
        self._setting = limit
        self.limit = max(limit, 2 * settings.message_bytes_max + _READ_BYTES) if limit else 1 << 62
        self.ease = self.limit - self.limit // 4
        """Beyond it those who hold much wait."""
        self.total = 0
        """Input and messages."""
        self.output = 0
        """Output that is unsent, when it was last looked at."""
        self.written = 0
        """Output since then."""
        self._step = min(_MEASURE_BYTES, self.limit // 16)
        self.measure_beyond = self.ease
        """With more than this, ``written`` included, it is looked at."""
        self._waiting: dict[Holder, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._admitting = self._measuring = False

    # ---- told by the connections

    def wrote(self, size: int) -> None:
        self.written += size
        if self.total + self.output + self.written > self.measure_beyond:
            self.measure_soon()

    def measure_soon(self) -> None:
        """Find out how much output is unsent, in the next turn of the loop."""
        if not self._measuring:
            self._measuring = True
            self._loop.call_soon(self._measure)

    def must_wait(self, holder: Holder) -> bool:
        """Tell whether ``holder``, which has grown, is to read no more for now. Ask beyond `ease` only.

        It is told to go on when there is room, unless it has given way: to this, or earlier.
        """
        self._relieve()
        if self.total + self.output <= self.ease or holder.size <= self._share():
            return False
        self._waiting[holder] = None
        if self._timer is None:
            self._timer = self._loop.call_later(PATIENCE_S, self._out_of_patience)
        return True

    def shrank(self) -> None:
        """Let those go on who wait, if there is room now."""
        if self._waiting and not self._admitting and self.total + self.output <= self.ease:
            self._admitting = True
            self._loop.call_soon(self._admit)

    def wait_no_more(self, holder: Holder) -> None:
        """Its connection is lost: it will not read on."""
        self._waiting.pop(holder, None)

    def forget(self, holder: Holder) -> None:
        """It holds nothing any more, and will not."""
        self.total -= holder.size
        holder.size = 0
        self._waiting.pop(holder, None)
        self.shrank()

    # ---- judging

    def _share(self) -> int:
        """What each may hold however little room there is."""
        count = sum(1 for _ in self._holders)
        return min(max(self.limit // (8 * count + 1), SHARE_BYTES_MIN), SHARE_BYTES_MAX)

    def _measure(self) -> None:
        self._measuring = False
        self.output = sum(holder.unsent() for holder in self._holders)
        self.written = 0
        self._relieve()
        self.measure_beyond = min(max(self.ease, self.total + self.output + self._step), self.limit)
        self.shrank()

    def _relieve(self) -> None:
        """Close who holds most while it is too much."""
        while self.total + self.output > self.limit and self._close_largest():
            pass

    def _close_largest(self) -> bool:
        largest = max(self._holders, key=_holding, default=None)
        if largest is None:
            return False
        unsent = largest.unsent()
        size = largest.size + unsent
        if not size:
            return False
        held = self.total + self.output
        self._throttled.warning(
            "websocket memory",
            f"{largest.name()}: closed with 1013, since the WebSockets of this worker hold "
            f"{held / _MIB:.1f} MiB, this one most of it ({size / _MIB:.1f} MiB); "
            f"websocket.memory_bytes_max is {self._setting / _MIB:.1f} MiB",
        )
        largest.give_way("out of memory for messages")
        self.forget(largest)
        freed = unsent - largest.unsent()
        self.output -= min(freed, self.output)
        return size > unsent or freed > 0

    def _out_of_patience(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        self._measure()
        if self.total + self.output > self.ease:
            self._close_largest()
        if self._waiting:
            self._timer = self._loop.call_later(PATIENCE_S, self._out_of_patience)

    def _admit(self) -> None:
        self._admitting = False
        for holder in sorted(self._waiting, key=_holding):
            if self.total + self.output > self.ease:
                break
            if holder in self._waiting:  # one that went on before may have cost another its place
                del self._waiting[holder]
                holder.go_on()


def _holding(holder: Holder) -> int:
    return holder.size + holder.unsent()
