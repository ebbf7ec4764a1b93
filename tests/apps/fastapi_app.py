"""FastAPI, with lifespan state, a WebSocket and a streaming response."""

import asyncio
from contextlib import asynccontextmanager

from common import HEADER, HEADER_VALUE, Deliberate, Digest, async_stream, raising_async_stream
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse


@asynccontextmanager
async def lifespan(application):
    yield {"greeting": "from lifespan"}


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def add_header(request: Request, call_next):
    response = await call_next(request)
    response.headers[HEADER] = HEADER_VALUE
    return response


@app.get("/", response_class=PlainTextResponse)
async def hello():
    return "hello"


@app.get("/stream")
async def stream():
    return StreamingResponse(async_stream(), media_type="text/plain")


@app.post("/upload")
async def upload(request: Request):
    digest = Digest()
    async for data in request.stream():
        digest.add(data)
    return digest.summary


@app.get("/raise")
def raise_before():
    raise Deliberate("before the response")


@app.get("/raise-mid")
async def raise_mid():
    return StreamingResponse(raising_async_stream(), media_type="text/plain")


@app.get("/sleep", response_class=PlainTextResponse)
async def sleep(s: float):
    await asyncio.sleep(s)
    return "slept"


@app.get("/state", response_class=PlainTextResponse)
async def state(request: Request):
    return request.state.greeting


@app.websocket("/ws")
async def echo(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(f"echo: {await websocket.receive_text()}")
    except WebSocketDisconnect:
        return
