"""WebSockets: ``/room`` sends what one says to all who are there, any other path echoes."""

from __future__ import annotations

from typing import Any

BODY = b"Hello, world!"
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]
room: dict[Any, None] = {}


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})
        return
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] == "/room":
        await be_in_room(receive, send)
    else:
        await echo(receive, send)


async def echo(receive: Any, send: Any) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def be_in_room(receive: Any, send: Any) -> None:
    room[send] = None
    try:
        while (message := await receive())["type"] == "websocket.receive":
            text = message["text"]
            for other in list(room):
                await other({"type": "websocket.send", "text": text})
    finally:
        del room[send]
