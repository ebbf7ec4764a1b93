"""Asks for the figures now and then, and sends what is new.

The first reading is what later ones are compared with. The last one is made at the end of this process, so
that little is lost when another takes its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from gwctl.admin.statsd.lines import Reading, Writer, lines
from gwctl.admin.statsd.packets import UDP_BYTES_MAX, UNIX_BYTES_MAX, packets
from gwctl.admin.statsd.sender import Sender
from gwctl.config.model.statsd import StatsdSettings
from gwctl.config.statsd_target import parse
from gwctl.control.metrics import MasterMetrics
from gwctl.errors import ControlError

_LAST_S: Final = 0.3
"""At the end of this process: the master is about to go, too, maybe."""


class Reporter:
    """``ask`` gets the figures or raises ControlError; ``levels`` counts events, and goes on to.

    ``known`` waits until events of before are counted in ``levels``: they are no news.
    """

    def __init__(
        self,
        settings: StatsdSettings,
        ask: Callable[[], Awaitable[MasterMetrics]],
        levels: Mapping[str, int],
        known: Callable[[], Awaitable[object]],
        warn: Callable[[str], None],
    ) -> None:
        target = parse(settings.to)
        self.sender = Sender(target, warn)
        self._ask = ask
        self._levels = levels
        self._known = known
        self._every_s = settings.interval_s
        self._bytes_max = UNIX_BYTES_MAX if target.path else UDP_BYTES_MAX
        self._writer = Writer(settings.prefix, settings.tags, tagged=settings.format == "dogstatsd")
        self._gunicorn_names = settings.gunicorn_names
        self._before: Reading | None = None
        self._running: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def end(self) -> None:
        """Send what there is; nothing if the master has gone."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await self.report()
        self.sender.close()

    async def _run(self) -> None:
        if self._gunicorn_names:
            await self._known()
        loop = asyncio.get_running_loop()
        next_at = loop.time()
        while True:
            await self.report()
            next_at = max(next_at + self._every_s, loop.time())
            await asyncio.sleep(next_at - loop.time())

    async def report(self) -> None:
        """Send what is new. A master that does not answer is asked again the next time."""
        with suppress(ControlError):
            after = Reading(await self._ask(), dict(self._levels))
            before, self._before = self._before, after
            if before is not None:
                found = lines(before, after, self._writer, gunicorn_names=self._gunicorn_names)
                await self.sender.send([*packets(found, self._bytes_max)])
