"""uvicorn's Config for the part of uvicorn used here: lifespan.

Made so that none of uvicorn's own machinery moves: no HTTP protocol is imported, no logging
configured, nothing read from the environment, and the application is never touched (uvicorn
calls what it is given once, to find factories out; it is given a function of ours).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn import Config


def make_config(call: Any) -> Config:
    """Build and load a Config around the ASGI 3 callable ``call``."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await call(scope, receive, send)

    config = Config(
        application,
        http=asyncio.Protocol,
        ws="none",
        loop="none",
        lifespan="auto",
        interface="asgi3",
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
