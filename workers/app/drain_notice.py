"""``gwctl.draining``: an application asks whether its worker is about to end, and can go on accordingly.

    environ["gwctl.draining"]()                          WSGI: True or False
    scope["extensions"]["gwctl.draining"]()              ASGI: the same
    await scope["extensions"]["gwctl.draining"]          ASGI: until it is True
    await scope["extensions"]["gwctl.draining"].wait()   the same, for asyncio.wait and task groups

True while the clients are to leave: at a stop, after a reload, when the worker is recycled, and
while its generation is kept for a rollback. A rollback to it makes it False again.

One object for a worker. It may be asked in any thread and any event loop. A sync worker reads
its orders between calls; asked in the midst of one, it looks whether one waits to be read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import Any, Final, Self

from gwctl.ipc.channel import Drain, Message, Park, Serve

KEY: Final = "gwctl.draining"


def drains(orders: list[Message]) -> bool | None:
    """Say what the last of ``orders`` that says something about it makes of it."""
    for order in reversed(orders):
        match order:
            case Drain() | Park(release_clients=True):
                return True
            case Serve():
                return False
            case _:
                continue
    return None


class DrainNotice:
    """See the module. ``ahead`` says what the next order will make of it, or None."""

    def __init__(self, ahead: Callable[[], bool | None] | None = None) -> None:
        self._ahead = ahead
        self._draining = False
        self._waiters: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    def __call__(self) -> bool:
        if self._ahead is not None:
            found = self._ahead()
            if found:
                self._tell_waiters()  # who reads the order does so when the call is over
            if found is not None:
                return found
        return self._draining

    def __await__(self) -> Generator[Any, None, None]:
        return self.wait().__await__()

    async def wait(self) -> None:
        """Return when the worker drains."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters[waiter] = loop  # first: `begin` may come in between, from another thread
        try:
            if not self():
                await waiter
        finally:
            del self._waiters[waiter]

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: Any) -> Self:
        """Return it: whoever copies a scope shall still hear."""
        return self

    def begin(self) -> None:
        """It drains. Safe in a signal's handler, any number of times."""
        self._draining = True
        self._tell_waiters()

    def _tell_waiters(self) -> None:
        for waiter, loop in list(self._waiters.items()):
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(_tell, waiter)

    def end(self) -> None:
        """It serves again."""
        self._draining = False


def _tell(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
