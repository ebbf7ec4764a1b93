"""An application that forks, for tests of what becomes of its children.

The first part of the path says how the child comes back to where it was forked (see `come_back`), or stays:

/stay      a child of multiprocessing that lives for a minute
/bare      the same, forked by C code: no hook of Python's knows of it

The answer is the worker's pid and, after a blank, the exit status of the child, or its pid if it stays. With
$FORKS_AT=import or lifespan one is forked there; it comes back, or stays, as $FORKS says.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

JOBS = ThreadPoolExecutor(1)
STAYS_S = 60
FUTURES = []


def come_back(how):
    """In the child: return, or do what ``how`` says."""
    if how == "raise":
        raise ValueError("of a child")
    if how == "exit":
        sys.exit(3)
    return "child"


def fork(how):
    """Return the exit status of the child; in the child, come back."""
    child = os.fork()
    if child == 0:
        return come_back(how)
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def stay(how):
    if how == "stay":
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(STAYS_S,), daemon=True)
        child.start()
        return str(child.pid)
    libc = ctypes.PyDLL(None)
    child = libc.fork()
    if child == 0:
        libc.sleep(STAYS_S)
        os._exit(0)
    if "FORKED" in os.environ:
        Path(os.environ["FORKED"]).write_text(str(child))
    return str(child)


def said(how):
    return stay(how) if how in {"stay", "bare"} else fork(how)


AT = os.environ.get("FORKS_AT")
if AT == "import":
    SAID = said(os.environ["FORKS"])


def wsgi(environ, start_response):
    how = environ["PATH_INFO"].strip("/")
    if not how:
        said_now = SAID if AT == "import" else "none"
    elif how == "executor":
        said_now = JOBS.submit(fork, "return").result()
    elif how == "generator":
        start_response("200 OK", [])
        return generator()
    elif how == "write":
        write = start_response("200 OK", [])
        said_now = fork("return")
        write(f"{os.getpid()} {said_now}".encode())
        return []
    elif how == "close":
        start_response("200 OK", [])
        return Closes()
    else:
        said_now = said(how)
    body = f"{os.getpid()} {said_now}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def generator():
    yield f"{os.getpid()} ".encode()
    yield fork("return").encode()


class Closes:
    def __init__(self):
        self.pid = os.getpid()

    def __iter__(self):
        return iter([f"{self.pid} 0".encode()])

    def close(self):
        fork("return")


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if scope["type"] == "websocket":
        await talk(receive, send)
        return
    loop = asyncio.get_running_loop()
    how = scope["path"].strip("/")
    if not how:
        said_now = SAID if AT else "none"
    elif how == "executor":
        said_now = await loop.run_in_executor(None, fork, "return")
    elif how == "task":
        said_now = await asyncio.create_task(forks_in_task())
    elif how == "callback":
        future = loop.create_future()
        loop.call_soon(lambda: future.set_result(fork("return")))
        said_now = await future
    elif how == "await":
        FUTURES.append(loop.create_future())
        said_now = fork("return")
        if said_now == "child":
            await FUTURES[-1]  # for ever
    elif how == "generator":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = f"{os.getpid()} ".encode()
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": fork("return").encode()})
        return
    else:
        said_now = said(how)
    body = f"{os.getpid()} {said_now}".encode()
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


async def forks_in_task():
    said_now = fork("return")
    await asyncio.sleep(0)
    return said_now


async def lifespan(receive, send):
    await receive()
    if AT == "lifespan":
        globals()["SAID"] = said(os.environ["FORKS"])
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def talk(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": f"{os.getpid()} {said(message['text'])}"})
