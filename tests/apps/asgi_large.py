"""Large bodies both ways, for measuring what they cost the worker.

/upload      counts the body, pausing at each message    /collect   holds all of it
/download?N  N blocks of 64 KiB                           /at-once?N the same as one block
/file?PATH   http.response.pathsend                       /progress  blocks handed to send() so far
WebSocket    /count: the size of each message comes back; /deaf: nothing is received until /release
"""

from __future__ import annotations

import asyncio

BLOCK = b"d" * 65536
progress = 0
released = asyncio.Event()


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "websocket":
        await websocket(scope["path"], receive, send)
        return
    path, query = scope["path"], scope["query_string"]
    if path in {"/upload", "/collect"}:
        size = await upload(receive, collect=path == "/collect")
        await respond(send, str(size).encode())
    elif path == "/download":
        await download(send, int(query))
    elif path == "/at-once":
        await respond(send, BLOCK * int(query))
    elif path == "/file":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.pathsend", "path": query.decode()})
    else:
        if path == "/release":
            released.set()
        await respond(send, str(progress).encode())


async def respond(send, body):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


async def upload(receive, *, collect):
    size = 0
    kept = []
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)  # not in http.disconnect
        size += len(message.get("body", b""))
        if collect:
            kept.append(message["body"])
        else:
            await asyncio.sleep(0.0005)
    return size


async def download(send, blocks):
    global progress  # noqa: PLW0603 - one worker, one counter
    await send({"type": "http.response.start", "status": 200})
    for number in range(blocks):
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        progress = number + 1
    await send({"type": "http.response.body"})


async def websocket(path, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    if path == "/deaf":
        await released.wait()
        return
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(len(message["bytes"]))})
