"""Slow and silent clients, for every worker class.

A limit here is short where its client is meant to meet it, and as by default for everybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.engine import WORKER_CLASSES, Engine, Truncated
from tests.support.engine_apps import application, departure

HEAD = {"header_timeout_s": 1.0}
IDLE = {"keepalive_timeout_s": 0.3}
BODY = {"body_timeout_s": 0.3}
RESPONSE = {"response_timeout_s": 0.5}


@pytest.fixture(params=WORKER_CLASSES)
def worker_class(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def serving(worker_class: str, limits: dict[str, float]) -> Engine:
    return Engine(application(worker_class), worker_class, timeouts=limits)


def test_a_head_that_does_not_end_gets_408(worker_class: str) -> None:
    with serving(worker_class, HEAD) as engine, engine.sent(b"GET / HTTP/1.1\r\nHost:") as client:
        assert client.response().status == 408
        assert client.at_end()


def test_bytes_in_time_do_not_prolong_a_head(worker_class: str) -> None:
    """Slowloris: the limit runs from the head's first byte."""
    with serving(worker_class, HEAD) as engine, engine.sent(b"GET / HTTP/1.1\r\n") as client:
        client.sock.settimeout(0.05)
        seen = b""
        for _ in range(200):
            try:
                seen = client.sock.recv(100)
                break
            except TimeoutError:
                client.send(b"A: b\r\n")
        assert seen.startswith(b"HTTP/1.1 408 ")


def test_a_silent_connection_is_closed_without_a_word(worker_class: str) -> None:
    with serving(worker_class, HEAD) as engine, engine.connect() as client:
        assert client.at_end()


def test_an_idle_connection_is_closed_without_a_word(worker_class: str) -> None:
    with serving(worker_class, IDLE) as engine, engine.connect() as client:
        assert client.get("/").status == 200
        assert client.at_end()


def test_a_body_that_does_not_come_ends_the_request(worker_class: str) -> None:
    with serving(worker_class, BODY) as engine, engine.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        assert client.response().status == 408
        assert client.at_end()


class Source:
    """A response without end, which counts what was asked of it and notes when it was closed."""

    block = b"x" * 65536

    def __init__(self) -> None:
        self.blocks = 0
        self.closed = 0

    def wsgi(self, environ, start_response):
        start_response("200 OK", [])
        return self

    def __iter__(self):
        return self

    def __next__(self) -> bytes:
        self.blocks += 1
        return self.block

    def close(self) -> None:
        self.closed += 1

    async def asgi(self, scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200})
        gone = asyncio.ensure_future(departure(receive))
        try:
            while not gone.done():
                await send({"type": "http.response.body", "body": next(self), "more_body": True})
        finally:
            self.close()


def test_a_reader_that_stops_costs_bounded_memory_and_is_dropped(worker_class: str) -> None:
    source = Source()
    endless = source.asgi if worker_class == "asgi" else source.wsgi
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        Engine(endless, worker_class, timeouts=RESPONSE) as engine,
        engine.connect(receive_buffer=4096) as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        from tests.support.wait import until

        until(lambda: source.closed, "the response to be given up")
        assert source.closed == 1
        # What the kernel's two buffers take (about 4 MiB), and no more.
        assert source.blocks < 200
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000
        with engine.connect() as other:
            other.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert other.head()[0] == 200


def test_a_slow_reader_is_not_dropped(worker_class: str) -> None:
    """It takes longer than the response timeout in all, but something all the time."""
    size = 3_000_000
    with (
        serving(worker_class, {"response_timeout_s": 3.0}) as engine,
        engine.connect(receive_buffer=4096) as client,
    ):
        started_at = time.monotonic()
        client.send(b"GET /length?%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
        status, headers = client.head()
        assert (status, headers["content-length"]) == (200, str(size))
        left = size - len(client.buffer)
        while left > size / 2 and time.monotonic() < started_at + 4:
            left -= len(client.sock.recv(10_000))
            threading.Event().wait(0.01)
        while left:
            left -= len(client.sock.recv(20000))
        assert left == 0


def test_a_response_that_fits_the_buffers_does_not_hold_the_worker(worker_class: str) -> None:
    """A reader that never reads, and another that is served at once."""
    with (
        Engine(application(worker_class), worker_class) as engine,
        engine.connect(receive_buffer=4096) as lazy,
        engine.connect() as other,
    ):
        lazy.send(b"GET /length?200000 HTTP/1.1\r\nHost: x\r\n\r\n")
        lazy.read_until(b"\r\n\r\n")
        assert other.get("/").body == b"hello"


def test_time_the_loop_was_held_up_is_not_held_against_clients() -> None:
    """The head came in time; that it was read late is the application's doing."""
    held, go = threading.Event(), threading.Event()

    def hold(environ, start_response):
        if environ["PATH_INFO"] == "/hold":
            held.set()
            go.wait(20)
        start_response("200 OK", [])
        return [b"done"]

    with (
        Engine(hold, "sync", timeouts={"header_timeout_s": 1.0}) as engine,
        engine.connect() as first,
        engine.connect() as second,
    ):
        assert second.get("/").status == 200
        second.send(b"GET /late HTTP/1.1\r\nHost: x\r\nA:")
        first.send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.wait(20)
        second.send(b" b\r\n\r\n")
        assert not threading.Event().wait(2.0)
        go.set()
        assert first.response().status == 200
        assert second.response().status == 200


@contextlib.contextmanager
def kept_busy(engine: Engine, count: int) -> Iterator[None]:
    """Clients that have the loop in a call of 0.15 s nearly all the time: each sweep comes late."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            client, _ = engine.served("/slow")
            with client, contextlib.suppress(OSError, Truncated):  # one that pauses is idle for too long
                while not over.is_set():
                    assert client.get("/slow").status == 200

    clients = [threading.Thread(target=ask) for _ in range(count)]
    for each in clients:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in clients:
            each.join()


def test_silent_clients_of_a_busy_sync_worker_are_told_in_time() -> None:
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            threading.Event().wait(0.15)
        start_response("200 OK", [])
        return [b"done"]

    with Engine(application, "sync", timeouts={"header_timeout_s": 1.0, **BODY, **IDLE}) as engine:
        idle, response = engine.served()
        assert response.status == 200
        half_a_body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc"
        with (
            idle,
            kept_busy(engine, 3),
            engine.sent(b"GET / HTTP/1.1\r\nHost:") as head,
            engine.sent(half_a_body) as body,
        ):
            assert head.response().status == 408
            assert body.response().status == 408
            assert idle.at_end()


def test_requests_of_a_busy_asgi_worker_are_over_in_time() -> None:
    async def application(scope, receive, send):
        if scope["path"] == "/slow":
            threading.Event().wait(0.15)  # it has the loop
        else:
            await asyncio.get_running_loop().create_future()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"done"})

    with (
        Engine(application, "asgi", timeouts={"request_timeout_s": 0.5}) as engine,
        engine.connect() as client,
        kept_busy(engine, 1),
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 504


def test_408_says_nothing_of_the_request_before() -> None:
    """A HEAD before it must not take its body away, nor lend it a line in the access log."""
    with (
        Engine(application("sync"), timeouts={"header_timeout_s": 1.0}, access_log=True) as engine,
        engine.connect() as client,
    ):
        client.send(b"HEAD /before HTTP/1.1\r\nHost: x\r\n\r\n")
        client.response(head_only=True)
        client.send(b"GET /part")
        response = client.response()
        assert (response.status, response.body) == (408, b"408 Request Timeout\n")
        engine.call(engine.server.accounts.flush)
        assert '"-" 408' in engine.access_path.read_text("utf-8")
