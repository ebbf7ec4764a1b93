"""Responses of 10 KiB and 1 MiB, each from one bytes object, in both interfaces."""

from __future__ import annotations

from typing import Any

KIB = b"0123456789abcdef" * 64


class Wsgi:
    def __init__(self, body: bytes) -> None:
        self.blocks = [body]
        self.headers = [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))]

    def __call__(self, _environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", self.headers)
        return self.blocks


def asgi_application(body: bytes) -> Any:
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", str(len(body)).encode())]

    async def application(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return application


wsgi_10k = Wsgi(10 * KIB)
wsgi_1m = Wsgi(1024 * KIB)
asgi_10k = asgi_application(10 * KIB)
asgi_1m = asgi_application(1024 * KIB)
