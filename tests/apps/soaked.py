"""What the soak asks: every response says which process made it.

/              hello
/large         `LARGE_BYTES` in blocks, for clients that read slowly
/post          the length of the body
/hang          never answers: waits in Python
/gil           never answers, nor lets another thread run
/hoard?MIB     keeps so much memory, for ever
ws             echoes
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading

BLOCK = b"x" * 65536
BLOCKS = 32
LARGE_BYTES = len(BLOCK) * BLOCKS
_hoard: list[bytes] = []


def hang() -> None:
    threading.Event().wait()


def hold_the_gil() -> None:
    library = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(256)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def hoard(query: str) -> bytes:
    _hoard.append(os.urandom(1 << 20) * int(query))
    return str(os.getpid()).encode()


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    start = [("Content-Type", "text/plain"), ("X-Worker", str(os.getpid()))]
    body = [b"hello"]
    if path == "/large":
        body = (BLOCK for _ in range(BLOCKS))
    elif path == "/post":
        body = [str(len(environ["wsgi.input"].read())).encode()]
    elif path == "/hang":
        hang()
    elif path == "/gil":
        hold_the_gil()
    elif path == "/hoard":
        body = [hoard(environ["QUERY_STRING"])]
    start_response("200 OK", start)
    return body


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        await http(scope, receive, send)


def head() -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"text/plain"), (b"x-worker", str(os.getpid()).encode())]


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept", "headers": head()[1:]})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def http(scope, receive, send):
    path = scope["path"]
    body, blocks = b"hello", 0
    if path == "/large":
        blocks = BLOCKS
        body = b""
    elif path == "/post":
        length, more = 0, True
        while more:
            message = await receive()
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
        body = str(length).encode()
    elif path == "/hang":
        await asyncio.get_running_loop().create_future()
    elif path == "/gil":
        hold_the_gil()
    elif path == "/hoard":
        body = hoard(scope["query_string"].decode())
    await send({"type": "http.response.start", "status": 200, "headers": head()})
    for _ in range(blocks):
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    await send({"type": "http.response.body", "body": body})
