"""Applications that answer with what they saw and keep a log of it, for tests/conformance.

``GET /-log`` gives the log as JSON and empties it. Only requests whose body came in full are in it.
"""

from __future__ import annotations

import json

LOG: list[dict] = []
PLAIN = "text/plain"


def answer(seen):
    if seen["path"] == "/-log":
        data = json.dumps(LOG).encode()
        LOG.clear()
        return data
    LOG.append(seen)
    return json.dumps(seen).encode()


def wsgi(environ, start_response):
    headers = {
        key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")
    }
    for key in ("CONTENT_LENGTH", "CONTENT_TYPE"):
        if key in environ:
            headers[key.replace("_", "-").lower()] = environ[key]
    seen = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        "query": environ["QUERY_STRING"],
        "headers": headers,
        "body": environ["wsgi.input"].read().decode("latin-1"),
    }
    body = answer(seen)
    start_response("200 OK", [("Content-Type", PLAIN), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode(), value.decode("latin-1")
        if key in headers:
            text = headers[key] + ("; " if key == "cookie" else ",") + text
        headers[key] = text
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    data = answer({
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "headers": headers,
        "body": body.decode("latin-1"),
    })  # fmt: skip
    fields = [(b"content-type", PLAIN.encode()), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": data})
