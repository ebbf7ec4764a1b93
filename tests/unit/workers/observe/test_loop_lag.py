"""How late the event loop is, as its worker tells: with the timer of its sweep, or with what was ready to run."""

from __future__ import annotations

import asyncio
from typing import Any

from gwctl.ipc.scoreboard import HEARTBEAT_AT, LAG_S
from tests.support.engine import Engine
from tests.support.wait import pass_time, until

BLOCKS_S = 0.02
TASKS = 10
TURN_S = TASKS * BLOCKS_S
"""What each turn of the loop takes: as long as between two sweeps, whose timer is never late then."""


async def blocks(scope: Any, receive: Any, send: Any) -> None:
    """A steady load of calls that block: each turn of the loop has as many of them."""

    async def again() -> None:
        while True:
            pass_time(BLOCKS_S)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(again()) for _ in range(TASKS)]
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    finally:
        for task in tasks:
            task.cancel()


def test_turns_that_are_all_alike_are_seen() -> None:
    with Engine(blocks, "asgi", sweep_s=TURN_S) as engine, engine.connect() as client:
        floats = engine.record.floats
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: floats[LAG_S] >= TURN_S * 0.9, "the first of them")
        seen: dict[float, float] = {}

        def looks() -> bool:
            seen[floats[HEARTBEAT_AT]] = floats[LAG_S]
            return len(seen) > 6

        until(looks, "several heartbeats")
        assert min(seen.values()) >= TURN_S * 0.9
