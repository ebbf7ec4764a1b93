"""In which order streams send when more waits than goes (RFC 9218).

The most urgent first. Among those of the same urgency each has its turn, one after the other: a stream whose
parts are of use on their own (``incremental``) sends a frame in it, another one a few, so that it is whole
sooner. So a large download holds up no small answer, whatever its client has said of either.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from gwctl.workers.http2.request_head import URGENCY_MAX
from gwctl.workers.http2.wire import FRAME_BYTES_MAX

TURN_BYTES: Final = FRAME_BYTES_MAX * 4
"""Of one that is to be whole; `FRAME_BYTES_MAX` of an incremental one."""


class Turns:
    """Streams that have something to send, and are allowed to. Each is in here once at most."""

    __slots__ = ("_queues", "count")

    def __init__(self) -> None:
        self._queues: list[deque[Any]] = [deque() for _ in range(URGENCY_MAX + 1)]
        self.count = 0

    def add(self, stream: Any) -> None:
        """Have ``stream`` wait for its turn, behind the others; nothing if it does."""
        if not stream.in_turns:
            stream.in_turns = True
            self.count += 1
            self._queues[stream.urgency].append(stream)

    def take(self) -> Any:
        """Return whose turn it is; there is one."""
        for queue in self._queues:
            if queue:
                stream = queue.popleft()
                stream.in_turns = False
                self.count -= 1
                return stream
        raise LookupError

    def remove(self, stream: Any) -> None:
        """It has nothing to send any more, or is about to change its urgency."""
        if stream.in_turns:
            stream.in_turns = False
            self.count -= 1
            self._queues[stream.urgency].remove(stream)
