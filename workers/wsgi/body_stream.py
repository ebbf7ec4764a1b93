"""``wsgi.input`` with ``body_buffering = false``: the body is read while the application runs.

A `BodyStream` is the raw file under a BufferedReader, which gives the application read,
readline, readlines and iteration. It is also the sink that the exchange feeds, which frames the body and
notices its end as for any other.

    PumpedStream  sync: the application has the loop's thread, so its read does what the loop
                  would do: takes what the socket has, or waits for it, and passes it on to
                  the connection
    FedStream     threads: the loop feeds; the application's thread waits

Beyond `WAITING_BYTES_MAX` the connection stops reading until the application has taken
something (under sync too: a request may stand in line while the loop turns). So memory is
bounded. A client that waits to be asked for its body (100-continue) is asked
at the first read. A body that does not come, or not as it should, makes read() raise a
`BodyError`; if the application lets it pass and has not begun to answer, the client gets the
status that it would have got without an application.
"""

from __future__ import annotations

import threading
from collections import deque
from io import RawIOBase
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from gwctl.workers.exchange.body_buffer import BodyTooLarge
from gwctl.workers.exchange.client_wait import OTHERS_WAIT_S, POLL_S

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.response import ClientTime
    from gwctl.workers.exchange.service import Service

WAITING_BYTES_MAX: Final = 65536
READ_BYTES: Final = 65536
JOINED_BYTES_MAX: Final = 4096
"""Smaller blocks are joined: a client may send its body in chunks of one byte, each an object of hundreds."""

_REASONS: Final = {
    0: "the client went away",
    400: "the client's body is cut short or not framed as it should be",
    408: "the client sent nothing of its body for too long",
    413: "the client's body is larger than limits.body_bytes_max",
}


class BodyError(OSError):
    """The request's body will not be complete. ``status`` answers it; 0: nobody is there to be answered."""

    def __init__(self, status: int) -> None:
        super().__init__(_REASONS[status])
        self.status = status


class ReadingCall(Protocol):
    """The call that reads (`gwctl.workers.wsgi.body_calls.StreamCall`)."""

    def send_continue(self) -> None: ...
    def waiting(self) -> ClientTime: ...


