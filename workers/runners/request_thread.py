"""A thread of the threads runner, as others see it: what it is at, and what it has counted."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING

from gwctl.workers.observe.counters import Counters

if TYPE_CHECKING:
    from gwctl.workers.wsgi.call import WsgiCall


class RequestThread(Counters):
    """Attributes are the thread's own to set; others read them.

    Attributes:
        call: The call it makes; None while it waits. Set after ``start``, cleared before the next is set.
        start: When that began.
        ident: As `threading.get_ident` has it; 0 before it runs.
        tokens: One for each time that it was woken (`gwctl.workers.runners.request_queue`).
    """

    __slots__ = ("call", "ident", "start", "tokens")

    def __init__(self) -> None:
        super().__init__()
        self.call: WsgiCall | None = None
        self.start = 0.0
        self.ident = 0
        self.tokens: SimpleQueue[None] = SimpleQueue()
