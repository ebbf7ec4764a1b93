"""Event streams at a drain: they would never end, so their applications are told that the client is gone.

Told is who has begun a response without a known length, waits in receive() for nothing but the
client's end, and has sent nothing for ``stream_grace_s`` since the drain began: the stream of
server-sent events that waits for the next one. What is still being sent (tokens, an export) goes
on, and is told only right before the drain's time is over, since what follows is a reset: then
whatever its client has yet to take, and whoever begins to wait after that as well.

As with WebSockets the ends are spread, with jitter: clients come again at once, and all workers
begin at the same moment. What the application then does counts: its last message ends the
response as always, and an event stream (text/event-stream) is ended properly also if it just
returns. Of anything else that would make a whole of a half, so that connection is cut.
docs/adr/0013.

The head of an event stream is sent at the next sweep if its first event does not come before:
a response's head otherwise waits for its first block.
"""

from __future__ import annotations

import asyncio
from random import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gwctl.config.model.timeouts import Timeouts
    from gwctl.workers.asgi.request import AsgiRequest

STEP_MAX_S: Final = 0.1
"""Longest time between the ends of two streams that are due at the same moment."""
LAST_S: Final = 0.5
"""So long before the drain's time is over those are told that never were silent."""
AGAIN_S: Final = 0.05
"""From then on, so often those are looked for who listen only now."""


class Streams:
    """Tells the streams among ``requests``, which it does not change."""

    def __init__(
        self, timeouts: Timeouts, requests: set[AsgiRequest], loop: asyncio.AbstractEventLoop
    ) -> None:
        """``loop`` is that in which ``requests`` run, and all of this."""
        self._loop = loop
        self._requests = requests
        self._grace_s = timeouts.stream_grace_s
        self._drain_s = timeouts.drain_timeout_s
        self._draining = False
        self._since: dict[AsgiRequest, tuple[float, int]] = {}  # silent since then, at so many bytes
        self._due: dict[AsgiRequest, asyncio.TimerHandle] = {}
        self._last: asyncio.TimerHandle | None = None

    def drain(self, now: float, *, ending: bool) -> None:
        """Begin. ``ending``: the worker ends in ``drain_timeout_s``, and is not merely parked."""
        self._draining = True
        if ending and self._last is None:
            last_s = max(self._drain_s - LAST_S, self._drain_s / 2)
            self._last = self._loop.call_later(last_s, self._tell_all)
        self.check(now)

    def stay(self) -> None:
        """The clients may stay: tell nobody any more."""
        self._draining = False
        for timer in self._due.values():
            timer.cancel()
        if self._last is not None:
            self._last.cancel()
            self._last = None
        self._due, self._since = {}, {}

    def check(self, now: float) -> None:
        """Find those who have been silent for long enough. Called in each sweep."""
        for request in self._requests:
            request.open_event_stream()
        if not self._draining:
            return
        before, self._since = self._since, {}
        due: list[AsgiRequest] = []
        for request in self._requests:
            if request in self._due or not request.idles:
                continue
            since, sent = before.get(request, (now, request.sent))
            if request.sent != sent:
                since, sent = now, request.sent
            self._since[request] = since, sent
            if now - since >= self._grace_s:
                due.append(request)
        step_s = min(self._drain_s / 4 / len(due), STEP_MAX_S) if due else 0.0
        for number, request in enumerate(due):
            delay_s = (number + random()) * step_s
            self._due[request] = self._loop.call_later(delay_s, self._tell, request, request.sent)

    def _tell(self, request: AsgiRequest, sent: int) -> None:
        self._due.pop(request, None)
        if request.idles and request.sent == sent:
            request.dismiss()

    def _tell_all(self) -> None:
        """Tell all who listen, also in the midst of sending; and again and again: some do not always."""
        for request in self._requests:
            if request.listens:
                request.dismiss()
        self._last = self._loop.call_later(AGAIN_S, self._tell_all)
