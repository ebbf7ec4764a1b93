"""Every response tells its request apart: what it was asked, and what its body was.

/PLAIN/TOKEN       one block, at once
/STREAM/TOKEN      in blocks, without a length
/SLOW/TOKEN        one block, after `SLOW_S`
"""

from __future__ import annotations

import asyncio
import time

SLOW_S = 0.03
TEXT = "text/plain"


def told(method: str, path: str, body: bytes) -> bytes:
    return b"%s %s %s" % (method.encode(), path.encode(), body)


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    answer = told(environ["REQUEST_METHOD"], path, environ["wsgi.input"].read())
    if path.startswith("/SLOW/"):
        time.sleep(SLOW_S)
    start_response("200 OK", [("Content-Type", TEXT)])
    return iter([answer[:5], answer[5:]]) if path.startswith("/STREAM/") else [answer]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more, path = b"", True, scope["path"]
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = told(scope["method"], path, body)
    if path.startswith("/SLOW/"):
        await asyncio.sleep(SLOW_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", TEXT.encode())]})
    if path.startswith("/STREAM/"):
        await send({"type": "http.response.body", "body": answer[:5], "more_body": True})
        answer = answer[5:]
    await send({"type": "http.response.body", "body": answer})
