"""Playing a case: send its bytes, read what comes, compare with what must come.

In process the parts of a case are given to the connection itself, each in a turn of the loop of
its own, so that a cut is where it is meant to be; the responses come through a real socket. Over
the network (`play_over`) the bytes leave in one piece.

`Mismatch` says in one line what is different.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from gwctl.workers.http1.protocol import Connection
from tests.apps import seen as applications
from tests.conformance.case import LIMITS, Case, Seen
from tests.support.engine import Client, Engine
from tests.support.wait import DEADLINE_S

PROBE = b"GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"
PROBED = Seen(path="/probe")


class Mismatch(AssertionError):
    """The server did something else than the table says."""


@contextmanager
def feeder_for(kind: str, parser: str, **settings: Any) -> Iterator[Feeder]:
    """``kind``: a worker class, and after a plus sign the interface if it is not the class's own."""
    worker_class, _, interface = kind.partition("+")
    interface = interface or ("asgi" if worker_class == "asgi" else "wsgi")
    application = applications.asgi if interface == "asgi" else applications.wsgi
    settings = {"parser": parser, "limits": LIMITS, "threads": 1, **settings}
    with Engine(application, worker_class, interface=interface, **settings) as engine:
        yield Feeder(engine)
        # What the judge finds sound and a parser does not would be told there.
        assert " error " not in engine.log, engine.log


# ---- sending


def whole(raw: bytes) -> list[bytes]:
    return [raw]


def byte_by_byte(raw: bytes) -> list[bytes]:
    return [raw[at : at + 1] for at in range(len(raw))]


class Feeder:
    """Gives the parts of a case to connections of ``engine``, one by one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._accepted: SimpleQueue[Connection] = SimpleQueue()
        acceptor = engine.server._acceptor
        self._first_protocol = acceptor._first_protocol
        acceptor._first_protocol = self._note

    def _note(self, connection: Connection) -> Any:
        self._accepted.put(connection)
        return self._first_protocol(connection)

    def feed(self, parts: Iterable[bytes]) -> Client:
        """Give ``parts`` to a new connection; return its client."""
        client = self.engine.connect()
        connection = self._accepted.get(timeout=DEADLINE_S)
        asyncio.run_coroutine_threadsafe(self._feed(connection, parts), self.engine.loop).result(DEADLINE_S)
        return client

    @staticmethod
    async def _feed(connection: Connection, parts: Iterable[bytes]) -> None:
        while connection.transport is None:  # noqa: ASYNC110 - the next turn or the one after
            await asyncio.sleep(0)
        for part in parts:
            if connection.lost or connection.transport.is_closing():
                break
            connection.data_received(part)
            await asyncio.sleep(0)


def play_in(feeder: Feeder, case: Case, cut: Callable[[bytes], list[bytes]] = whole) -> None:
    """Play ``case`` in process, and look into the application's log."""
    applications.LOG.clear()
    with feeder.feed(cut(case.raw)) as client:
        check_responses(client, case)
    logged = list(applications.LOG)
    expected = [*case.seen, *([] if case.closes else [PROBED])]
    if len(logged) != len(expected):
        raise Mismatch(f"the application saw {len(logged)} requests instead of {len(expected)}: {logged}")


def play_over(address: tuple[str, int], case: Case) -> None:
    with Client(socket.create_connection(address, 30)) as client:
        client.send(case.raw)
        check_responses(client, case)


# ---- comparing


def check_responses(client: Client, case: Case) -> None:
    """Read all responses up to the end of the connection, or to one more request and its answer."""
    for number, expected in enumerate(case.seen):
        headers = _served(client, expected)
        last = number == len(case.seen) - 1 and not case.status
        if last and (headers.get("connection") == "close") != case.closes:
            raise Mismatch(f"Connection: {headers.get('connection')}")
    if case.status:
        _refused(client, case.status)
    elif case.closes:
        _end(client)
    else:
        client.send(PROBE)
        _served(client, PROBED)


def _head(client: Client) -> tuple[int, dict[str, str]]:
    status, headers = client.head()
    while status == 100:
        status, headers = client.head()
    return status, headers


def _served(client: Client, expected: Seen) -> dict[str, str]:
    status, headers = _head(client)
    if status != 200:
        raise Mismatch(f"{status} instead of being served")
    if expected.method == "HEAD":
        return headers
    seen: dict[str, Any] = json.loads(client.read_exactly(int(headers["content-length"])))
    body = seen.pop("body").encode("latin-1")
    got = Seen(seen["method"], seen["path"], seen["query"], {}, body)
    if got != Seen(expected.method, expected.path, expected.query, {}, expected.body):
        raise Mismatch(f"the application saw {got}, not {expected}")
    for name, value in expected.headers.items():
        if seen["headers"].get(name) != value:
            raise Mismatch(f"{name} is {seen['headers'].get(name)!r}, not {value!r}")
    return headers


def _refused(client: Client, expected: int) -> None:
    status, headers = _head(client)
    if status != expected:
        raise Mismatch(f"{status} instead of {expected}")
    if headers.get("connection") != "close":
        raise Mismatch(f"a refusal with Connection: {headers.get('connection')}")
    client.read_exactly(int(headers["content-length"]))
    _end(client)


def _end(client: Client) -> None:
    rest = client.rest()
    if rest:
        raise Mismatch(f"more follows: {rest[:200]!r}")
