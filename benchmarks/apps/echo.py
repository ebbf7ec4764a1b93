"""A JSON document of about 2 KiB is read and answered with one made from it, in both interfaces."""

from __future__ import annotations

import json
from typing import Any

TYPE = "application/json"


def answer(document: dict[str, Any]) -> bytes:
    total = sum(line["quantity"] * line["cents"] for line in document["lines"])
    return json.dumps({"order": document["order"], "lines": len(document["lines"]), "cents": total}).encode()


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = answer(json.loads(environ["wsgi.input"].read(length)))
    start_response("200 OK", [("Content-Type", TYPE), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    data, more = b"", True
    while more:
        message = await receive()
        data += message.get("body", b"")
        more = message.get("more_body", False)
    body = answer(json.loads(data))
    headers = [(b"content-type", TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
