"""A stream as far as sending goes: what it is yet to send, and what its client has room for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from gwctl.workers.exchange.exchange import Exchange
from gwctl.workers.exchange.states import FRESH

if TYPE_CHECKING:
    from gwctl.ipc.assignment import Listener
    from gwctl.workers.http2.request_head import RequestHead


class Sender(Exchange):
    """Base of `gwctl.workers.http2.stream.Stream`.

    Attributes:
        window: How much of its response the client takes at present.
        waiting: What it is yet to send, as `gwctl.workers.http2.output` has it.
        put_bytes, sent_bytes: Of the response's body: given to it, and made frames of. Each has one writer.
        sent_end: The response's end is among these.
        urgency, incremental: What of RFC 9218 was said of it.
        in_turns: It waits for its turn to send.
    """

    __slots__ = (
        "in_turns",
        "incremental",
        "put_bytes",
        "sent_bytes",
        "sent_end",
        "stream_id",
        "urgency",
        "waiting",
        "window",
    )

    def __init__(
        self, fields: Any, peer: Any, listener: Listener, stream_id: int, head: RequestHead, now: float
    ) -> None:
        super().__init__(fields, peer, listener, FRESH, now)
        self.stream_id = stream_id
        self.urgency = head.urgency
        self.incremental = head.incremental
        self.in_turns = False
        self.window = 0
        self.waiting: deque[tuple[int, Any]] = deque()
        self.put_bytes = self.sent_bytes = 0
        self.sent_end = False

    def held(self) -> int:
        """Return how much of the response's body is yet to be made frames of."""
        return self.put_bytes - self.sent_bytes

    def sent(self) -> None:
        """Some of what waited was made frames of."""
        raise NotImplementedError
