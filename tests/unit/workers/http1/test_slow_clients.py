"""Slowloris three ways: a limit ends it, and meanwhile others are served. Pipelines lose nothing.

Each worker here has one process, sync one thread at that: whoever could hold it would be seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import resource
import socket
import threading
from typing import Any

import pytest

from gwctl.workers.http1 import call_response
from tests.support.compiled import pure_only
from tests.support.engine import PARSERS, WORKER_CLASSES, Client, Engine
from tests.support.engine_apps import application
from tests.support.raw import reset_at_close
from tests.support.wait import until

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = {"body_timeout_s": 0.4}
RESPONSE = {"response_timeout_s": 0.4}
WSGI = ("sync", "threads")
MANY = 30


@pytest.fixture(params=WORKER_CLASSES)
def worker_class(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def small_send_buffers(engine: Engine, count: int) -> None:
    """Have the kernel hold little, so that what a client does not take is the server's to keep."""
    accepted(engine, count)
    for connection in engine.call(lambda: list(engine.server._connections)):
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def accepted(engine: Engine, count: int) -> None:
    until(lambda: engine.server._acceptor.accepted >= count, "the connections")


def drip(clients: list[Client], data: bytes, until_answered: int) -> list[bytes]:
    """Send a byte to each in turn, over and over, until as many have been answered."""
    answers: dict[int, bytes] = {}
    at = 0
    for client in clients:
        client.sock.settimeout(0.001)
    while len(answers) < until_answered:
        for number, client in enumerate(clients):
            if number in answers:
                continue
            try:
                answers[number] = client.sock.recv(100)
            except TimeoutError:  # it is not at its end: what is sent is not answered by a reset
                with contextlib.suppress(OSError):
                    client.sock.send(data[at % len(data) :][:1])
            except OSError as error:
                answers[number] = repr(error).encode()
        at += 1
    return list(answers.values())


def test_slow_heads(worker_class: str) -> None:
    """Bytes that go on coming do not prolong it: the limit is for the whole head."""
    with Engine(application(worker_class), worker_class, timeouts={"header_timeout_s": 1.0}) as engine:
        slow = [engine.sent(b"GET / HTTP/1.1\r\nHost: x\r\n") for _ in range(MANY)]
        assert engine.ask().body == b"hello"
        answers = drip(slow, b"A: b\r\n", MANY)
        assert engine.ask().body == b"hello"
        assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
        for client in slow:
            client.sock.close()


@pytest.mark.parametrize("worker_class", WSGI)
def test_silent_bodies(worker_class: str) -> None:
    """A body that is received first holds no worker; its silence ends it."""
    with Engine(application(worker_class), worker_class, timeouts=BODY, threads=1) as engine:
        slow = [engine.connect() for _ in range(MANY)]
        for client in slow:
            client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        accepted(engine, MANY)
        with engine.connect() as other:
            assert other.get().body == b"hello"
        for client in slow:
            assert client.response().status == 408
            client.sock.close()


@pytest.mark.parametrize("worker_class", WSGI)
def test_dripping_bodies_hold_no_worker(worker_class: str) -> None:
    """A client that sends a byte now and then may go on; it occupies a buffer and nothing else."""
    with Engine(application(worker_class), worker_class, threads=1) as engine:
        slow = [engine.connect() for _ in range(MANY)]
        for client in slow:
            client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        with engine.connect() as other:
            for digit in b"0123456789":
                for client in slow:
                    client.send(bytes([digit]))
                assert other.get().body == b"hello"
        assert {client.response().body for client in slow} == {b"0123456789"}
        for client in slow:
            client.sock.close()


@pytest.mark.parametrize("worker_class", WSGI)
def test_streamed_bodies_that_stall(worker_class: str) -> None:
    """With body_buffering = false a silent client holds its worker, but only for body_timeout_s."""
    with (
        Engine(
            application(worker_class), worker_class, timeouts=BODY, threads=1, body_buffering=False
        ) as engine,
        engine.connect() as slow,
        engine.connect() as other,
    ):
        slow.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        until(lambda: engine.server.active_requests, "the request to start")
        assert other.get().body == b"hello"
        assert slow.response().status == 408


