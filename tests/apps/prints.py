"""Prints, by all the ways there are: Python's, a C library's, a child process's, and without end.

The query says what: ``/text?tea``. PRINTS_IMPORT is printed while it is imported; "fail": then that fails.
"""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
import traceback
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

IMPORT = os.environ.get("PRINTS_IMPORT", "")
FLOOD_LINE = "x" * 63

print("imported", IMPORT)
if IMPORT == "fail":
    print("about to fail", end="")
    raise RuntimeError("as told")


def print_or_end(kind: str, text: str) -> None:
    """Print so much that it waits, or nothing more."""
    match kind:
        case "/die":
            print(text, end="", flush=True)
            os._exit(7)
        case "/flood":
            for number in range(int(text)):
                print(number, FLOOD_LINE)
        case "/flags":
            harm_flags()


def act(kind: str, text: str) -> None:
    print_or_end(kind, text)
    match kind:
        case "/text":
            print(text)
        case "/err":
            print(text, file=sys.stderr)
        case "/open":
            print(text, end="", flush=True)
        case "/bytes":
            os.write(1, bytes.fromhex(text))
        case "/c":
            ctypes.CDLL(None).puts(text.encode())
        case "/child":
            subprocess.run(["/bin/sh", "-c", f"echo {text}; echo {text} >&2"], check=True)
        case "/stays":
            subprocess.Popen(["/bin/sh", "-c", f"read line < {text}; echo late $line"])
        case "/traceback":
            try:
                raise KeyError(text)
            except KeyError:
                traceback.print_exc()
        case "/waits":
            print("waiting", flush=True)
            with open(text) as fifo:  # noqa: PTH123 - a path that came as a text
                print("waited", fifo.read(), end="", flush=True)


def harm_flags() -> None:
    """Set flags of all pipes that this process has, as an application may do with what it inherits."""
    for fd in range(1, 100):
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.set_blocking(fd, True)


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    act(environ["PATH_INFO"], unquote(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def live(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    act(scope["path"], unquote(scope["query_string"].decode()))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
