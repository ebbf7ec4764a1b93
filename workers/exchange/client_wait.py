"""How long a WSGI call waits for its client to take a stream, and when that is enough.

The time is the client's, not the application's: ``request_timeout_s`` does not count it. Every
`POLL_S` of waiting is judged, and the connection cut, never the worker, when the client

    - has taken nothing for ``response_timeout_s``
    - has taken less than ``response_rate_min_bytes_per_s`` in ``rate_grace_s`` of waiting
    - still holds the worker (or the thread) after `OTHERS_WAIT_S` in which others waited for it

Before it comes to the last, what the application makes is *spooled*: as soon as others wait, the rest of the
response goes to a temporary file (`gwctl.workers.exchange.response_spool`) and the call goes on at the
application's own pace. So a slow reader loses its response only if that is too large for the spool, or has
no end.

What a client has taken is what its kernel has acknowledged: the socket's own buffer may hold
megabytes, and the kernel says that there is room only when a third of it is.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol, cast

from gwctl.workers.exchange.response_spool import ResponseSpool

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.response_spool import SpoolBudget
    from gwctl.workers.exchange.service import Service

POLL_S: Final = 0.1
OTHERS_WAIT_S: Final = 5.0


class WaitingRunner(Protocol):
    """What a runner has to do with calls that wait for their clients. Asked by the call's thread."""

    spool_budget: SpoolBudget

    def waits_for_client(self, wait: ClientWait) -> None:
        """A call begins or ends to wait for its client, or goes on to."""

    def others_wait(self, exchange: Exchange) -> bool:
        """Tell whether others would be served if the call for ``exchange`` did not wait for its client."""


class ClientWait:
    """All waits of one call. ``since``: the present one's beginning; 0.0: there is none."""

    __slots__ = (
        "_next_check_s",
        "_others_since",
        "_runner",
        "_service",
        "_taken_at",
        "_unsent",
        "_window_at",
        "_window_bytes",
        "exchange",
        "others_wait",
        "since",
        "spool",
        "waited_s",
    )

    def __init__(self, service: Service, exchange: Exchange) -> None:
        self._service = service
        self._runner = cast("WaitingRunner", service.runner)  # no other calls wait
        self.exchange = exchange
        self.since = 0.0
        self.waited_s = 0.0
        """Of the waits that are over. All marks below are on this clock, which stands still between them."""
        self.others_wait = False
        """Somebody waited for the worker, or for the thread, at the last look."""
        self.spool: ResponseSpool | None = None
        self._next_check_s = POLL_S
        self._unsent = 0
        self._taken_at = 0.0
        self._window_at = 0.0
        self._window_bytes = 0
        self._others_since = -1.0

    def new_spool(self) -> ResponseSpool:
        """Keep the rest of the response on disk from now on.

        Raises:
            OSError: That cannot be.
        """
        self.spool = spool = ResponseSpool(self._runner.spool_budget)
        return spool

    def waited(self, now: float) -> float:
        """Return the seconds waited so far; any thread."""
        since = self.since
        return self.waited_s + (now - since if since else 0.0)

    def begin(self, unsent: int) -> None:
        """Wait from now on, for a client that has yet to take ``unsent`` bytes."""
        self._unsent = unsent
        self.since = monotonic()
        self._runner.waits_for_client(self)

    def end(self, unsent: int) -> None:
        """A wait is over; ``unsent`` is what the client has yet to take now."""
        self._add()
        if unsent < self._unsent:
            self._taken_at = self.waited_s
            self._window_bytes += self._unsent - unsent

    def end_of_body(self) -> None:
        """A wait is over in which there was nothing to take: it was for the request's body."""
        before = self.waited_s
        self._add()
        self._taken_at += self.waited_s - before
        self._window_at += self.waited_s - before

    def _add(self) -> None:
        self.waited_s, self.since = self.waited(monotonic()), 0.0
        self._runner.waits_for_client(self)

    def others_waited(self) -> bool:
        """Tell, for a call that waits for a body, whether others have waited for it for `OTHERS_WAIT_S`."""
        if self.waited_s < self._next_check_s:
            return False
        self._next_check_s = self.waited_s + POLL_S
        return bool(self._too_long(self.waited_s))

    def judge(self) -> str:
        """Look, if it is time to, and return why the connection is to be cut; empty: it goes on."""
        waited = self.waited_s
        if waited < self._next_check_s:
            return ""
        self._next_check_s = waited + POLL_S
        settings = self._service.context.settings
        silent_s = settings.timeouts.response_timeout_s
        if waited - self._taken_at >= silent_s:
            return f"the client took no byte for {silent_s:g} s"
        return self._too_slow(waited) or self._too_long(waited)

    def _too_long(self, waited: float) -> str:
        """Judge by who else waits."""
        self.others_wait = self._runner.others_wait(self.exchange)
        if not self.others_wait:
            self._others_since = -1.0
        elif self._others_since < 0:
            self._others_since = waited
        elif waited - self._others_since >= OTHERS_WAIT_S:
            rate = self._window_bytes / max(waited - self._window_at, POLL_S)
            return (
                f"the client takes {rate:,.0f} bytes a second, and others have waited for this worker for "
                f"{OTHERS_WAIT_S:g} s. A proxy that buffers responses would spare it, more workers or "
                "threads, or a larger limits.response_spool_bytes_max"
            )
        return ""

    def _too_slow(self, waited: float) -> str:
        grace_s = self._service.context.settings.timeouts.rate_grace_s
        least = self._service.context.limits.response_rate_min_bytes_per_s
        if not least or waited - self._window_at < grace_s:
            return ""
        rate = self._window_bytes / (waited - self._window_at)
        self._window_at, self._window_bytes = waited, 0
        if rate >= least:
            return ""
        return f"the client took {rate:,.0f} bytes a second (limits.response_rate_min_bytes_per_s {least})"
