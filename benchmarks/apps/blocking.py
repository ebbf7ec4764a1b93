"""A WSGI application whose calls wait: for `benchmarks.threads`.

``/sleep/MS`` sleeps, ``/cpu/MS`` computes for so much processor time of its thread, ``/mixed`` sleeps for a
second in one call of a hundred, ``/database`` asks a server behind a Unix socket (`benchmarks.database`), and
each thread has a connection of its own there. Everything else answers at once.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

BODY = b"Hello, world!"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]
LONG_S = 1.0
ONE_OF = 100

_own = threading.local()
_chance = random.Random(1)


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    for _ in itertools.takewhile(lambda _: time.thread_time() < end, itertools.repeat(None)):
        sum(range(1000))


def ask_database() -> None:
    if not hasattr(_own, "connection"):
        _own.connection = socket.socket(socket.AF_UNIX)
        _own.connection.connect(os.environ["BENCH_DATABASE"])
    _own.connection.sendall(b"?")
    _own.connection.recv(1)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    _, what, *rest = environ["PATH_INFO"].split("/")
    seconds = float(rest[0]) / 1000 if rest else 0.0
    if what == "sleep":
        time.sleep(seconds)
    elif what == "cpu":
        compute(seconds)
    elif what == "mixed" and not _chance.randrange(ONE_OF):
        time.sleep(LONG_S)
    elif what == "database":
        ask_database()
    start_response("200 OK", HEADERS)
    return [BODY]
