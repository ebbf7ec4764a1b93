"""How long an ASGI request may take: judged by the worker itself, which goes on serving the others.

The server's sweep asks; a request in time is never touched. One that is over its limit gets 504
(or, in mid-response, its connection cut), its task is cancelled, and one record says where it
waited. What is over with the response, such as background work, and what a client left alone
has no limit. Time in which the loop itself did not turn is given to all, and the time in which
send() waits for a slow client is the client's, who has limits of its own (`slow_clients`).

A loop that does not turn at all is for the master to notice, by its heartbeat.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from gwctl.config.model.request_limits import RequestLimits
from gwctl.workers.exchange.request_clock import RequestClock
from gwctl.workers.observe.introspection import stack_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gwctl.workers.asgi.request import AsgiRequest
    from gwctl.workers.exchange.service import Service

CLEAN_UP_S: Final = 5.0
"""How long a draining worker waits for a task that was cancelled because its time was over."""


def give_up(
    service: Service,
    request: AsgiRequest,
    status: int,
    why: str,
    clean_up_s: float,
    abandon: Callable[[AsgiRequest], None],
) -> None:
    """Cancel the task; answer with ``status`` if nothing of a response was sent, else cut the connection.

    An application can ignore that it is cancelled: after ``clean_up_s`` whoever waits for it is told to
    ``abandon`` it.
    """
    exchange = request.exchange
    if not (request.finished or request.detached):
        if request.started:
            exchange.abandon()
            exchange.abort()
        else:
            exchange.refuse(status, why)
    if request.task is not None:
        request.task.cancel()
        service.context.loop.call_later(clean_up_s, abandon, request)


class AsgiClock(RequestClock):
    """Watches ``requests``. Made only where there is a limit."""

    def __init__(
        self,
        service: Service,
        requests: set[AsgiRequest],
        limits: RequestLimits,
        abandon: Callable[[AsgiRequest], None],
    ) -> None:
        """``abandon``: no drain waits for that request any more."""
        self._service = service
        self._abandon = abandon
        self._requests = requests
        self._limits = limits
        self.shortest_s = limits.shortest_s
        self._extended: dict[AsgiRequest, float] = {}
        self._away: deque[tuple[float, float]] = deque(maxlen=64)

    def extend(self, request: AsgiRequest, seconds: float) -> None:
        """Let ``request`` take that long from now on, if its limit is not later."""
        self._extended[request] = monotonic() + float(seconds)

    def was_away(self, now: float, seconds: float) -> None:
        """The loop did not turn for so long: what the requests waited for may be there already."""
        self._away.append((now, seconds))

    def check_timeouts(self, now: float) -> None:
        """End the requests that are over their limit."""
        oldest = now - self.shortest_s
        late = [each for each in self._requests if each.began_at < oldest and not self._has_ended(each)]
        for request in late:
            self._judge(request, now)
        if self._extended:
            self._extended = {each: at for each, at in self._extended.items() if each in self._requests}

    @staticmethod
    def _has_ended(request: AsgiRequest) -> bool:
        return request.finished or request.detached

    def _judge(self, request: AsgiRequest, now: float) -> None:
        exchange = request.exchange
        began_at = request.began_at
        limit_s = self._limits.of(exchange.target)
        if not limit_s:
            return
        client_s = request.client_s(now)
        due_at = began_at + limit_s + client_s + sum([late_s for at, late_s in self._away if at > began_at])
        if now >= max(due_at, self._extended.get(request, 0.0)):
            how_long = f"{now - began_at - client_s:.1f} s (limit {limit_s:g} s)"
            if client_s >= 0.1:
                how_long += f", and waited for its client for {client_s:.1f} s"
            self._end(request, how_long)

    def _end(self, request: AsgiRequest, how_long: str) -> None:
        task = request.task
        does = "connection cut in mid-response" if request.started else "answered with 504"
        lines = [f"request timeout: {request.what()} has run {how_long}; {does}, its task is cancelled"]
        if task is not None:
            lines += [f"task {task.get_name()}:", *(f"  {frame}" for frame in stack_of(task))]
        others = len(self._requests) - 1
        lines.append(f"other requests, which go on: {others}")
        self._service.context.log.error("\n".join(lines))
        give_up(self._service, request, 504, "request_timeout_s is over", CLEAN_UP_S, self._abandon)
