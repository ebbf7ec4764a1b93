"""Quart, with a WebSocket."""

import asyncio

from common import AsgiMiddleware, Deliberate, Digest, async_stream, raising_async_stream, seconds
from quart import Quart, Response, request, websocket

app = Quart(__name__)
app.config["MAX_CONTENT_LENGTH"] = None


@app.get("/")
async def hello():
    return "hello"


@app.get("/stream")
async def stream():
    return Response(async_stream(), mimetype="text/plain")


@app.post("/upload")
async def upload():
    digest = Digest()
    async for data in request.body:
        digest.add(data)
    return digest.summary


@app.get("/raise")
async def raise_before():
    raise Deliberate("before the response")


@app.get("/raise-mid")
async def raise_mid():
    return Response(raising_async_stream(), mimetype="text/plain")


@app.get("/sleep")
async def sleep():
    await asyncio.sleep(seconds(request.query_string.decode()))
    return "slept"


@app.websocket("/ws")
async def echo():
    while True:
        await websocket.send(f"echo: {await websocket.receive()}")


app.asgi_app = AsgiMiddleware(app.asgi_app)
