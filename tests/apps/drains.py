"""Responses that take their time, for tests of what a drain does to them: WSGI and ASGI.

/                 hello
/stream?N         N blocks, one each 0.1 s, then "end"
/events           a block each 0.1 s, without end
/hold             nothing, without end
/live             events: one, then silence, until it is told of its client's end (ASGI)
/asks             hello, when it is told of the drain
/big              more than sockets hold
/upload           hello, when the body has come

The ASGI application says on stdout when a response has ended and when its lifespan shuts down.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import time

BLOCK_S = 0.1
BIG = b"x" * (32 << 20)
TEXT = "text/plain"


def blocks(path: str, query: str):
    """What is sent; None stands for a pause."""
    if path == "/stream":
        for number in range(int(query)):
            yield f"block {number}\n".encode()
            yield None
        yield b"end\n"
    elif path == "/events":
        for number in itertools.count():
            yield f"data: {number}\n\n".encode()
            yield None
    elif path == "/hold":
        while True:
            yield None
    else:
        yield BIG if path == "/big" else b"hello"


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/asks":
        print("asks", flush=True)
        while not environ["gwctl.draining"]():
            time.sleep(0.01)
    start_response("200 OK", [("Content-Type", TEXT)])
    for block in blocks(environ["PATH_INFO"], environ["QUERY_STRING"]):
        if block is None:
            time.sleep(BLOCK_S)
        else:
            yield block


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await talk(receive, send)
    else:
        await respond(scope, receive, send)


async def respond(scope, receive, send):
    headers = [(b"content-type", TEXT.encode())]
    path = scope["path"]
    try:
        while path == "/upload" and (await receive()).get("more_body"):
            pass
        if path == "/hold":
            await asyncio.Event().wait()
        if path == "/asks":
            print("asks", flush=True)
            await scope["extensions"]["gwctl.draining"]
        if path == "/live":
            await live(receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for block in blocks(path, scope["query_string"].decode()):
            if block is None:
                await asyncio.sleep(BLOCK_S)
            else:
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        print("response ended", flush=True)


watchers = set()


async def watch():
    """As sse-starlette does, whose watcher looks for uvicorn's server behind the handler of TERM."""
    while not signal.getsignal(signal.SIGTERM).__self__.should_exit:  # noqa: ASYNC110 - a library does so
        await asyncio.sleep(0.05)


async def live(receive, send):
    if not watchers:
        watchers.add(asyncio.ensure_future(watch()))
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"data: 0\n\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("lifespan shuts down", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def talk(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": "heard"})
