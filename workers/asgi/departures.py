"""Clients that leave in the middle of a request, and what becomes of their connections.

A reset is certain, and told at once. An end of input (FIN, or a TLS close_notify) is not: most
clients that send one are gone, but one that only shuts down its side after a whole request still
reads. Nothing tells the two apart until something is sent, so (docs/adr/0011):

    `HALF_CLOSED_S` after it   receive() gives http.disconnect. A response that is complete by
                               then has gone out to either
    SILENT_MAX_S without a     the connection is closed: an application that neither listens nor
    byte in or out after it    sends must not keep the socket of a client that is gone

While reading is paused (a body that the application does not take, a pipeline) nobody hears of
an end, and after an end nobody hears of a reset; so each sweep asks the kernel about such connections.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gwctl.workers.asgi.request import AsgiRequest
    from gwctl.workers.exchange.service import Service

SILENT_MAX_S: Final = 10.0
_LATE_S: Final = 2.0
_RDHUP: Final = getattr(
    select, "POLLRDHUP", 0
)  # Linux; elsewhere only a reset is seen while reading is paused


class Departures:
    """Looks after the half-closed connections among ``requests``, which it does not change."""

    def __init__(self, service: Service, requests: set[AsgiRequest]) -> None:
        self._service = service
        self._requests = requests
        self._since: dict[AsgiRequest, tuple[float, int]] = {}  # and how much had gone by then
        self._checked_at = 0.0

    def check(self, now: float) -> None:
        """Close the connections of those who have left and are sent nothing. Called in each sweep."""
        late_s = now - self._checked_at - _LATE_S
        self._checked_at = now
        if late_s > 0:  # the loop stood still: who owes the client an answer had no time for it
            self._since = {each: (since + late_s, gone) for each, (since, gone) in self._since.items()}
        watched: list[tuple[int, AsgiRequest]] = []
        for request in self._requests:
            exchange = request.exchange
            if not (request.finished or request.detached or exchange.lost) and (
                exchange.eof or exchange.read_paused
            ):
                watched.append((exchange.fileno(), request))
        if watched or self._since:
            self._judge(self._ask(watched), now)

    def _ask(self, watched: list[tuple[int, AsgiRequest]]) -> list[AsgiRequest]:
        """Return whose client has ended its side; close those whose client is known to be gone."""
        poll = select.poll()
        for fd, _ in watched:
            if fd >= 0:  # else the kernel does not know it
                poll.register(fd, _RDHUP)
        found = dict(poll.poll(0))
        ended = []
        for fd, request in watched:
            if found.get(fd, 0) & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                self._close(request, "its client is gone")
            elif fd in found or request.exchange.eof:
                request.half_closed()
                ended.append(request)
        return ended

    def _judge(self, ended: list[AsgiRequest], now: float) -> None:
        before, self._since = self._since, {}
        for request in ended:
            moved = request.moved_bytes
            since, then = before.get(request, (now, moved))
            if moved != then:
                since = now
            if now - since > SILENT_MAX_S:
                self._close(
                    request, f"its client ended its side, and nothing was sent for {SILENT_MAX_S:g} s"
                )
            else:
                self._since[request] = since, moved

    def _close(self, request: AsgiRequest, why: str) -> None:
        self._service.context.log.debug(f"{request.what()}: {why}; connection closed")
        exchange = request.exchange
        exchange.abandon()
        exchange.abort()
