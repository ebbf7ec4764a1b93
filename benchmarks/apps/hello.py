"""Hello world in both interfaces, as small as they allow."""

from __future__ import annotations

from typing import Any

BODY = b"Hello, world!"
WSGI_HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]
ASGI_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]


def wsgi(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", WSGI_HEADERS)
    return [BODY]


async def asgi(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": ASGI_HEADERS})
    await send({"type": "http.response.body", "body": BODY})
