"""Bodies and responses that never stand still and never end: cut by their average, in each class."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import pytest

from gwctl.ipc.scoreboard import EVICTED
from gwctl.workers.balancing import eviction
from tests.support.compiled import pure_only
from tests.support.engine import WORKER_CLASSES, Client, Engine
from tests.support.engine_apps import application
from tests.support.tls import Files, client_context
from tests.support.wait import until

POST = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
QUICK: dict[str, Any] = {"timeouts": {"rate_grace_s": 0.4}, "limits": {"body_rate_min_bytes_per_s": 2000}}
STREAMED = ("sync", "threads", "sync+asgi", "threads+asgi")
WAYS = [*((each, True) for each in WORKER_CLASSES), *((each, False) for each in STREAMED)]
"""Class, and `body_buffering`."""


@pytest.fixture
def only_requests_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was answered stays, although idle for longer than it takes to be in the way."""
    monkeypatch.setattr(eviction, "_RANKS", {})


def drip(client: Client, data: bytes, gap_s: float = 0.02) -> bytes:
    """Send a byte now and then until there is an answer, or the end; return it."""
    client.sock.settimeout(gap_s)
    for at in range(len(data)):
        try:
            client.send(data[at : at + 1])
            return client.sock.recv(100)
        except TimeoutError:
            continue
        except OSError:
            return b""
    raise AssertionError("it was never cut")


@pytest.mark.parametrize("before", [0, 50_000], ids=["slow", "quick-at-first"])
@pytest.mark.parametrize(("worker_class", "buffered"), WAYS)
def test_a_body_below_the_least_rate_gets_408(worker_class: str, buffered: bool, before: int) -> None:
    app = application(worker_class)
    with Engine(app, worker_class, body_buffering=buffered, **QUICK) as engine, engine.connect() as slow:
        start = time.monotonic()
        slow.send(POST % 100_000 + b"x" * before)
        assert drip(slow, b"x" * 1000).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - start > 0.3, "not within the grace"
        with engine.connect() as other:
            assert other.get().body == b"hello"


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_over_tls_it_is_the_same(worker_class: str, shop: Files) -> None:
    with Engine(application(worker_class), worker_class, tls=shop.server(), **QUICK) as engine:
        slow = engine.connect()
        slow.sock = client_context().wrap_socket(slow.sock, server_hostname="shop.example")
        slow.send(POST % 100_000)
        assert drip(slow, b"x" * 1000).startswith(b"HTTP/1.1 408 ")
        slow.sock.close()


@pytest.mark.parametrize(("worker_class", "buffered"), WAYS)
def test_a_body_that_is_quick_enough_may_last(worker_class: str, buffered: bool) -> None:
    """For several times the grace."""
    settings: dict[str, Any] = {
        "timeouts": {"rate_grace_s": 0.8},
        "limits": {"body_rate_min_bytes_per_s": 10},
        "body_buffering": buffered,
    }
    with Engine(application(worker_class), worker_class, **settings) as engine, engine.connect() as client:
        client.send(POST % 9000)
        client.sock.settimeout(0.02)
        for _ in range(90):
            client.send(b"x" * 100)
            with contextlib.suppress(TimeoutError):
                client.buffer += client.sock.recv(10_000)
        client.sock.settimeout(20)
        assert client.response().body == b"x" * 9000


def test_an_application_that_does_not_receive_is_not_its_clients_fault() -> None:
    """What the worker does not read, because enough waits, is not held against the client."""
    go_on = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        import asyncio

        while not go_on.is_set():  # noqa: ASYNC110 - of no loop
            await asyncio.sleep(0.01)
        await application("asgi")(scope, receive, send)

    with Engine(app, "asgi", **QUICK) as engine, engine.connect() as client:
        client.send(POST % 400_000)
        sender = threading.Thread(target=client.send, args=(b"x" * 400_000,))
        sender.start()
        until(lambda: engine.server.connections, "it to connect")
        (connection,) = engine.call(engine.server.open_connections)
        until(lambda: connection.read_paused, "reading to stop")
        start = time.monotonic()
        until(lambda: time.monotonic() > start + 1.2, "three windows")
        go_on.set()
        assert len(client.response().body) == 400_000
        sender.join()


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
@pytest.mark.parametrize("path", ["/length?20000000", "/stream"])
def test_a_response_that_is_taken_below_the_least_rate_is_cut(worker_class: str, path: str) -> None:
    """In the loop's hands (a whole response), or while the application makes it."""
    over = threading.Event()
    plain = application(worker_class)

    def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/stream":
            return plain(environ, start_response)
        start_response("200 OK", [])
        return (bytes(65536) for _ in range(10_000))

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/stream":
            await plain(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200})
        for _ in range(10_000):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            if over.is_set():
                return

    settings: dict[str, Any] = {
        "timeouts": {"rate_grace_s": 0.4},
        "limits": {"response_rate_min_bytes_per_s": 50_000_000},
    }
    app = asgi if worker_class == "asgi" else wsgi
    with Engine(app, worker_class, **settings) as engine:
        slow = engine.connect(receive_buffer=4096)
        slow.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        slow.sock.settimeout(0.01)
        while "limits.response_rate_min_bytes_per_s 50000000); connection aborted" not in engine.log:
            with contextlib.suppress(OSError):
                slow.sock.recv(4096)
            over.wait(0.005)
        over.set()
        slow.sock.close()
        until(lambda: not engine.call(lambda: engine.server.connections), "it to be gone")
        with engine.connect() as other:
            assert other.get().body == b"hello"


