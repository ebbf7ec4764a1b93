"""Applications that hang in every way: the path says how. They say so in a file before they begin."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_lock = threading.Lock()
_lock.acquire()  # for ever
_STARTED = "HANGS_STARTED"


def note(kind: str) -> None:
    with Path(os.environ[_STARTED]).open("a") as started:
        started.write(kind + "\n")


def hang(kind: str) -> None:
    """Never return."""
    note(kind)
    _KINDS[kind]()


def loop_in_python() -> None:
    """Busy: the other threads of the process get the GIL only when they ask for it."""
    while True:
        pass


def wait_in_a_loop() -> None:
    """As a loop, and cheap: nearly all of its time it sleeps."""
    while True:
        time.sleep(0.005)


def wait_for_lock() -> None:
    _lock.acquire()


def wait_in_c(library: ctypes.CDLL) -> None:
    """Lock a mutex twice: no signal ends that, as it would a sleep."""
    mutex = ctypes.create_string_buffer(256)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def wait_without_the_gil() -> None:
    wait_in_c(ctypes.CDLL(None))


def wait_with_the_gil() -> None:
    wait_in_c(ctypes.PyDLL(None))


_KINDS = {
    "loop": loop_in_python,
    "sleeps": wait_in_a_loop,
    "lock": wait_for_lock,
    "c": wait_without_the_gil,
    "gil": wait_with_the_gil,
}


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    kind = environ["PATH_INFO"].strip("/")
    if kind in _KINDS:
        hang(kind)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]


async def wait_for_nothing() -> None:
    """Not even for its cancellation."""
    note("await")
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()


async def hang_in_a_task() -> None:
    note("task")
    wait_in_a_loop()


async def live(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    kind = scope["path"].strip("/")
    if kind in _KINDS:
        hang(kind)
    if kind == "await":
        await wait_for_nothing()
    if kind == "task":  # as a framework's middleware begins one for the endpoint
        await asyncio.create_task(hang_in_a_task())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
