"""Starlette, with lifespan state and a WebSocket."""

import asyncio
from contextlib import asynccontextmanager

from common import AsgiMiddleware, Deliberate, Digest, async_stream, raising_async_stream, seconds
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute


async def hello(request):
    return PlainTextResponse("hello")


async def stream(request):
    return StreamingResponse(async_stream(), media_type="text/plain")


async def upload(request):
    digest = Digest()
    async for data in request.stream():
        digest.add(data)
    return JSONResponse(digest.summary)


async def raise_before(request):
    raise Deliberate("before the response")


async def raise_mid(request):
    return StreamingResponse(raising_async_stream(), media_type="text/plain")


async def sleep(request):
    await asyncio.sleep(seconds(request.url.query))
    return PlainTextResponse("slept")


async def state(request):
    return PlainTextResponse(request.state.greeting)


async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"echo: {text}")


@asynccontextmanager
async def lifespan(application):
    yield {"greeting": "from lifespan"}


app = Starlette(
    routes=[
        Route("/", hello),
        Route("/stream", stream),
        Route("/upload", upload, methods=["POST"]),
        Route("/raise", raise_before),
        Route("/raise-mid", raise_mid),
        Route("/sleep", sleep),
        Route("/state", state),
        WebSocketRoute("/ws", echo),
    ],
    middleware=[Middleware(AsgiMiddleware)],
    lifespan=lifespan,
)
