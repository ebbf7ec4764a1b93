"""An application that blocks signals: while it is imported, in its lifespan, or when it is asked to."""

from __future__ import annotations

import os
import signal
from typing import Any

ALL = signal.valid_signals()

if os.environ.get("DEAF") == "import":
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL)


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"] == "/block":
        signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def live(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        if os.environ.get("DEAF") == "lifespan":
            signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/block":
        signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
