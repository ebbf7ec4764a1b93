"""Exceptions that nobody takes: in a callback of the loop, a task, a thread, a destructor; and logging as it is."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from typing import Any


class Ends:
    def __del__(self) -> None:
        raise ValueError("in a destructor")


def fail(where: str) -> None:
    raise ValueError(f"in {where}")


async def fail_in_a_task() -> None:
    fail("a task")


def in_all_classes() -> None:
    thread = threading.Thread(target=fail, args=("a thread",), name="stray")
    thread.start()
    thread.join()
    Ends()
    gc.collect()
    logging.getLogger("shop").warning("the application's own")


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    in_all_classes()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def live(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    in_all_classes()
    asyncio.get_running_loop().call_soon(fail, "a callback")
    task = asyncio.ensure_future(fail_in_a_task())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
