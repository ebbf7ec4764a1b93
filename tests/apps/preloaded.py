"""Writes down who imported it; says who serves, of which code, and what its fork hooks saw.

PRELOADED_LOG names the file. A sibling file ``code`` (in the working directory) is the "code".
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import threading
import time
from pathlib import Path

_LOG = Path(os.environ["PRELOADED_LOG"])


def note(what: str) -> None:
    with _LOG.open("a", encoding="utf-8") as file:
        file.write(f"{what} {os.getpid()}\n")


note("import")
IMPORTED_BY = os.getpid()
CODE = Path("code").read_text("utf-8") if Path("code").exists() else ""
if CODE == "broken":
    raise RuntimeError("this code is broken")
if CODE == "hangs":
    time.sleep(60)
RANDOM = random.Random()
os.register_at_fork(after_in_child=lambda: note("forked"))

if os.environ.get("PRELOADED_LEFTOVERS"):
    threading.Thread(target=time.sleep, args=(3600,), name="poller", daemon=True).start()
    LISTENER = socket.create_server(("127.0.0.1", 0))
    CONNECTION = socket.create_connection(LISTENER.getsockname())
    ACCEPTED = LISTENER.accept()
    LISTENER.close()


def die_once(name: str) -> None:
    """The first time that anybody comes here, it kills itself."""
    with contextlib.suppress(FileExistsError):
        (_LOG.parent / name).touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get("PRELOADED_DIES") == "before":  # in the process between the template and the worker
    os.register_at_fork(before=lambda: die_once("before"))
if os.environ.get("PRELOADED_DIES") == "after":  # the same, when the worker exists and nobody knows of it
    os.register_at_fork(after_in_parent=lambda: die_once("after"))


if os.environ.get("PRELOADED_DIES") == "worker":  # newborn: its template has not opened the gate
    os.register_at_fork(after_in_child=lambda: die_once("worker"))

if os.environ.get("PRELOADED_RULES"):  # over children and signals, as a library may
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    body = f"{CODE} {IMPORTED_BY} {os.getpid()} {os.getppid()} {random.random()}"
    return [body.encode()]