def test_readers_that_stop_before_a_response_that_fits(worker_class: str) -> None:
    """What fits the buffer is the loop's: none of them holds the worker, and each is dropped in time."""
    with Engine(application(worker_class), worker_class, timeouts=RESPONSE, threads=1) as engine:
        lazy = [engine.connect(receive_buffer=4096) for _ in range(MANY)]
        small_send_buffers(engine, MANY)
        for client in lazy:
            client.send(GET % b"/length?200000")
        with engine.connect() as other:
            for _ in range(3):
                assert other.get().body == b"hello"
        until(lambda: engine.server.connections == 0, "the readers to be dropped")
        line = "GET /length?…: the client took no byte for 0.4 s; connection aborted"
        assert engine.log.count(line) == 1, "one line for all of them"
        for client in lazy:
            with pytest.raises((ConnectionResetError, AssertionError)):
                client.response()
            client.sock.close()


@pytest.mark.parametrize("worker_class", WSGI)
def test_a_reader_that_stops_in_a_large_response(worker_class: str) -> None:
    """Beyond the buffer the call itself waits, under threads one of them, until response_timeout_s."""
    with (
        Engine(
            application(worker_class), worker_class, timeouts={"response_timeout_s": 3.0}, threads=2
        ) as engine,
        engine.connect(receive_buffer=4096) as lazy,
        engine.connect() as other,
    ):
        lazy.send(GET % b"/length?20000000")
        assert lazy.sock.recv(10)
        assert other.get().body == b"hello"
        if worker_class == "threads":
            assert "took no byte" not in engine.log, "the other was not served meanwhile"
        engine.wait_for_log("GET /length?…: the client took no byte for 3 s; connection aborted")
        with pytest.raises(ConnectionResetError):
            lazy.rest()
    assert "Traceback" not in engine.log


class Generator:
    """A response of ``size`` bytes in blocks of 64 KiB; counts what was asked of it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked = 0
        self.closed = 0

    def __call__(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", str(self.size))])
        self.left = self.size
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        block = b"%c" % (self.left >> 16 & 255) * min(self.left, 65536)
        self.left -= len(block)
        self.asked += len(block)
        return block

    def close(self) -> None:
        self.closed += 1


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("worker_class", WSGI)
def test_a_large_response_to_a_reader_that_pauses_costs_bounded_memory(
    worker_class: str, large_bytes: int
) -> None:
    """The application is held up; what waits is one buffer. Then all of it arrives, unharmed."""
    source = Generator(large_bytes)
    with (
        Engine(source, worker_class) as engine,
        engine.connect(receive_buffer=4096) as client,
    ):
        before = resident()
        client.send(GET % b"/")
        client.read_until(b"\r\n\r\n")
        seen = -1
        while seen != source.asked:  # until the application has been held up for a while
            seen = source.asked
            threading.Event().wait(0.2)
        assert source.asked < 16 << 20, "the kernel's buffers and 256 KiB of ours"
        digest = hashlib.sha256(client.buffer)
        left = large_bytes - len(client.buffer)
        client.buffer = b""
        while left:
            data = client.sock.recv(1 << 20)
            digest.update(data)
            left -= len(data)
        assert resident() - before < 16_000
        until(lambda: source.closed, "close()")
    expected = hashlib.sha256()
    for block in Generator(large_bytes)({}, lambda *_: None):
        expected.update(block)
    assert digest.hexdigest() == expected.hexdigest()
    assert source.closed == 1


@pure_only
@pytest.mark.parametrize("worker_class", WSGI)
def test_the_test_above_sees_a_server_that_keeps_everything(
    worker_class: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken build: no bound on what is kept for a client that does not read."""
    monkeypatch.setattr(call_response, "PENDING_BYTES_MAX", 1 << 40)
    source = Generator(20 << 20)
    with Engine(source, worker_class) as engine, engine.connect(receive_buffer=4096) as client:
        client.send(GET % b"/")
        until(lambda: source.asked == source.size, "the application to be asked for all of it")


