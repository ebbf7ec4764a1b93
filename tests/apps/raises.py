"""Applications that raise, with what is no UTF-8 in the message."""

from __future__ import annotations

from typing import Any


def application(environ: Any, start_response: Any) -> Any:
    raise KeyError("price \udcff")


async def live(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        raise KeyError("price \udcff")
    raise NotImplementedError
