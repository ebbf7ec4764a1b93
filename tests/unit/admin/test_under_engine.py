"""Over real sockets, under gwctl's own engine: what it makes of scopes, bodies, HEAD and streams is what is expected."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gwctl.admin.app import Admin
from tests.support.admin_client import living
from tests.support.admin_master import FakeMaster, eventually, happening
from tests.support.engine import Client, Engine
from tests.support.wait import DEADLINE_S

HOST = b"Host: 127.0.0.1\r\n"


class Served:
    """An admin application on an engine, with a fake master, all in the engine's loop."""

    def __init__(self, engine: Engine, master: FakeMaster) -> None:
        self.engine = engine
        self.master = master

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.engine.loop).result(DEADLINE_S)


@contextmanager
def served(*, unix: bool = False, **settings: Any) -> Iterator[Served]:
    master = FakeMaster(history=[happening(1)])
    admin = Admin(master.socket(), "secret", "shop")
    with Engine(admin, "asgi", unix=unix, timeouts={"request_timeout_s": 0.0}, **settings) as engine:
        it = Served(engine, master)
        it.run(master.begin())
        life = living(admin)
        it.run(life.__aenter__())
        try:
            yield it
        finally:
            it.run(life.__aexit__(None, None, None))
            it.run(master.end())


@pytest.mark.parametrize("unix", [False, True])
def test_reading_is_open_here_and_changes_need_the_token(unix: bool) -> None:
    with served(unix=unix) as it, it.engine.connect() as client:
        client.send(b"GET /api/status HTTP/1.1\r\n" + HOST + b"\r\n")
        assert json.loads(client.response().body)["name"] == "shop"
        client.send(b"GET /api/status HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert client.response().status == (200 if unix else 403)
        for token, status in (("", 401), ("Authorization: Bearer secret\r\n", 200)):
            head = f"POST /api/reload HTTP/1.1\r\nHost: x\r\n{token}Content-Type: application/json\r\n"
            client.send(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
            assert client.response().status == status


def test_a_head_and_an_unread_body_leave_the_connection_in_order() -> None:
    with served() as it, it.engine.connect() as client:
        client.send(b"HEAD /livez HTTP/1.1\r\n" + HOST + b"\r\n")
        head = client.response(head_only=True)
        assert (head.status, head.headers["content-length"]) == (200, "3")
        body = b"x" * 3000
        client.send(b"POST /api/nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 3000\r\n\r\n" + body)
        assert client.response().status == 404
        client.send(b"GET /readyz/%77eb HTTP/1.1\r\n" + HOST + b"\r\n")
        assert client.response().body == b"ok\n"


def begin_stream(client: Client) -> None:
    client.send(b"GET /events?last=1&with=status HTTP/1.1\r\n" + HOST + b"\r\n")
    status, fields = client.head()
    assert (status, fields["content-type"]) == (200, "text/event-stream")
    client.read_until(b"event: record\nid: 1\n")


def test_a_stream_comes_as_it_happens_and_ends_with_its_client() -> None:
    with served() as it:
        admin = it.engine.application.call
        with it.engine.connect() as client:
            begin_stream(client)
            it.run(it.master.asked("events", 2))
            it.run(after(it.master, 2))
            client.read_until(b"event: record\nid: 2\n")
        it.run(eventually(lambda: not admin._feed._streams, "the stream to end"))
        assert it.engine.loop_errors == []


async def after(master: FakeMaster, number: int) -> None:
    await eventually(lambda: master.followers, "it to be followed")
    master.happens(happening(number))


def test_a_stream_ends_with_its_master() -> None:
    with served() as it, it.engine.connect() as client:
        begin_stream(client)
        it.run(it.master.end())
        client.read_until(b"event: end\n")
        client.read_until(b"0\r\n\r\n")


def test_a_client_that_reads_nothing_is_not_waited_for() -> None:
    """Records that are bigger than all buffers together: the others have theirs, and memory holds what is kept."""
    with served() as it, it.engine.connect() as slow, it.engine.connect() as quick:
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        begin_stream(slow)
        begin_stream(quick)

        async def flood() -> None:
            await eventually(lambda: it.master.followers, "it to be followed")
            for number in range(2, 302):
                it.master.happens(happening(number, text="x" * 50_000))

        it.run(flood())
        quick.read_until(b"id: 301\n")
        slow.read_until(b"event: lost\n")
        slow.read_until(b"id: 301\n")


def test_a_forwarded_field_makes_nobody_local() -> None:
    """What a page in a browser can send of its own: the engine believes none of it as it is set up by default."""
    with served() as it, it.engine.connect() as client:
        for field in (
            "X-Forwarded-Host: 127.0.0.1",
            "Forwarded: host=127.0.0.1",
            "X-Forwarded-For: 127.0.0.1",
        ):
            client.send(f"GET /api/status HTTP/1.1\r\nHost: evil.example\r\n{field}\r\n\r\n".encode())
            assert client.response().status == 403
