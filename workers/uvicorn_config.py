"""uvicorn's Config for the two parts of uvicorn used here: lifespan and WebSockets.

Made so that none of uvicorn's own machinery moves: no HTTP protocol is imported, no logging
configured, nothing read from the environment, and the application is never touched (uvicorn
calls what it is given once, to find factories out; it is given a function of ours).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn import Config

from gwctl.config.settings import WebSocketSettings


def make_config(call: Any, websocket: WebSocketSettings | None = None) -> Config:
    """Build and load a Config around the ASGI 3 callable ``call``.

    Pings are left out: `gwctl.workers.websocket_watch` sends them.
    """
    if websocket is None:
        websocket = WebSocketSettings()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await call(scope, receive, send)

    config = Config(
        application,
        http=asyncio.Protocol,
        ws="none",
        loop="none",
        lifespan="auto",
        interface="asgi3",
        ws_max_size=websocket.message_bytes_max,
        ws_per_message_deflate=websocket.per_message_deflate,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        workers=1,
        forwarded_allow_ips="",
    )
    config.load()
    config.loaded_app = application  # not the wrapper that a TRACE level of uvicorn's logger would add
    return config