@pytest.mark.parametrize("worker_class", WSGI)
def test_a_client_that_is_gone_is_noticed_at_the_next_write(worker_class: str) -> None:
    """A line at level debug: neither error nor traceback, even if the application wraps what it was told."""
    gone = threading.Event()
    closed: list[str] = []

    def wrapping(environ, start_response):
        write = start_response("200 OK", [])
        try:
            for _ in range(1000):
                write(b"x" * 65536)
                gone.wait(20)
        except OSError as error:
            raise RuntimeError("cannot write") from error

    class Stream:
        def __iter__(self):
            for _ in range(1000):
                yield b"x" * 65536
                gone.wait(20)

        def close(self) -> None:
            closed.append("closed")

    def yielding(environ, start_response):
        start_response("200 OK", [])
        return Stream()

    for app in (wrapping, yielding):
        gone.clear()
        with Engine(app, worker_class) as engine:
            with engine.connect() as client:
                client.send(GET % b"/")
                assert client.head()[0] == 200
                reset_at_close(client.sock)
            gone.set()
            engine.wait_for_log("GET /: the client went away before it had the response")
            assert "Traceback" not in engine.log
            assert " error " not in engine.log
    assert closed == ["closed"]


@pytest.mark.parametrize("worker_class", WSGI)
def test_half_a_response_is_never_followed_by_another(worker_class: str) -> None:
    """Although the application made nothing of the error that told it."""

    def careless(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "20000000")])
        for _ in range(2):
            try:
                write(b"x" * 10_000_000)
            except OSError:
                continue
        return []

    with (
        Engine(careless, worker_class, timeouts=RESPONSE) as engine,
        engine.connect(receive_buffer=4096) as client,
    ):
        client.send((GET % b"/") * 2)
        engine.wait_for_log("took no byte for 0.4 s")
        with pytest.raises(ConnectionResetError):
            client.rest()
        until(lambda: engine.server.connections == 0, "the connection to be gone")
        assert engine.log.count("took no byte") == 1


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(("count", "padding"), [(1000, 0), (600, 200)], ids=["many", "over-64-KiB"])
def test_pipelined_requests_in_one_send_are_all_answered_in_order(
    worker_class: str, parser: str, count: int, padding: int
) -> None:
    """The C parser by itself drops what is pipelined beyond 64 KiB (remaining_truncated)."""
    requests = [
        b"GET /path/%d HTTP/1.1\r\nHost: x\r\nX-Padding: %b\r\n\r\n" % (number, b"p" * padding)
        if number % 3
        else b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n/%05d" % number
        for number in range(count)
    ]
    data = b"".join(requests)
    assert len(data) > 65536 or not padding
    with Engine(application(worker_class), worker_class, parser=parser) as engine, engine.connect() as client:
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        for number in range(count):
            body = client.response().body
            assert (b"/path/%d" % number in body) if number % 3 else body == b"/%05d" % number
        sender.join()
        assert client.get().body == b"hello"


@pytest.mark.skipif("c" not in PARSERS, reason="the C parser is not installed")
@pytest.mark.parametrize("broken", [False, True])
def test_the_parser_by_itself_loses_requests(broken: bool) -> None:
    """The broken build: the parser is fed all at once and keeps of the rest what it does by default."""
    import gunicorn_h1c

    from gwctl.workers.http1.parser import _SKIP_BODY

    count = 600
    data = (b"GET / HTTP/1.1\r\nHost: x\r\nX-Padding: " + b"p" * 200 + b"\r\n\r\n") * count
    served: list[str] = []

    def counting(environ, start_response):
        served.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"hello"]

    with Engine(counting, "sync", parser="c") as engine:
        if broken:
            engine.server.slice_bytes = 1 << 30
            engine.server.new_parser = lambda: gunicorn_h1c.H1CProtocol(on_headers_complete=_SKIP_BODY)
        with engine.connect() as client:
            until(lambda: engine.server.connections, "the connection")
            connection = engine.call(lambda: next(iter(engine.server._connections)))
            until(lambda: connection.transport is not None, "its transport")
            engine.call(lambda: connection.data_received(data))  # in one piece, for sure
            client.finish_sending()
            client.rest()
    assert (len(served) < count) is broken
