"""Request bodies of a worker together: memory, then disk, then 503; and all of it is given back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from gwctl.config.model.settings import Limits
from gwctl.ipc.scoreboard import REFUSED
from gwctl.workers.exchange.body_budget import BodiesFull, BodyBudget
from tests.support.engine import Client, Engine
from tests.support.engine_apps import application, whole_body
from tests.support.wait import until

POST = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
WSGI = ("sync", "threads")


def budget(engine: Engine) -> tuple[int, int]:
    """What is left of both."""

    def left() -> tuple[int, int]:
        one = engine.server.body_budget
        return one.disk_left, one.memory_left

    disk, memory = engine.call(left)
    return memory, disk


@pytest.mark.parametrize("worker_class", WSGI)
def test_bodies_that_find_no_room_in_memory_go_to_disk(worker_class: str) -> None:
    """Ten stalled bodies; complete, they are all that was sent, and nothing stays taken."""
    limits = {"bodies_memory_bytes_max": 100_000, "bodies_disk_bytes_max": 10_000_000}
    with Engine(application(worker_class), worker_class, limits=limits) as engine:
        bodies = [bytes([n]) * 60_000 for n in range(10)]
        clients = [engine.connect() for _ in bodies]
        for client, body in zip(clients, bodies, strict=True):
            client.send(POST % len(body) + body[:50_000])
        until(
            lambda: sum(budget(engine)) == 10_100_000 - 500_000,
            lambda: f"what came to be kept: {budget(engine)}",
        )
        memory, disk = budget(engine)
        assert memory >= 0
        assert disk <= 10_000_000 - 400_000
        with engine.connect() as other:
            assert other.get().body == b"hello"
        for client, body in zip(clients, bodies, strict=True):
            client.send(body[50_000:])
            assert client.response().body == body
        clients[0].send(POST % 60_000 + b"x" * 30_000)
        clients[1].send(CHUNKED + b"ffff\r\n" + b"x" * 30_000)
        until(lambda: budget(engine) != (100_000, 10_000_000), "two more to be kept")
        for client in clients:
            client.sock.close()
        until(
            lambda: budget(engine) == (100_000, 10_000_000), lambda: f"all to be given back: {budget(engine)}"
        )


@pytest.mark.parametrize("worker_class", WSGI)
def test_bodies_that_find_no_room_at_all_are_told_503(worker_class: str) -> None:
    """At once where the length is known, else when it has become too much; others are served."""
    limits = {"bodies_memory_bytes_max": 1_000, "bodies_disk_bytes_max": 100_000}
    with Engine(application(worker_class), worker_class, limits=limits, retry_after_s=7) as engine:
        with engine.connect() as slow:
            slow.send(POST % 90_000 + b"x" * 80_000)
            until(lambda: budget(engine)[1] == 20_000, "it to be kept")
            for start in (POST % 50_000, CHUNKED + b"ffff\r\n" + b"x" * 60_000):
                with engine.connect() as other:
                    other.send(start)
                    answer = other.response()
                    assert (answer.status, answer.headers["retry-after"]) == (503, "7")
            with engine.connect() as other:
                assert other.get().body == b"hello"
                other.send(POST % 900 + b"x" * 900)
                assert other.response().body == b"x" * 900
            slow.send(b"x" * 10_000)
            assert slow.response().body == b"x" * 90_000
        until(lambda: budget(engine) == (1_000, 100_000), "all to be given back")
        assert engine.words(REFUSED) == 2


class Gate:
    """Reads no body before it is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = 0

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.inside += 1
        if environ["REQUEST_METHOD"] == "POST":
            assert self.open.wait(30)
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        self.inside += 1
        while scope["method"] == "POST" and not self.open.is_set():  # noqa: ASYNC110 - of no loop
            await asyncio.sleep(0.005)
        body = b"" if scope["path"] == "/unread" else await whole_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_bodies_that_are_read_during_the_call_wait_on_the_wire(worker_class: str) -> None:
    """What has come and was not received counts. With no room, new ones are told 503, and GETs served."""
    gate = Gate()
    limits = {"bodies_memory_bytes_max": 200_000}
    settings: dict[str, Any] = {} if worker_class == "asgi" else {"body_buffering": False, "threads": 9}
    app = gate.asgi if worker_class == "asgi" else gate.wsgi
    with Engine(app, worker_class, limits=limits, **settings) as engine, contextlib.ExitStack() as stack:
        clients: list[Client] = []
        senders = []
        for n in range(8):
            client = stack.enter_context(engine.connect())
            client.send(POST % 400_000)
            until(lambda n=n: gate.inside == n + 1, "it to begin")
            clients.append(client)
        for client in clients:
            senders.append(threading.Thread(target=client.send, args=(b"x" * 400_000,)))
            senders[-1].start()
        until(lambda: budget(engine)[0] <= 0, "no room to be left")
        assert budget(engine)[0] > -8 * 262_144, "each is at most one read beyond"
        with engine.connect() as other:
            other.send(POST % 5)
            assert other.response().status == 503
        with engine.connect() as other:
            assert other.get().status == 200
        gate.open.set()
        for client, sender in zip(clients, senders, strict=True):
            assert client.response().body == b"x" * 400_000
            sender.join()
        until(lambda: budget(engine)[0] == 200_000, lambda: f"all to be given back: {budget(engine)}")


def test_what_an_asgi_application_never_receives_is_given_back() -> None:
    gate = Gate()
    gate.open.set()
    with Engine(gate.asgi, "asgi") as engine:
        whole = budget(engine)
        for path in (b"/unread", b"/"):
            with engine.connect() as client:
                client.send(
                    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n" % path + b"x" * 8000
                )
                if path == b"/unread":
                    assert client.response().status == 200
        until(lambda: budget(engine) == whole, "all to be given back")


def test_what_a_file_holds_is_given_back_once() -> None:
    one = BodyBudget(Limits(bodies_memory_bytes_max=10, bodies_disk_bytes_max=10))
    assert one.take_memory(8)
    assert not one.take_memory(3)
    file = object()
    one.hold(file, 8, 0)
    one.release(object())
    assert not one.take_memory(3)
    one.release(file)
    one.release(file)
    assert one.memory_left == 10
    one.take_disk(10)
    with pytest.raises(BodiesFull):
        one.take_disk(1)
