"""What a hostile soak asks besides: applications that do what none should, and many do.

/fork          a child returns from the call as well
/thread?NAME   leaves a thread, no daemon, that writes the file NAME.done when it is through
/exit          raises SystemExit
/cancel        cancels every task of the loop (asgi)
/cookies       headers that can be gone through once: two cookies (asgi)
/silent        a stream that sends one block, and then waits for its client's end (asgi) or is long (WSGI)
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import soaked

THREAD_S = 0.3
COOKIES = [(b"set-cookie", b"sid=1"), (b"set-cookie", b"theme=2")]


def leave_thread(name: str) -> None:
    def work() -> None:
        time.sleep(THREAD_S)
        Path(f"{name}.done").touch()

    threading.Thread(target=work).start()


def answer(path: str, query: str) -> bytes:
    if path == "/fork":
        child = os.fork()
        if child:  # a zombie would be the application's fault, and is not what is tried
            threading.Thread(target=os.waitpid, args=(child, 0), daemon=True).start()
    elif path == "/thread":
        leave_thread(query)
    elif path == "/exit":
        raise SystemExit(5)
    return str(os.getpid()).encode()


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/silent":
        environ["PATH_INFO"] = "/large"
    elif path in {"/fork", "/thread", "/exit"}:
        body = answer(path, environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Length", str(len(body))), ("X-Worker", str(os.getpid()))])
        return [body]
    return soaked.wsgi(environ, start_response)


async def asgi(scope, receive, send):
    path = scope.get("path") if scope["type"] == "http" else None
    if path not in {"/fork", "/thread", "/exit", "/cancel", "/cookies", "/silent"}:
        await soaked.asgi(scope, receive, send)
        return
    if path == "/cancel":
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)
    body = answer(path, scope["query_string"].decode())
    headers = (pair for pair in [*soaked.head(), *(COOKIES if path == "/cookies" else [])])
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/silent":
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.body", "body": body})
