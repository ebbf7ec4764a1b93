"""One question for all who ask it at about the same time: a thousand probes are as much work as a few.

An answer is never older than the question: who asks while one is under way gets the one after it, together
with all others who ask until that is sent. Between two that are sent there is a pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from gwctl.admin.link.errors import SilentError
from gwctl.wording import seconds

T = TypeVar("T")


class Shared(Generic[T]):
    """The question ``ask``, sent again after ``pause_s`` at the earliest. ``about`` names it in errors."""

    def __init__(self, about: str, ask: Callable[[], Awaitable[T]], pause_s: float) -> None:
        self._about = about
        self._ask = ask
        self._pause_s = pause_s
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None
        self._tasks: set[asyncio.Task[T]] = set()
        self._sent_at = -pause_s

    async def get(self, timeout_s: float) -> T:
        """Ask, or wait for what others ask.

        Raises:
            SilentError: No answer in time. The question stays asked.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._ask_next())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._forget)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._next)
        except TimeoutError:
            raise SilentError(
                f"the master did not answer {self._about} within {seconds(timeout_s)}"
            ) from None

    async def _ask_next(self) -> T:
        async with self._turn:
            loop = asyncio.get_running_loop()
            left_s = self._sent_at + self._pause_s - loop.time()
            if left_s > 0:
                await asyncio.sleep(left_s)
            self._next = None  # who comes from now on is told what is so from now on
            self._sent_at = loop.time()
            return await self._ask()

    def _forget(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if self._next is task:  # cancelled before its turn
            self._next = None
        if not task.cancelled():
            task.exception()  # all who asked may have gone

    async def close(self) -> None:
        """Wait for what is under way. The master is asked no more: so that fails at once."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
