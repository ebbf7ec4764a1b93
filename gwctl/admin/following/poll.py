"""What is asked for again and again while somebody follows it, and once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gwctl.errors import ControlError


class Poll:
    """``ask`` returns what is told, and what of it has to differ from the last for being told."""

    def __init__(
        self, ask: Callable[[], Awaitable[tuple[bytes, object]]], every_s: float, told: Callable[[], None]
    ) -> None:
        self._ask = ask
        self._every_s = every_s
        self._told = told
        self._followers = 0
        self._task: asyncio.Task[None] | None = None
        self._key: object = None
        self.latest = b""
        """Empty: nothing is known of this moment."""
        self.number = 0
        """How often there was something new."""

    def follow(self) -> None:
        self._followers += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def unfollow(self) -> None:
        self._followers -= 1
        if not self._followers and self._task is not None:
            self._task.cancel()
            self._task, self._key, self.latest = None, None, b""

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            next_at = loop.time() + self._every_s
            with suppress(ControlError):
                data, key = await self._ask()
                if key != self._key:
                    self.latest, self._key = data, key
                    self.number += 1
                    self._told()
            await asyncio.sleep(max(0.0, next_at - loop.time()))
