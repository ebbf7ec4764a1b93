"""What a worker's requests count, and how it gets out: in batches, not after each.

The first of a batch asks for its end, a moment later. Then the number of requests goes to the scoreboard, by
which siblings see that this worker moves, and lines to the access log; and who has more to do at that pace is
told of both ends of a batch. The other sums are for people: to make them takes a tenth of a millisecond with
eight threads. So they are written ten times a second at most.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from gwctl.ipc import exemplars
from gwctl.ipc.scoreboard import REQUESTS
from gwctl.workers.observe.access_log import AccessLog
from gwctl.workers.observe.counters import Counters, SlowRequest, flush

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gwctl.ipc.scoreboard import Record

FLUSH_S: Final = 0.02
SUMS_S: Final = 0.1
LATE_S: Final = 0.05
"""A timer that comes later than so has found the loop held up."""


class Accounts:
    """Of one worker. ``flush_due``: a batch has begun. ``access``: None without an access log."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        record: Record,
        on_batch: Callable[[], None],
        on_flush: Callable[[bool], None],
    ) -> None:
        """``on_flush`` is told whether the loop was held up since the batch began."""
        self._loop = loop
        self._record = record
        self._on_batch = on_batch
        self._on_flush = on_flush
        self._on_slow: Callable[[SlowRequest], None] | None = None
        self._flush_at = 0.0
        self._sums_at = 0.0  # the next time, at the earliest
        self._sums_due = False
        self._summed = 0  # requests
        self.own = Counters()
        """Of the loop's thread."""
        self._counters = [self.own]
        self.flush_due = False
        self.access: AccessLog | None = None

    def count_with(self, counters: Counters) -> None:
        """Add up those of another thread too, from now on."""
        counters.slow_s = self.own.slow_s
        self._counters.append(counters)

    def watch_slow(self, slow_s: float, tell: Callable[[SlowRequest], None]) -> None:
        """Have ``tell`` hear of each request that took so long, soon after its end."""
        self._on_slow = tell
        for counters in self._counters:
            counters.slow_s = slow_s

    def flush_soon(self) -> None:
        """Write what is counted soon: a batch of requests has begun."""
        if not self.flush_due:
            self.flush_due = True
            self._flush_at = monotonic() + FLUSH_S
            self._loop.call_later(FLUSH_S, self._end_batch)
            self._on_batch()

    def flush(self) -> None:
        """Write what has been counted so far."""
        self._write_sums()
        self._end_batch()

    def _end_batch(self) -> None:
        now = monotonic()
        late = self.flush_due and now - self._flush_at > LATE_S
        self.flush_due = False
        requests = self._requests()
        if requests == self._summed:
            pass
        elif now >= self._sums_at:
            self._write_sums()
        else:
            self._record.words[REQUESTS] = requests
            if not self._sums_due:
                self._sums_due = True
                self._loop.call_later(self._sums_at - now, self._write_sums)
        for counters in self._counters:
            while counters.exemplars:
                exemplars.write(self._record, counters.exemplars.popitem()[1])
        if self._on_slow is not None:
            for counters in self._counters:
                while counters.slow:
                    self._on_slow(counters.slow.pop(0))
        if self.access is not None:
            self.access.flush()
        self._on_flush(late)

    def _requests(self) -> int:
        return sum([one.requests for one in self._counters])

    def _write_sums(self) -> None:
        """Write all sums, if a request has ended since the last time."""
        self._sums_due = False
        requests = self._requests()
        if requests != self._summed:
            self._summed = requests
            self._sums_at = monotonic() + SUMS_S
            flush(self._counters, self._record)

    def set_access_log(self, fd: int, make: Callable[[int], AccessLog]) -> None:
        """Write the access log to ``fd`` from now on; it is closed in the end. -1: none."""
        if self.access is not None and fd >= 0:
            self.access.reopen(fd)
        elif self.access is not None:
            self.access.close()
            self.access = None
        elif fd >= 0:
            self.access = make(fd)
