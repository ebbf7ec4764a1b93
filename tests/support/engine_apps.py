"""One small application twice, as WSGI and as ASGI, for tests that hold for every worker class.

/          "hello"                           /echo    the body, with its length
/stream    "one", "two", "three" in chunks   /status/N  an empty response with that status
/raise     raises before its response        /middle  raises after its first block
/length    Content-Length and body of the size in the query string
/path      what it was called with, as JSON
"""

from __future__ import annotations

import json
from typing import Any

STATUSES = {200: "200 OK", 204: "204 No Content", 304: "304 Not Modified", 404: "404 Not Found"}


class Oops(Exception):
    pass


def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    plain = ("Content-Type", "text/plain")
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [plain, ("Content-Length", str(len(body)))])
        return [body]
    if path == "/stream":
        start_response("200 OK", [plain])
        return iter([b"one", b"", b"two", b"three"])
    if path.startswith("/status/"):
        start_response(STATUSES[int(path[8:])], [])
        return []
    if path == "/raise":
        raise Oops("before")
    if path == "/middle":
        return _middle(start_response)
    if path == "/length":
        size = int(environ["QUERY_STRING"])
        start_response("200 OK", [plain, ("Content-Length", str(size))])
        return [b"x" * size]
    if path.startswith("/path"):
        shown = {key: value for key, value in environ.items() if isinstance(value, str | bool | int)}
        shown["body"] = environ["wsgi.input"].read().decode("latin-1")
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(shown).encode()]
    start_response("200 OK", [plain, ("Content-Length", "5")])
    return [b"hello"]


def _middle(start_response: Any) -> Any:
    start_response("200 OK", [])
    yield b"first"
    raise Oops("middle")


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    plain = (b"content-type", b"text/plain")

    async def respond(body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        await send({"type": "http.response.body", "body": body})

    if path == "/echo":
        body = await whole_body(receive)
        await respond(body, 200, plain, (b"content-length", b"%d" % len(body)))
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": [plain]})
        for block in (b"one", b"", b"two", b"three"):
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body"})
    elif path.startswith("/status/"):
        await respond(b"", int(path[8:]))
    elif path == "/raise":
        raise Oops("before")
    elif path == "/middle":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        raise Oops("middle")
    elif path == "/length":
        size = int(scope["query_string"])
        await respond(b"x" * size, 200, plain, (b"content-length", b"%d" % size))
    elif path.startswith("/path"):
        shown: dict[str, Any] = {key: value for key, value in scope.items() if isinstance(value, str)}
        shown["headers"] = [[name.decode(), value.decode()] for name, value in scope["headers"]]
        shown["query_string"] = scope["query_string"].decode()
        shown["raw_path"] = scope["raw_path"].decode()
        shown["client"], shown["server"] = scope["client"], scope["server"]
        shown["body"] = (await whole_body(receive)).decode("latin-1")
        await respond(json.dumps(shown).encode(), 200, (b"content-type", b"application/json"))
    else:
        await respond(b"hello", 200, plain, (b"content-length", b"5"))


async def whole_body(receive: Any) -> bytes:
    body: bytes = b""
    while True:
        message: dict[str, Any] = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message["more_body"]:
            return body


def application(worker_class: str) -> Any:
    """Return that of the interface that is the class's own, or stands behind a plus sign: ``sync+asgi``."""
    return asgi if worker_class.endswith("asgi") else wsgi


async def departure(receive: Any) -> None:
    """Return when the client is gone, as frameworks listen for it while they stream."""
    while (await receive())["type"] != "http.disconnect":
        pass
