"""All that can be followed, and the streams that follow it."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

import msgspec

from gwctl.admin.figures.sampler import Sampler
from gwctl.admin.following.poll import Poll
from gwctl.admin.following.records import Records
from gwctl.admin.link.errors import OddAnswerError
from gwctl.admin.link.master import READ_S, Master
from gwctl.control.requests import longest_first, workers_of
from gwctl.json_text import encode

STATUS_EVERY_S: Final = 1.0
REQUESTS_EVERY_S: Final = 2.0
REQUESTS_MAX: Final = 20

_PASSING: Final = frozenset({"accepts_s", "left_s", "seconds", "until", "up_s"})
"""What differs from second to second although nothing has happened."""


class Woken(Protocol):
    """A stream: told that there may be something for it."""

    def wake(self) -> None: ...


class Feed:
    """Records, status, requests and samples, for all streams of this process."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._streams: set[Woken] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False
        self.records = Records(master, self._wake)
        self.sampler = Sampler(lambda: master.metrics.get(READ_S), self._wake)
        self.status = Poll(self._ask_status, STATUS_EVERY_S, self._wake)
        self.requests = Poll(self._ask_requests, REQUESTS_EVERY_S, self._wake)

    def begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self.records.run()), loop.create_task(self.sampler.run())]

    async def end(self) -> None:
        """End all streams, and what is under way for them."""
        self._ending = True
        self._wake()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def ends(self) -> bool:
        """Nothing will follow: the master has gone, or this process ends."""
        return self._ending or bool(self._master.gone)

    @property
    def master_gone(self) -> str:
        """Why it is not there any more; empty while it is, and when this process ends first."""
        return "" if self._ending else self._master.gone

    def join(self, stream: Woken) -> None:
        self._streams.add(stream)

    def leave(self, stream: Woken) -> None:
        self._streams.discard(stream)

    def _wake(self) -> None:
        for stream in self._streams:
            stream.wake()

    def tell_gone(self) -> None:
        """The master has gone: the streams say so and end."""
        self._wake()

    async def _ask_status(self) -> tuple[bytes, object]:
        document = await self._master.status.get(READ_S)
        return encode(document), lasting(document)

    async def _ask_requests(self) -> tuple[bytes, object]:
        """Told each time: how long it has been going on is what one looks at."""
        return encode(longest(await self._master.requests.get(READ_S))), object()


def lasting(value: Any, name: str = "") -> Any:
    """``value`` without what passes by itself. The master computes times of day anew: to the second."""
    if isinstance(value, dict):
        return {key: lasting(each, key) for key, each in value.items() if key not in _PASSING}
    if isinstance(value, list):
        return [lasting(each) for each in value]
    if isinstance(value, float) and name.endswith("_at"):
        return round(value)
    return value


def longest(document: dict[str, Any]) -> dict[str, Any]:
    """The requests that have been going on for the longest time, from those of all workers.

    Raises:
        OddAnswerError: It is no such document.
    """
    try:
        workers = workers_of(document)
    except msgspec.ValidationError as error:
        raise OddAnswerError(f"the master's answer is not understood: {error}") from None
    found = longest_first(workers)
    shown = [
        {
            "worker": f"{worker.pool}.{worker.slot}",
            "generation": worker.generation,
            "pid": worker.pid,
            "request": each.request,
            "seconds": each.age_s,
        }
        for each, worker in found[:REQUESTS_MAX]
    ]
    return {"requests": shown, "more": len(found) - len(shown) + sum(each.more for each in workers)}
