"""What every runner is to its exchanges: who calls the application, whatever the worker class.

The hooks are named by when they run. All run in the loop's thread, but for what says so. A subclass says
what it has to do then; those without a body here are for the few that have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gwctl.workers.exchange.outbox import Outbox
from gwctl.workers.exchange.request_clock import RequestClock
from gwctl.workers.observe.introspection import Running

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.forwarded import OriginalRequest


class Runner:
    """Base of `SyncRunner`, `ThreadsRunner` and `AsgiRunner`.

    Attributes:
        outbox: Where whole responses wait to leave together.
        accept_batch: Connections accepted in one turn of the loop: as many as can be served soon.
        requests_wait: Requests over its capacity wait by themselves: for the thread, or for a free one.
        clock: Judges how long requests take.
    """

    accept_batch: int = 16
    requests_wait: bool = False

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.clock: RequestClock | None = None

    # ---- the worker's life

    def start(self) -> None:
        """Begin what the calls need; the application's lifespan follows."""

    def on_serve(self) -> None:
        """Connections will come, again or for the first time."""

    def on_stop(self) -> None:
        """No request will come any more."""

    def on_drain(self, now: float, *, ending: bool) -> None:
        """The clients are to leave. ``ending``: the worker ends in ``drain_timeout_s``, and is not parked."""

    def on_stay(self) -> None:
        """They may stay."""

    def end(self) -> None:
        """End what `start` began; that of a worker ends with its process."""

    # ---- the loop's pace

    def on_batch(self) -> None:
        """The first request of a batch is there."""

    def on_flush(self) -> None:
        """What was counted is written: a few milliseconds after the first request of a batch.

        Also with each sweep, and at a quick end in a signal's handler.
        """

    def on_sweep(self, now: float) -> None:
        """It is time to look for what has lasted too long: at most a second since the last time."""

    # ---- what it is at

    @property
    def active(self) -> int:
        """Requests in the application now, and those that wait for it here."""
        raise NotImplementedError

    def has_active(self, count: int) -> bool:
        """Tell whether `active` is ``count`` or more. Asked for each request."""
        return self.active >= count

    @property
    def background(self) -> int:
        """Requests that go on behind their response, and are not in `active`."""
        return 0

    def under_way(self) -> list[Running]:
        """What is not over, also behind its response."""
        raise NotImplementedError

    def longest(self) -> Running | None:
        """The request that has run longest; None where the scoreboard says it."""
        return None

    def current(self) -> Running | None:
        """The request that has the loop at this moment; for a signal's handler to ask."""
        return None

    def serving_threads(self) -> list[int]:
        """Those that are at a request at this moment, but for an ASGI worker's; for any thread to ask."""
        return []

    @property
    def application_loop(self) -> asyncio.AbstractEventLoop | None:
        """That of an ASGI application which has one of its own; None: it has none, or the server's."""
        return None

    @property
    def application_thread(self) -> int:
        """The ident of the thread in which that loop turns; 0: it has none, or the server's."""
        return 0

    def explain(self, tell: Callable[[], None]) -> None:
        """Have a call that holds the loop ``tell`` what it is at, if it can. For a signal's handler."""

    def interrupt(self) -> None:
        """End a call that holds the loop, if it can be ended. For a signal's handler."""

    def give_up(self, why: str) -> None:
        """End what can be ended of all requests: the time of a drain is over."""
        raise NotImplementedError

    def on_room(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called whenever a request is over. Only where `requests_wait` is not so."""
        raise NotImplementedError

    # ---- connections

    def reserve(self) -> None:
        """Have in hand what the next connection needs besides its descriptor.

        Raises:
            OSError: It cannot be had. Nothing is accepted then, rather than accepted and lost.
        """

    def release(self) -> None:
        """Nothing is accepted any more: let go of what was reserved."""

    def on_accept(self, exchange: Exchange) -> None:
        """It is accepted; its transport is yet to be made."""

    def on_connect(self, exchange: Exchange) -> None:
        """HTTP can begin on it."""
        raise NotImplementedError

    def on_stream(self, exchange: Exchange, connection: Exchange) -> None:
        """A request has come on ``connection``, one of many there: it shares what `on_connect` made."""
        raise NotImplementedError

    def on_disconnect(self, exchange: Exchange) -> None:
        """It is gone."""
        raise NotImplementedError

    def on_client_finished(self, exchange: Exchange) -> None:
        """The client sends no more, in the midst of a request."""
        raise NotImplementedError

    # ---- requests

    def forwarded(self, original: OriginalRequest) -> dict[str, Any]:
        """Return what a trusted proxy's word changes in what the requests of a connection share."""
        raise NotImplementedError

    def begin(self, exchange: Exchange) -> None:
        """Take the request in ``exchange``.

        Raises:
            Refused: It is not served.
        """
        raise NotImplementedError

    def body_complete(self, exchange: Exchange) -> None:
        """The body is there for which the request has waited, or its last response has gone out."""
        raise NotImplementedError

    def has_responded(self, exchange: Exchange) -> bool:  # noqa: ARG002 - the same
        """Tell whether a request whose body is still coming has begun to be answered."""
        return False

    def refused(self, exchange: Exchange) -> None:
        """The connection answers for itself; that response is the one that counts."""
        raise NotImplementedError

    def rest(self, exchange: Exchange) -> int:  # noqa: ARG002 - the same
        """How much of the present response waits outside of the transport."""
        return 0

    def sent(self, exchange: Exchange) -> int:  # noqa: ARG002 - the same
        """How much of the present response was written, `rest` included."""
        return 0
