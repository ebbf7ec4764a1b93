"""The master as this process sees it: what can be asked, how it is shared, and how long it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from gwctl.admin.link.connection import Link, OnNews
from gwctl.admin.link.errors import OddAnswerError
from gwctl.admin.link.shared import Shared
from gwctl.control import protocol
from gwctl.control.metrics import MasterHealth, MasterMetrics

PROBE_S: Final = 2.0
READ_S: Final = 5.0
"""For what the master answers at once, or after asking its workers (a second)."""
CHANGE_S: Final = 10.0

T = TypeVar("T")
Document = dict[str, Any]


class Master:
    """Everything that is asked of the master goes through here."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.health: Shared[MasterHealth] = Shared(
            "health", self._typed(protocol.Health(), MasterHealth), 0.02
        )
        self.metrics: Shared[MasterMetrics] = Shared(
            "metrics", self._typed(protocol.Metrics(), MasterMetrics), 0.1
        )
        self.status: Shared[Document] = Shared("status", lambda: link.ask(protocol.Status(), None), 0.1)
        self.requests: Shared[Document] = Shared("requests", lambda: link.ask(protocol.Requests(), None), 0.1)

    def _typed(self, params: protocol.Method, kind: type[T]) -> Callable[[], Awaitable[T]]:
        async def ask() -> T:
            answer = await self._link.ask(params, None)
            try:
                return msgspec.convert(answer, kind)
            except msgspec.ValidationError as error:
                raise OddAnswerError(f"the master's answer is not understood: {error}") from None

        return ask

    async def ask(
        self,
        params: protocol.Method,
        timeout_s: float | None,
        on_news: OnNews | None = None,
        passed: list[int] | None = None,
    ) -> Document:
        """Ask what is not shared; see `Link.ask`."""
        return await self._link.ask(params, timeout_s, on_news, passed)

    @property
    def gone(self) -> str:
        """Why it is not there any more; empty while it is."""
        return self._link.gone

    async def close(self) -> None:
        self._link.close()
        await asyncio.gather(
            *(each.close() for each in (self.health, self.metrics, self.status, self.requests))
        )
