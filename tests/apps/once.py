"""Runs POSTs, and writes down each one's number durably before it answers with it.

A line for each in ``runs-PID`` of the working directory: one write at the end of the file, so that it
is whole and outlives a kill of the process. Some take a while, so that a
worker is busy when others are free.
"""

from __future__ import annotations

import asyncio
import os
import time

_files: dict[int, int] = {}


def run(number: bytes) -> float:
    """Write it down; return how long it takes, in seconds."""
    pid = os.getpid()
    if pid not in _files:
        _files[pid] = os.open(f"runs-{pid}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(_files[pid], number + b"\n")
    if not number.isdigit():
        return 0.0  # nobody sent it: the verdict will say so
    if int(number) % 199 == 0:
        return 0.05
    return 0.005 if int(number) % 61 == 0 else 0.0


def wsgi(environ, start_response):
    number = environ["wsgi.input"].read()
    takes_s = run(number)
    if takes_s:
        time.sleep(takes_s)
    start_response("200 OK", [("Content-Length", str(len(number)))])
    return [number]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    number, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return  # half a number is none
        number += message.get("body", b"")
        more = message.get("more_body", False)
    takes_s = run(number)
    if takes_s:
        await asyncio.sleep(takes_s)
    headers = [(b"content-length", b"%d" % len(number))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": number})
