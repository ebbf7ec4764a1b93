"""Work that nobody waits for any more is not done: how long a request may wait for its turn.

A request waits in a proxy (which says when it came, in X-Request-Start), in the kernel until its
connection is accepted or read, and here: in line for a sync worker, for a thread, for one of
``requests_max``. Beyond ``queue_timeout_s`` in all of these together it is answered with 503 before the
application is called. Whose client has gone is dropped without a word. Both count as *dropped*.

Under more load than it can bear a worker would otherwise serve each request just too late: all
of its work would be for clients that have given up. With a limit below their patience it answers as
many in time as it can, and the line is short again as soon as the load is.
"""

from __future__ import annotations

import re
import time
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from gwctl.ipc.scoreboard import DROPPED
from gwctl.workers.exchange.request_rules import Refused
from gwctl.workers.exchange.states import FRESH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gwctl.workers.context import WorkerContext
    from gwctl.workers.exchange.exchange import Exchange

REQUEST_START: Final = b"x-request-start"
NOTICE_S: Final = 0.05
"""Who has waited for less is served without a look."""
BEHIND_S: Final = 1.0
"""For so long after the last sign of it a worker is behind."""
ASK_AGAIN_S: Final = 0.005
"""After a kept-alive client that had not waited, the kernel is not asked about others for so long."""
BELIEVED_S: Final = 3600.0
"""Who is said to have waited for longer has been told so by a clock that is wrong."""
SERVE: Final = 0
LATE: Final = 503
GONE: Final = -1

_START: Final = re.compile(rb"[ \t]*(?:t=)?(\d{9,19}(?:\.\d{1,9})?)[ \t]*")
_MILLISECONDS: Final = 1e11
_MICROSECONDS: Final = 1e14
_NANOSECONDS: Final = 1e17


class QueueLimit:
    """Of one worker.

    ``behind``: connections have lately waited in the backlog, or the loop was late. ``notable``: since it is,
    some request had waited long enough for a look before it is served.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._limit_s = context.settings.timeouts.queue_timeout_s or inf
        self.behind = False
        self.notable = False
        self._behind_at = -inf
        self._ask_at = 0.0
        self._dropped_at = 0.0

    @property
    def dropping(self) -> bool:
        """Tell whether requests were dropped lately: then who waits is to be looked at quickly."""
        return monotonic() - self._dropped_at < 1.0

    def falls_behind(self) -> None:
        """Note that connections wait in the backlog, or that the loop was late."""
        self.behind = True
        self._behind_at = monotonic()

    def forget_old(self, now: float) -> None:
        """Forget what was long ago. Called in each sweep.

        Not sooner: between the last look at who waits in the backlog and the one that lets them in there
        may be a sweep, or several.
        """
        if now - self._behind_at > BEHIND_S:
            self.behind = self.notable = False

    def arrives(self, exchange: Exchange, fields: Mapping[bytes, bytes] | None) -> None:
        """Note since when a request waits whose head was read just now.

        Asking the kernel takes as long as a good part of a short request. So of clients that are
        kept alive one is asked about for many; who comes from the backlog always is.

        Raises:
            Refused: For too long already.
        """
        now = monotonic()
        exchange.arrived_at = 0.0
        if exchange.forwarder is not None and fields is not None and REQUEST_START in fields:
            exchange.arrived_at = now - seconds_since(fields[REQUEST_START], time.time())
        elif not self.behind or (now < self._ask_at and exchange.state != FRESH):
            return
        ages = exchange.ages()
        waited_s = self._waited(exchange, now, now, ages)
        if waited_s >= NOTICE_S or ages is None:  # nobody says
            self.notable = True  # for others as well, whose tasks are yet to begin
        else:
            self._ask_at = now + ASK_AGAIN_S
        if waited_s > self._limit_s:
            self.note(exchange, LATE, waited_s)
            raise Refused(503, "queue_timeout_s is over")

    def judge(self, exchange: Exchange, since: float) -> tuple[int, float]:
        """Return `SERVE`, `LATE` or `GONE`, and how long a request has waited that stands here ``since``.

        Any thread.
        """
        now = monotonic()
        waited_s = self._waited(exchange, since, now, exchange.ages())
        if exchange.has_left(since):
            return GONE, waited_s
        return (LATE if waited_s > self._limit_s else SERVE), waited_s

    @staticmethod
    def _waited(exchange: Exchange, since: float, now: float, ages: tuple[float, float] | None) -> float:
        """Return the longest that is known of."""
        said_s = now - exchange.arrived_at if exchange.arrived_at else 0.0
        return max(now - since, said_s, ages[0] if ages is not None else 0.0)

    def note(self, exchange: Exchange, verdict: int, waited_s: float) -> None:
        """Count one that was dropped. The loop's thread."""
        context = self._context
        context.record.words[DROPPED] += 1
        self._dropped_at = monotonic()
        if verdict == LATE:
            context.throttled.warning(
                "queue",
                f"{exchange.what()} had waited {waited_s:.1f} s (queue_timeout_s {self._limit_s:g}): "
                "answered 503 before the application. There is more to do than these workers can: "
                "more processes or threads, or quicker requests",
            )
        else:
            context.log.debug(f"{exchange.what()}: its client went away before its turn, {waited_s:.1f} s")


def seconds_since(value: bytes, now: float) -> float:
    """Return how long ago X-Request-Start says that a request came; 0.0 for what cannot be so.

    It has a time since 1970, with or without ``t=``, in seconds (with a fraction: nginx), milliseconds
    (Heroku), microseconds (Apache) or nanoseconds. Of several the first counts: the outermost proxy's.
    """
    match = _START.fullmatch(value.partition(b",")[0])
    if match is None:
        return 0.0
    moment = float(match[1])
    for least, unit in ((_NANOSECONDS, 1e9), (_MICROSECONDS, 1e6), (_MILLISECONDS, 1e3)):
        if moment >= least:
            moment /= unit
            break
    waited_s = now - moment
    return waited_s if 0.0 < waited_s < BELIEVED_S else 0.0
