"""WebSockets across a reload: each is told 1012, spread over the drain, and connects anew."""

from __future__ import annotations

import asyncio
import signal
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

CLIENTS = 30
DRAIN_S = 6.0
RESTART = 1012


class Talk:
    """One client that talks without pause, and comes again when it is told that the service restarts."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ends: list[tuple[int | None, float]] = []
        self.talking = asyncio.Event()

    async def go_on(self, until_ends: int) -> None:
        while len(self.ends) < until_ends:
            async with connect(self.url) as client:
                await self._talk(client)
        async with connect(self.url) as client:
            await client.send("last")
            assert await client.recv() == "echo: last"

    async def _talk(self, client) -> None:
        try:
            while True:
                await client.send("x" * 1000)
                await client.recv()
                self.talking.set()
        except ConnectionClosed as end:
            self.ends.append((end.rcvd.code if end.rcvd else None, time.monotonic()))


def test_websockets_are_told_to_come_again(gwctl_server) -> None:
    """No reset, no end without a close frame; not all at once; and the new worker serves them."""
    timeouts = {"drain_timeout_s": DRAIN_S, "linger_s": 0.2}
    with gwctl_server(
        "asgi_bare:application", worker="asgi", timeouts=timeouts, reload={"settle_s": 0.05}
    ) as server:
        talks = [Talk(server.url.replace("http", "ws", 1) + "/ws") for _ in range(CLIENTS)]

        async def scenario() -> None:
            running = asyncio.gather(*(talk.go_on(1) for talk in talks))
            await asyncio.gather(*(talk.talking.wait() for talk in talks))
            server.signal(signal.SIGHUP)
            await asyncio.wait_for(running, 60)

        asyncio.run(scenario())
        server.wait_for_log(r"adopted generation 2\b")
        assert [code for talk in talks for code, _ in talk.ends] == [RESTART] * CLIENTS
        at = sorted(when for talk in talks for _, when in talk.ends)
        # The ends are spread over three seconds, of which a busy machine may let this process see the last only.
        assert at[-1] - at[0] > 0.5
