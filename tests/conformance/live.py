"""The table against a real server: a master, one worker, the network."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.conformance.case import LIMITS
from tests.conformance.play import PROBED, play_over
from tests.conformance.table import CASES
from tests.support.engine import Client
from tests.support.server import GwctlServer


@contextmanager
def server_for(worker_class: str, parser: str) -> Iterator[tuple[str, int]]:
    """A master with one worker that serves tests/apps/seen.py; yields its address."""
    settings: dict[str, Any] = {"threads": 1} if worker_class == "threads" else {}
    with GwctlServer(
        "seen:asgi" if worker_class == "asgi" else "seen:wsgi",
        worker=worker_class,
        limits=LIMITS,
        environ={"GWCTL_PARSER": parser},
        **settings,
    ) as server:
        url = urlsplit(server.url)
        yield str(url.hostname), int(url.port or 0)


def play_all(address: tuple[str, int]) -> list[str]:
    """Play the table; return what went wrong, the application's log included."""
    wrong = []
    expected = []
    for name, case in CASES.items():
        expected += [seen.path for seen in case.seen]
        if not case.closes:
            expected.append(PROBED.path)
        try:
            play_over(address, case)
        except (AssertionError, OSError) as error:
            wrong.append(f"{name}: {error}")
    with Client(socket.create_connection(address)) as client:
        seen = [request["path"] for request in json.loads(client.get("/-log").body)]
    if seen != expected:
        wrong.append(f"the application saw {len(seen)} requests instead of {len(expected)}")
    return wrong
