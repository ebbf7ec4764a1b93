"""A WSGI callable without a framework, and the mistakes that tutorials make."""

from __future__ import annotations

import os
import time

from common import CHUNKS, Deliberate, Digest, WsgiMiddleware, raising_stream, seconds

TEXT = [("Content-Type", "text/plain")]


def upload(environ):
    return Digest().read(environ["wsgi.input"].read).json


def routes(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise Deliberate("before the response")
    body: list[bytes] | None = {
        "/": lambda: [b"hello"],
        "/stream": lambda: CHUNKS,
        "/raise-mid": raising_stream,
        "/upload": lambda: [upload(environ)],
        "/pid": lambda: [str(os.getpid()).encode()],
        "/sleep": lambda: [time.sleep(seconds(environ["QUERY_STRING"])) or b"slept"],
        "/environ": lambda: [repr(sorted((k, v) for k, v in environ.items() if isinstance(v, str))).encode()],
    }.get(path, lambda: None)()
    if body is None:
        start_response("404 Not Found", TEXT)
        return [b"no such page"]
    start_response("200 OK", TEXT)
    return body


application = WsgiMiddleware(routes)


def echo(environ, start_response):
    """Sends back as much of the body as Content-Length says, in one read."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
    start_response(
        "200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))]
    )
    return [body]


def bare_bytes(environ, start_response):
    """The mistake: a bytes object is iterable, but yields integers."""
    start_response("200 OK", TEXT)
    return b"a bare bytes object"


def text_chunks(environ, start_response):
    """The mistake: str instead of bytes."""
    start_response("200 OK", TEXT)
    return ["a str"]


def async_run(environ, start_response):
    """No event loop may be visible to a WSGI application: asyncio.run must work, everywhere in it."""
    import asyncio

    async def answer() -> bytes:
        await asyncio.sleep(0)
        return b"ran a loop of its own\n"

    start_response("200 OK", TEXT)
    first = asyncio.run(answer())

    def rest():
        yield first
        yield asyncio.run(answer())

    return rest()
