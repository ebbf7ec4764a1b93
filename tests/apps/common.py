"""What the test applications share: the same routes everywhere, so that one test drives all.

GET /            hello
GET /stream      five chunks
POST /upload     {"length": ..., "sha256": ...} of the body
GET /raise       raises before the response starts
GET /raise-mid   raises after the first chunk
GET /sleep?s=1   answers after that many seconds
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

HEADER = "X-Middleware"
HEADER_VALUE = "seen"
CHUNKS = [f"chunk {number}\n".encode() for number in range(5)]


class Deliberate(Exception):
    """Raised on purpose."""


def raising_stream() -> Iterator[bytes]:
    yield CHUNKS[0]
    raise Deliberate("in mid-stream")


async def async_stream(chunks=CHUNKS):
    for chunk in chunks:
        yield chunk


async def raising_async_stream():
    for chunk in raising_stream():
        yield chunk


def seconds(query: str) -> float:
    return float(query.removeprefix("s=") or 0)


class Digest:
    """Counts and hashes an upload piece by piece."""

    def __init__(self) -> None:
        self.length = 0
        self._hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self.length += len(data)
        self._hash.update(data)

    def read(self, read) -> Digest:
        """Take all that ``read(size)`` gives."""
        while data := read(65536):
            self.add(data)
        return self

    @property
    def summary(self) -> dict[str, int | str]:
        return {"length": self.length, "sha256": self._hash.hexdigest()}

    @property
    def json(self) -> bytes:
        return json.dumps(self.summary).encode()


class WsgiMiddleware:
    """Adds a header and closes what it wraps, as PEP 3333 asks of middleware."""

    def __init__(self, application) -> None:
        self.application = application

    def __call__(self, environ, start_response):
        def start(status, headers, exc_info=None):
            return start_response(status, [*headers, (HEADER, HEADER_VALUE)], exc_info)

        iterable = self.application(environ, start)
        try:
            yield from iterable
        finally:
            if hasattr(iterable, "close"):
                iterable.close()


class AsgiMiddleware:
    """Adds a header; passes other kinds of scope through."""

    def __init__(self, application) -> None:
        self.application = application

    async def __call__(self, scope, receive, send):
        async def send_with_header(message):
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (HEADER.lower().encode(), HEADER_VALUE.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self.application(scope, receive, send_with_header if scope["type"] == "http" else send)
