"""Asks for the figures again and again, keeps a quarter of an hour of samples, and tells who follows them.

Kept are samples of `KEPT_EVERY_S`. While somebody follows, the figures are asked for each
`FOLLOWED_EVERY_S`, and each such span makes a sample of its own, which is told and forgotten soon. A master
that does not answer leaves a gap: the sample after it is of the whole span.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from gwctl.admin.figures.samples import Reading, Sample, sample
from gwctl.control.metrics import MasterMetrics
from gwctl.errors import ControlError

KEPT_EVERY_S: Final = 5
KEPT_MAX: Final = 180
"""Samples: a quarter of an hour of them."""
FOLLOWED_EVERY_S: Final = 1.0
TOLD_MAX: Final = 30
"""Samples that a follower may be behind."""


class Sampler:
    """``ask`` gets the figures or raises ControlError; ``told`` is called after each sample for followers."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[MasterMetrics]],
        told: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.kept: deque[Sample] = deque(maxlen=KEPT_MAX)
        """The oldest first."""
        self.number = 0
        """How many samples there were for followers."""
        self._recent: deque[Sample] = deque(maxlen=TOLD_MAX)
        self._ask = ask
        self._told = told
        self._clock = clock
        self._wall = wall
        self._followers = 0
        self._woken = asyncio.Event()
        self._last: Reading | None = None
        self._last_kept: Reading | None = None

    def follow(self) -> int:
        """Ask more often from now on; return the number of the last sample that the follower is not told."""
        self._followers += 1
        self._woken.set()
        return self.number

    def unfollow(self) -> None:
        self._followers -= 1

    def since(self, number: int) -> list[Sample]:
        """Samples for followers after that with ``number``, as far as they are there yet."""
        new = min(self.number - number, len(self._recent))
        return list(self._recent)[len(self._recent) - new :]

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            self._woken.clear()
            with suppress(ControlError):
                self.take(await self._ask())
            await self._until_due()

    async def _until_due(self) -> None:
        """Wait for the next time; whoever begins to follow shortens that."""
        began = self._clock()
        while True:
            every_s = FOLLOWED_EVERY_S if self._followers else KEPT_EVERY_S
            left_s = began + every_s - self._clock()
            if left_s <= 0:
                return
            try:
                async with asyncio.timeout(left_s):
                    await self._woken.wait()
            except TimeoutError:
                return
            self._woken.clear()

    def take(self, metrics: MasterMetrics) -> None:
        """Make samples of what was answered just now."""
        reading = Reading(self._wall(), self._clock(), metrics)
        last, self._last = self._last, reading
        if last is not None and self._followers:
            self._recent.append(sample(last, reading))
            self.number += 1
            self._told()
        base = self._last_kept
        if base is None:
            self._last_kept = reading
        elif reading.monotonic - base.monotonic >= KEPT_EVERY_S - FOLLOWED_EVERY_S / 2:
            self.kept.append(sample(base, reading))
            self._last_kept = reading
