"""Applications that say when they worked: for `benchmarks.balance`.

``/MS`` sleeps that many milliseconds. The body is the pid, and when the call began and ended
(monotonic seconds, one clock for all processes).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from typing import Any


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    began = time.monotonic()
    ms = int(environ["PATH_INFO"].strip("/") or 0)
    if ms:
        time.sleep(ms / 1000)
    body = f"{os.getpid()} {began:.6f} {time.monotonic():.6f}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    began = time.monotonic()
    await asyncio.sleep(int(scope["path"].strip("/") or 0) / 1000)
    body = f"{os.getpid()} {began:.6f} {time.monotonic():.6f}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
