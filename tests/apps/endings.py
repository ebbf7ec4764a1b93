"""An application that leaves work behind when it answers: for tests of what the end of a worker runs.

What runs to its end is appended to the file $ENDINGS, a word a line; with $PRELOADED a template says "template". Each of the paths may be asked for at once,
as in /thread+executor?SECONDS:

thread      a thread that is no daemon         executor    a job of an executor of the application's
task        an asyncio task                    default     a job of the loop's default executor
endless     a task, or a thread, without end   generator   an asynchronous generator that is not closed
child       a daemonic child process, its pid in the file
processes   a job of an executor with processes; without SECONDS, one that is idle
threading   an exit function of threading hangs
hang        the exit function hangs            refuse      the exit function raises, then sys.exit()s
sleep       the call itself takes so long
"""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

JOBS = ThreadPoolExecutor(2)
IMPORTED_BY = os.getpid()
KEPT: list[object] = []
AT_EXIT: list[str] = []


def say(word):
    with Path(os.environ["ENDINGS"]).open("a") as file:
        print(word, file=file)


def work(name, seconds):
    time.sleep(seconds)
    say(name)


def forever():
    while True:
        time.sleep(0.01)


@atexit.register
def at_exit():
    if "PRELOADED" in os.environ and os.getpid() == IMPORTED_BY:
        say("template")
        return
    if "hang" in AT_EXIT:
        time.sleep(60)
    say("atexit")
    if "refuse" in AT_EXIT:
        sys.exit("of an exit function")


def old_thread():
    """Go on until the main thread looks after threads, as a library's does that watches its end."""
    while not ENDS.wait(0.01):
        pass
    work("old thread", float(os.environ["SERVICE_S"]))


ENDS = threading.Event()
if "SERVICE_S" in os.environ:
    threading._register_atexit(ENDS.set)
    threading.Thread(target=old_thread).start()


def leave(name, seconds):
    if name == "thread":
        threading.Thread(target=work, args=(name, seconds)).start()
    elif name == "executor":
        JOBS.submit(work, name, seconds)
    elif name == "endless":
        threading.Thread(target=forever, name="endless").start()
    elif name == "child":
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
        child.start()
        say(f"child {child.pid}")
    elif name == "threading":
        threading._register_atexit(time.sleep, 60)
    elif name == "processes":
        processes = ProcessPoolExecutor(1, multiprocessing.get_context("spawn" if seconds else "fork"))
        KEPT.append(processes)
        KEPT.append(processes.submit(work, "process", seconds) if seconds else processes.submit(int).result())
    elif name == "sleep":
        try:
            say("sleeping")  # whoever has read it may interrupt
            time.sleep(seconds)
        finally:
            say("interrupted")
    elif name:
        AT_EXIT.append(name)


def wsgi(environ, start_response):
    for name in environ["PATH_INFO"].strip("/").split("+"):
        leave(name, float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


async def task(name, seconds):
    try:
        await asyncio.sleep(seconds)
        say(name)
    finally:
        say(f"{name} finally")


async def generator():
    try:
        while True:
            yield 1
    finally:
        say("generator closed")


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    loop = asyncio.get_running_loop()
    seconds = float(scope["query_string"] or 0)
    for name in scope["path"].strip("/").split("+"):
        if name == "task":
            KEPT.append(loop.create_task(task(name, seconds)))
        elif name == "endless":
            KEPT.append(loop.create_task(task(name, 3600), name="endless"))
        elif name == "default":
            loop.run_in_executor(None, work, name, seconds)
        elif name == "generator":
            KEPT.append(left := generator())
            await anext(left)
        else:
            leave(name, seconds)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def lifespan(receive, send):
    await receive()
    KEPT.append(asyncio.get_running_loop().create_task(task("service", 3600)))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    say("lifespan")
    await send({"type": "lifespan.shutdown.complete"})
