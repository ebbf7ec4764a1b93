"""Work that nobody waits for any more is not done: how long a request may wait for its turn.

A request waits in a proxy (which says when it came, in X-Request-Start), in the kernel until its
connection is accepted or read, and here: in line for a sync worker, for a thread, for one of
``requests_max``. Beyond ``queue_timeout_s`` in all of these together it is answered with 503 before the
application is called. Whose client has gone is dropped without a word. Both count as *dropped*.

Under more load than it can bear a worker would otherwise serve each request just too late: all
of its work would be for clients that have given up. With a limit below their patience it answers as
many in time as it can, and the line is short again as soon as the load is.

What the kernel knows
    It has the time of a client's last data and of its last packet (tcp_info). A client that shuts down its
    side right after its request waits for the answer; one that does so a while later has gone.
    On a Unix socket the kernel says whether the peer has closed.
"""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.ipc.scoreboard import DROPPED
from gwctl.workers.http1.request_rules import Refused
from gwctl.workers.http1.states import FRESH
from gwctl.workers.observe.tcp_info import tcp_info

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gwctl.workers.context import WorkerContext
    from gwctl.workers.http1.connection import ConnectionBase

REQUEST_START: Final = b"x-request-start"
NOTICE_S: Final = 0.05
"""Who has waited for less is served without a look."""
BEHIND_S: Final = 1.0
"""For so long after the last sign of it a worker is behind."""
ASK_AGAIN_S: Final = 0.005
"""After a kept-alive client that had not waited, the kernel is not asked about others for so long."""
LEFT_S: Final = 0.5
"""A client that ends its side later than so after its request has gone."""
BELIEVED_S: Final = 3600.0
"""Who is said to have waited for longer has been told so by a clock that is wrong."""
SERVE: Final = 0
LATE: Final = 503
GONE: Final = -1

_START: Final = re.compile(rb"[ \t]*(?:t=)?(\d{9,19}(?:\.\d{1,9})?)[ \t]*")
_MILLISECONDS: Final = 1e11
_MICROSECONDS: Final = 1e14
_NANOSECONDS: Final = 1e17
_PEEK: Final = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
_TCP_INFO_BYTES: Final = 60
_read_ages: Final = struct.Struct("=52x2I").unpack  # struct tcp_info: tcpi_last_data_recv, tcpi_last_ack_recv


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

    def arrives(self, connection: ConnectionBase, fields: Mapping[bytes, bytes] | None) -> None:
        """Note since when a request waits whose head was read just now.

        Asking the kernel takes as long as a good part of a short request. So of clients that are
        kept alive one is asked about for many; who comes from the backlog always is.

        Raises:
            Refused: For too long already.
        """
        now = monotonic()
        connection.arrived_at = 0.0
        if connection.forwarder is not None and fields is not None and REQUEST_START in fields:
            connection.arrived_at = now - seconds_since(fields[REQUEST_START], time.time())
        elif not self.behind or (now < self._ask_at and connection.state != FRESH):
            return
        waited_s = self.waited(connection, now, now)
        if waited_s >= NOTICE_S or connection.sock.family == socket.AF_UNIX:  # which does not say
            self.notable = True  # for others as well, whose tasks are yet to begin
        else:
            self._ask_at = now + ASK_AGAIN_S
        if waited_s > self._limit_s:
            self.note(connection, LATE, waited_s)
            raise Refused(503, "queue_timeout_s is over")

    def judge(self, connection: ConnectionBase, since: float) -> tuple[int, float]:
        """Return `SERVE`, `LATE` or `GONE`, and how long a request has waited that stands here ``since``.

        Any thread.
        """
        now = monotonic()
        waited_s = self.waited(connection, since, now)
        if is_gone(connection, since):
            return GONE, waited_s
        return (LATE if waited_s > self._limit_s else SERVE), waited_s

    @staticmethod
    def waited(connection: ConnectionBase, since: float, now: float) -> float:
        """Return the longest that is known of."""
        said_s = now - connection.arrived_at if connection.arrived_at else 0.0
        ages = _ages(connection.sock)
        return max(now - since, said_s, ages[0] if ages is not None else 0.0)

    def note(self, connection: ConnectionBase, verdict: int, waited_s: float) -> None:
        """Count one that was dropped. The loop's thread."""
        context = self._context
        context.record.words[DROPPED] += 1
        self._dropped_at = monotonic()
        if verdict == LATE:
            context.throttled.warning(
                "queue",
                f"{connection.what()} had waited {waited_s:.1f} s (queue_timeout_s {self._limit_s:g}): "
                "answered 503 before the application. There is more to do than these workers can: "
                "more processes or threads, or quicker requests",
            )
        else:
            context.log.debug(f"{connection.what()}: its client went away before its turn, {waited_s:.1f} s")


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


def is_gone(connection: ConnectionBase, since: float) -> bool:
    """Tell whether nobody waits any more for the answer to what was read at ``since``; any thread."""
    if connection.lost:
        return True
    sock = connection.sock
    try:
        if not (connection.eof or sock.recv(1, _PEEK) == b""):
            return False
    except BlockingIOError:
        return False
    except (OSError, ValueError):
        return True
    if connection.pipelined:
        return False  # its end may have come with a request that was answered long before this one
    if connection.tls is not None:  # its end is data, too: when we read it has to do
        return connection.eof_at - since > LEFT_S
    ages = _ages(sock)
    if ages is not None:
        return ages[0] - ages[1] > LEFT_S
    return _hung_up(sock)


def _hung_up(sock: socket.socket) -> bool:
    poller = select.poll()
    try:
        poller.register(sock, 0)
    except (OSError, ValueError):
        return True
    return bool(poller.poll(0))


def _ages(sock: Any) -> tuple[float, float] | None:
    """Return the seconds since the client's last data and its last packet; None where nobody says."""
    info = tcp_info(sock, _TCP_INFO_BYTES)
    if not info:
        return None
    data_ms, packet_ms = _read_ages(info)
    return data_ms / 1000, packet_ms / 1000
