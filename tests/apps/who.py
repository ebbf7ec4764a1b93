"""Who the client is, as the application is told, in JSON; over a WebSocket too."""

from __future__ import annotations

import json


def wsgi(environ, start_response):
    seen = {
        "client": environ["REMOTE_ADDR"],
        "scheme": environ["wsgi.url_scheme"],
        "host": environ.get("HTTP_HOST", ""),
        "root": environ["SCRIPT_NAME"],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    seen = {
        "client": scope["client"][0] if scope["client"] else "",
        "scheme": scope["scheme"],
        "host": dict(scope["headers"]).get(b"host", b"").decode(),
        "root": scope["root_path"],
    }
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": json.dumps(seen)})
        await receive()
        return
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})
