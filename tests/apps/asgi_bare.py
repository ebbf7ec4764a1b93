"""ASGI callables without a framework."""

from __future__ import annotations

import asyncio
import os

from common import CHUNKS, AsgiMiddleware, Deliberate, Digest, async_stream, raising_async_stream, seconds

TEXT = [(b"content-type", b"text/plain")]


async def body_of(receive):
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def respond(send, chunks, status=200):
    await send({"type": "http.response.start", "status": status, "headers": TEXT})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def upload(receive) -> bytes:
    digest = Digest()
    async for data in body_of(receive):
        digest.add(data)
    return digest.json


async def http(scope, receive, send):
    path = scope["path"]
    if path == "/":
        await respond(send, async_stream([b"hello"]))
    elif path == "/stream":
        await respond(send, async_stream(CHUNKS))
    elif path == "/upload":
        await respond(send, async_stream([await upload(receive)]))
    elif path == "/raise":
        raise Deliberate("before the response")
    elif path == "/raise-mid":
        await respond(send, raising_async_stream())
    elif path == "/sleep":
        await asyncio.sleep(seconds(scope["query_string"].decode()))
        await respond(send, async_stream([b"slept"]))
    elif path == "/pid":
        await respond(send, async_stream([str(os.getpid()).encode()]))
    elif path == "/state":
        await respond(send, async_stream([repr(dict(scope.get("state", {}))).encode()]))
    else:
        await respond(send, async_stream([b"no such page"]), 404)


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            scope["state"]["started"] = "yes"
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


async def routes(scope, receive, send):
    """With a lifespan branch."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await http(scope, receive, send)


async def websocket(scope, receive, send):
    """Echoes until the client goes."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": f"echo: {message['text']}"})


application = AsgiMiddleware(routes)


async def without_lifespan(scope, receive, send):
    """Knows http alone and returns silently from everything else."""
    if scope["type"] == "http":
        await http(scope, receive, send)


async def raises_on_unknown(scope, receive, send):
    """The form that the ASGI specification shows: raises on a type it does not know."""
    if scope["type"] != "http":
        raise NotImplementedError(f"scope type {scope['type']}")
    await http(scope, receive, send)


async def echo(scope, receive, send):
    """Starts its response first, then sends back each chunk of the body as it arrives."""
    assert scope["type"] == "http"
    await respond(send, body_of(receive))


async def failing_startup(scope, receive, send):
    """Its lifespan startup fails."""
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


class Background:
    """A coroutine started in lifespan counts while the application serves."""

    def __init__(self) -> None:
        self.count = 0

    async def tick(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0.005)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await respond(send, async_stream([str(self.count).encode()]))
            return
        await receive()
        task = asyncio.create_task(self.tick())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        task.cancel()
        print(f"background ended at {self.count}", flush=True)
        await send({"type": "lifespan.shutdown.complete"})


background = Background()