@pure_only
@pytest.mark.usefixtures("only_requests_make_room")
@pytest.mark.parametrize(
    ("worker_class", "buffered"), [way for way in WAYS if way[0][:4] != "sync" or way[1]]
)
def test_slow_bodies_make_room_for_new_clients(
    worker_class: str, buffered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within their grace, when there is no room; a body that comes quickly enough stays."""
    monkeypatch.setattr(eviction, "WAIT_MIN_S", 0.3)
    limits = {"body_rate_min_bytes_per_s": 1000}
    options: dict[str, Any] = {"connections_max": 3, "limits": limits, "body_buffering": buffered}
    with Engine(application(worker_class), worker_class, **options) as engine:
        slow = [engine.connect() for _ in range(2)]
        for client in slow:
            client.send(POST % 1000 + b"x")
        quick = engine.connect()
        quick.send(POST % 1_000_000)
        room_made = threading.Event()

        def upload() -> None:
            """For as long as the others take to be seen as slow, which a busy machine draws out."""
            left = 1_000_000
            while left and not room_made.wait(0.005):
                quick.send(b"x" * min(left, 500))
                left -= min(left, 500)
            quick.send(b"x" * left)

        thread = threading.Thread(target=upload)
        thread.start()
        with engine.connect() as one, engine.connect() as two:
            assert one.get().body == two.get().body == b"hello"
        assert {client.response().status for client in slow} == {408}
        room_made.set()
        thread.join()
        assert len(quick.response().body) == 1_000_000
        assert engine.words(EVICTED) == 2
        for client in (*slow, quick):
            client.sock.close()


@pure_only
@pytest.mark.usefixtures("only_requests_make_room")
@pytest.mark.parametrize("start", [b"1", b"3;a=", b"0\r\nA: b\r\n"], ids=["size", "extension", "trailer"])
def test_slow_chunks_make_room_too(worker_class: str, start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in the framing the client stands still."""
    monkeypatch.setattr(eviction, "WAIT_MIN_S", 0.3)
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Engine(application(worker_class), worker_class, connections_max=2) as engine:
        slow = [engine.connect() for _ in range(2)]
        for client in slow:
            client.send(head + start)
        with engine.connect() as one, engine.connect() as two:
            assert one.get().body == two.get().body == b"hello"
        for client in slow:
            assert client.response().status == 408
            client.sock.close()


@pure_only
@pytest.mark.usefixtures("only_requests_make_room")
@pytest.mark.parametrize("worker_class", ["sync", "sync+asgi", "asgi"])
def test_readers_that_take_nothing_make_room_last(worker_class: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that is taken stays, whatever the need. Elsewhere a thread waits, as `client_wait` lets it."""
    monkeypatch.setattr(eviction, "READER_WAIT_MIN_S", 0.3)
    monkeypatch.setattr(eviction, "WAIT_MIN_S", 0.2)
    with Engine(application(worker_class), worker_class, connections_max=3) as engine:
        readers = [engine.connect() for _ in range(3)]
        over = threading.Event()

        def take() -> None:
            while not over.wait(0.005):
                readers[-1].sock.recv(65536)

        for reader in readers:
            reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.send(b"GET /length?20000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        thread = threading.Thread(target=take)
        thread.start()
        try:
            with engine.connect() as one, engine.connect() as two:
                assert one.get().body == two.get().body == b"hello"
            for reader in readers[:2]:
                with pytest.raises(ConnectionResetError):
                    while reader.sock.recv(65536):
                        pass
            assert engine.words(EVICTED) == 2
        finally:
            over.set()
            thread.join()
            for reader in readers:
                reader.sock.close()
