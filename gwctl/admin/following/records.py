"""The master's records as they come: one subscription, whose last thousand are kept for all who follow here.

Each has the master's number, and the numbers have no gap: so who follows holds the number of the last that it
was sent, nothing else, and finds out by the numbers what it has lost. Nobody who reads slowly costs anything.

The history is asked for first, then all that comes from it on: what comes twice is dropped by its number.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import takewhile
from typing import Any, Final, NamedTuple

from gwctl.admin.link.errors import GoneError
from gwctl.admin.link.master import READ_S, Master
from gwctl.control.protocol import Events, Happened, News
from gwctl.errors import ControlError
from gwctl.json_text import encode

KEPT_MAX: Final = 1000
KEPT_BYTES_MAX: Final = 1 << 20
_AGAIN_S: Final = 1.0


class Record(NamedTuple):
    """One record as JSON."""

    number: int
    data: bytes


class Records:
    """The last of them. ``told`` is called when there is a new one."""

    def __init__(self, master: Master, told: Callable[[], None]) -> None:
        self._master = master
        self._told = told
        self._kept: deque[Record] = deque()
        self._bytes = 0
        self.last = 0
        """The number of the newest; 0: none is known yet."""
        self.levels = Counter[str]()
        """How many there were of each level, of those that were told here."""
        self.complete = asyncio.Event()
        """What had happened before this process began is here, as far as the master had it."""

    async def run(self) -> None:
        """Go on until cancelled, or until the master has gone."""
        while True:
            try:
                await self._master.ask(Events(), READ_S, self.hear)
                self.complete.set()
                await self._master.ask(Events(follow=True), None, self.hear)
            except GoneError:
                return
            except ControlError:
                pass  # it is busy, or about to end
            await asyncio.sleep(_AGAIN_S)

    def hear(self, news: News) -> None:
        """Take what the master tells; what it says is lost shows in the numbers."""
        if isinstance(news, Happened):
            self.take(news.event)

    def take(self, event: dict[str, Any]) -> None:
        number = event.get("number")
        if not isinstance(number, int) or number <= self.last:
            return
        record = Record(number, encode(event))
        self.levels[str(event.get("level"))] += 1
        self.last = number
        self._kept.append(record)
        self._bytes += len(record.data)
        while len(self._kept) > KEPT_MAX or (self._bytes > KEPT_BYTES_MAX and len(self._kept) > 1):
            self._bytes -= len(self._kept.popleft().data)
        self._told()

    async def known(self) -> None:
        """Wait until the history is here, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_S):
                await self.complete.wait()

    def after(self, number: int) -> Iterator[Record]:
        """Those with higher numbers that are kept, the oldest first."""
        newer = list(takewhile(lambda record: record.number > number, reversed(self._kept)))
        return reversed(newer)

    def place(self, last_seen: int | None, last: int) -> int:
        """Where one begins who has seen ``last_seen`` (None: nothing) and would see the ``last`` of what was.

        A number that is not known yet is another master's: all that is kept is new then.
        """
        if last_seen is not None:
            return last_seen if 0 <= last_seen <= self.last else self._before_first
        return max(self.last - last, self._before_first) if last else self.last

    @property
    def _before_first(self) -> int:
        return self._kept[0].number - 1 if self._kept else self.last