class BodyStream(RawIOBase):
    """The base of both; `_wait` says how more is waited for."""

    def __init__(self, service: Service, exchange: Exchange) -> None:
        self._service = service
        self._exchange = exchange
        self._limit = service.context.limits.body_bytes_max or float("inf")
        self._budget = service.body_budget
        self._blocks: deque[memoryview] = deque()
        self._joined = bytearray()  # small ones, behind the others
        self._taken = 0
        self._window_at_s = 0.0  # of the time that the call has waited
        self._window_bytes = 0
        self._heard_at_s = 0.0
        self._ended = False
        self._failure: int | None = None
        self.waiting = 0
        self.held_back = False
        """Reading may have stopped; stored before `full` is looked at, so that the reader sees it."""
        self.call: ReadingCall | None = None

    # ---- for the connection: a sink, and how it ends

    @property
    def failure(self) -> int | None:
        """The status of the error that read() raises, None while there is none."""
        return self._failure

    @property
    def full(self) -> bool:
        """Tell whether to read no more: enough waits here, or in all bodies together."""
        if self._failure is not None or self.waiting > WAITING_BYTES_MAX:
            return True
        return self.waiting > 0 and self._budget.memory_left <= 0

    def feed(self, block: bytes) -> None:
        """Take one block.

        Raises:
            BodyTooLarge: The limit is passed.
        """
        self._taken += len(block)
        if self._taken > self._limit:
            raise BodyTooLarge
        if not self.closed and self._failure is None:
            self.waiting += len(block)
            self._budget.give_back(-len(block))
            if len(block) < JOINED_BYTES_MAX:
                self._joined += block
            else:
                self._end_joining()
                self._blocks.append(memoryview(block))
        if self.full:
            self.held_back = True
            self._exchange.adjust_reading()

    def _end_joining(self) -> None:
        if self._joined:
            self._blocks.append(memoryview(self._joined))
            self._joined = bytearray()

    def body_end(self) -> None:
        self._ended = True

    def fail(self, status: int) -> bool:
        if not self._ended and self._failure is None:
            self._failure = status
        return True

    def is_full(self) -> bool:
        self.held_back = True
        return self.full

    def is_due(self) -> bool:
        return False

    def on_room(self) -> None:
        self._exchange.tell_when_empty(False)

    def abandon(self) -> None:
        self.fail(0)

    def lose_client(self) -> None:
        self.fail(0)

    # ---- for the application

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with what there is, at least a byte; 0 is the end.

        Raises:
            BodyError: The rest won't come.
        """
        if self.closed:
            raise ValueError("wsgi.input was read after the request had ended")
        if self._exchange.expecting and self.call is not None:
            self._exchange.since = monotonic()
            self._exchange.expecting = False
            self.call.send_continue()
        while not self.waiting:
            if self._failure is not None:
                raise BodyError(self._failure)
            if self._ended:
                return 0
            self._wait_for_client()
        return self._take(memoryview(buffer).cast("B"))

    def _take(self, buffer: memoryview) -> int:
        if not self._blocks:
            self._end_joining()
        block = self._blocks[0]
        size = min(len(block), len(buffer))
        buffer[:size] = block[:size]
        if size == len(block):
            self._blocks.popleft()
        else:
            self._blocks[0] = block[size:]
        self.waiting -= size
        self._budget.give_back(size)
        if self.held_back and not self.full:
            self.held_back = False
            self._let_go()
        return size

    def close(self) -> None:
        """End it with the request: what was not read is no longer the application's."""
        super().close()
        self.call = None
        self._blocks.clear()
        self._joined.clear()
        self._budget.give_back(self.waiting)
        self.waiting = 0

    def _wait_for_client(self) -> None:
        """Wait, in a time that is not the application's."""
        if self.call is None:
            self._wait(POLL_S)
            return
        wait = self.call.waiting()
        before = self._taken
        wait.begin(0)
        try:
            self._wait(POLL_S)
        finally:
            wait.end_of_body()
        if self._taken > before:
            self._heard_at_s = wait.waited_s
        self._judge(wait)

    def _judge(self, wait: ClientTime) -> None:
        """Fail if too little has come while it was waited for (`gwctl.workers.balancing.slow_clients`).

        Who holds the worker, or a thread, while others wait for it has less time to show that it is not slow.
        """
        settings = self._service.context.settings
        timeouts = settings.timeouts
        if wait.waited_s - self._heard_at_s >= timeouts.body_timeout_s:
            self.fail(408)
        least, elapsed = settings.limits.body_rate_min_bytes_per_s, wait.waited_s - self._window_at_s
        if not least:
            return
        grace_s = OTHERS_WAIT_S if wait.others_waited() else timeouts.rate_grace_s
        if elapsed < min(grace_s, timeouts.rate_grace_s):
            return
        rate = (self._taken - self._window_bytes) / elapsed
        self._window_at_s, self._window_bytes = wait.waited_s, self._taken
        if rate < least:
            self.fail(408)

    def _wait(self, seconds: float) -> None:
        """Return when something may have changed, or after ``seconds``."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """Have the connection read on, if it stopped: there is room again."""
        raise NotImplementedError


class PumpedStream(BodyStream):
    """For sync, in the loop's thread."""

    def _wait(self, seconds: float) -> None:
        status = self._exchange.pump(seconds)
        if status is not None:
            self.fail(status)

    def _let_go(self) -> None:
        self._exchange.adjust_reading()


class FedStream(BodyStream):
    """For threads: fed in the loop's thread, read in another."""

    def __init__(self, service: Service, exchange: Exchange) -> None:
        super().__init__(service, exchange)
        self._changed = threading.Condition()

    def feed(self, block: bytes) -> None:
        with self._changed:
            super().feed(block)
            self._changed.notify()

    def body_end(self) -> None:
        with self._changed:
            super().body_end()
            self._changed.notify()

    def fail(self, status: int) -> bool:
        with self._changed:
            super().fail(status)
            self._changed.notify()
        return True

    def readinto(self, buffer: Any) -> int:
        with self._changed:
            return super().readinto(buffer)

    def close(self) -> None:
        with self._changed:  # what is being fed would never be given back
            super().close()

    def _let_go(self) -> None:
        # Whether or not reading is paused yet: the loop looks for itself when it gets there.
        self._service.context.loop.call_soon_threadsafe(self._exchange.adjust_reading)

    def _wait(self, seconds: float) -> None:
        self._changed.wait(seconds)
