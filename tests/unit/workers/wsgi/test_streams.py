"""body_buffering = false: wsgi.input reads from the connection, under both WSGI runners."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import pytest

from tests.support.engine import PARSERS, Client, Engine, Truncated
from tests.support.raw import reset_at_close
from tests.support.wait import until

POST = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
LINES = b"one\ntwo\nthree\nfour"


@pytest.fixture
def stream(serve: Callable[..., Engine]) -> Callable[..., Engine]:
    return lambda application, **settings: serve(application, body_buffering=False, **settings)


def echo(environ, start_response):
    body = b"" if environ["PATH_INFO"] == "/unread" else environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def in_chunks(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_the_application_runs_before_the_body_is_there(stream) -> None:
    """The proof that it streams: each part is asked for only after the one before was answered."""

    def application(environ, start_response):
        write = start_response("200 OK", [])
        while part := environ["wsgi.input"].read(4):
            write(part.upper())
        return []

    with stream(application).connect() as client:
        client.send(POST % (b"/", 12))
        client.sock.sendall(b"")
        for part in (b"part", b"next", b"last"):
            client.send(part)
            if part == b"part":
                assert client.head()[0] == 200
            assert client.chunk() == part.upper()
        assert client.chunk() == b""
        client.send(POST % (b"/", 4) + b"more")
        assert client.response().body == b"MORE"


@pytest.mark.parametrize("whole", [True, False], ids=["at-once", "bytewise"])
@pytest.mark.parametrize("chunked", [True, False])
def test_it_reads_like_a_file_and_ends(stream, chunked: bool, whole: bool) -> None:
    read: list[Any] = []

    def application(environ, start_response):
        body = environ["wsgi.input"]
        read.extend([body.read(3), body.readline(), body.readline(2), body.read(0), body.readlines(1)])
        read.extend([list(body), body.read(), body.read(5), body.readline()])
        read.append(environ.get("CONTENT_LENGTH"))
        start_response("200 OK", [])
        return []

    with stream(application).connect() as client:
        data = CHUNKED % b"/" + in_chunks(LINES, 5) if chunked else POST % (b"/", len(LINES)) + LINES
        for at in range(0, len(data), len(data) if whole else 1):
            client.send(data[at:] if whole else data[at : at + 1])
        assert client.response().status == 200
        assert client.get().status == 200
    length = None if chunked else str(len(LINES))
    lines = [b"three\n", b"four"]
    assert read[:10] == [b"one", b"\n", b"tw", b"", [b"o\n"], lines, b"", b"", b"", length]


def test_the_validator_finds_nothing(stream) -> None:
    def application(environ, start_response):
        body = b"".join(iter(lambda: environ["wsgi.input"].read(7), b""))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    engine = stream(validator(application))
    with engine.connect() as client:
        for data in (POST % (b"/", 18) + LINES, CHUNKED % b"/" + in_chunks(LINES, 2)):
            client.send(data)
            assert client.response().body == LINES
    assert "AssertionError" not in engine.log


@pytest.mark.parametrize("parser", PARSERS)
def test_pipelined_requests_after_a_body(stream, parser: str) -> None:
    bodies = [b"%d" % number * (number % 50) for number in range(200)]
    data = b"".join(
        CHUNKED % b"/" + in_chunks(body, 7) if number % 2 else POST % (b"/", len(body)) + body
        for number, body in enumerate(bodies)
    )
    with stream(echo, parser=parser).connect() as client:
        client.send(data)
        assert [client.response().body for _ in bodies] == bodies


@pytest.mark.parametrize("size", [10, 60_000, 300_000])
def test_what_is_not_read_is_skipped_or_ends_the_connection(stream, size: int) -> None:
    """Never is it taken for the next request."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    body = (smuggled * (size // len(smuggled) + 1))[:size]
    engine = stream(echo, access_log=True)
    with engine.connect() as client:
        client.send(POST % (b"/unread", size))
        assert client.response().status == 200
        try:
            client.send(body)
            if size < 65536:
                assert client.get("/after").status == 200
            else:
                with contextlib.suppress(OSError):  # all may have been skipped by then: so it is kept
                    client.sock.shutdown(socket.SHUT_WR)
                assert client.rest() == b""
        except (ConnectionResetError, BrokenPipeError):
            assert size > 65536
    with engine.connect() as client:
        assert client.get("/other").status == 200
    engine.call(engine.server.accounts.flush)
    assert "smuggled" not in engine.access_path.read_text("utf-8")


def test_the_client_is_asked_for_its_body_at_the_first_read(stream) -> None:
    reading = threading.Event()

    def application(environ, start_response):
        assert reading.wait(20)
        return echo(environ, start_response)

    with stream(application).connect() as client:
        client.send(CONTINUE % (b"/", 3))
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        client.sock.settimeout(20)
        reading.set()
        assert client.head()[0] == 100
        client.send(b"abc")
        assert client.response().body == b"abc"


@pytest.mark.parametrize("usual", [False, True])
def test_a_body_that_nobody_reads_is_not_asked_for(stream, usual: bool) -> None:
    """It may come or not, so the connection ends; the response says so, also one whose head is known."""
    engine = stream(echo)
    if usual:
        assert engine.ask("/unread").status == 200
    with engine.connect() as client:
        client.send(CONTINUE % (b"/unread", 3))
        response = client.response()
        assert (response.status, response.headers["connection"]) == (200, "close")
        assert client.at_end()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (CHUNKED % b"/" + b"3\r\nabc\r\n-1\r\n", 400),
        (CHUNKED % b"/" + b"4\r\nabcdef\r\n", 400),
        (CHUNKED % b"/" + in_chunks(b"x" * 2000, 100), 413),
        (POST % (b"/", 10) + b"abc", 408),
    ],
)
def test_a_body_that_goes_wrong_gets_its_status(stream, request_: bytes, status: int) -> None:
    """Whether or not the application was called before it did; no traceback, and the worker goes on."""
    called = threading.Event()

    def application(environ, start_response):
        called.set()
        return echo(environ, start_response)

    timeouts = {"body_timeout_s": 0.3} if status == 408 else {}
    engine = stream(application, limits={"body_bytes_max": 1000}, timeouts=timeouts)
    for cut in (len(request_), request_.index(b"\r\n\r\n") + 4):
        with engine.connect() as client:
            called.clear()
            client.send(request_[:cut])
            if cut < len(request_):
                assert called.wait(20)
                client.send(request_[cut:])
            response = client.response()
            assert (response.status, response.headers["connection"]) == (status, "close")
            assert client.at_end()
    with engine.connect() as client:
        assert client.get().status == 200
    assert "Traceback" not in engine.log


def test_a_half_closed_client_with_half_a_body_gets_400(stream) -> None:
    with stream(echo).connect() as client:
        client.send(POST % (b"/", 10) + b"abc")
        client.finish_sending()
        assert client.response().status == 400
        assert client.at_end()


def test_an_application_may_catch_it_and_answer_itself(stream) -> None:
    def application(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            start_response("400 Mine", [])
            return [str(error).encode()]
        raise AssertionError("the body was complete")

    engine = stream(application, timeouts={"body_timeout_s": 0.2})
    with engine.connect() as client:
        client.send(POST % (b"/", 10) + b"abc")
        response = client.response()
        assert (response.status, response.body) == (400, b"the client sent nothing of its body for too long")
        assert client.at_end()


def test_a_body_that_goes_wrong_in_mid_response_aborts(stream) -> None:
    def application(environ, start_response):
        start_response("200 OK", [])(b"begun")
        environ["wsgi.input"].read()
        return [b"never"]

    engine = stream(application)
    with engine.connect() as client:
        client.send(CHUNKED % b"/" + b"3\r\nabc\r\n")
        assert client.head()[0] == 200
        client.send(b"nonsense\r\n")
        with pytest.raises((ConnectionResetError, Truncated)):
            client.chunk()
            client.chunk()
    assert "Traceback" not in engine.log


def test_a_client_that_goes_away_is_noticed_by_the_read(stream) -> None:
    begun = threading.Event()
    raised: list[OSError] = []

    def application(environ, start_response):
        begun.set()
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            raised.append(error)
            raise

    engine = stream(application, threads=1)
    with engine.connect() as client:
        client.send(POST % (b"/", 1_000_000) + b"abc")
        until(begun.is_set, "the call")  # a reset takes what was not read along
        reset_at_close(client.sock)
    until(lambda: raised, "the error")
    assert "Traceback" not in engine.log
    until(lambda: engine.call(lambda: engine.server.connections) == 0, "the connection to be gone")


def test_read_after_the_request_is_refused(stream) -> None:
    kept: list[Any] = []

    def application(environ, start_response):
        kept.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return []

    with stream(application).connect() as client:
        client.send(POST % (b"/", 3) + b"abc")
        assert client.response().status == 200
        assert client.get().status == 200
    with pytest.raises(ValueError, match="closed"):
        kept[0].read()


def test_a_request_that_waits_for_the_last_response_streams_too(stream) -> None:
    """Its body arrives while the loop still has the response before to send."""

    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["REQUEST_METHOD"] == "GET":
            return [b"x" * 250_000]
        return [environ["wsgi.input"].read()]

    engine = stream(application)
    with engine.connect(receive_buffer=4096) as client:
        until(lambda: engine.server.connections, "the connection")
        for connection in engine.call(lambda: list(engine.server._connections)):
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + CHUNKED % b"/" + in_chunks(LINES, 3))
        client.send(POST % (b"/", 100_000) + b"y" * 50_000)
        assert len(client.response().body) == 250_000
        assert client.response().body == LINES
        client.send(b"y" * 50_000)
        assert client.response().body == b"y" * 100_000


def upload(client: Client, size: int) -> None:
    block = b"z" * (1 << 20)
    client.send(POST % (b"/", size))
    for _ in range(size // len(block)):
        client.send(block)


def test_a_large_body_costs_no_memory_and_no_file(
    stream, large_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    size = large_bytes
    go = threading.Event()

    def application(environ, start_response):
        assert go.wait(20)
        count = 0
        while data := environ["wsgi.input"].read(65536):
            count += len(data)
        start_response("200 OK", [])
        return [b"%d" % count]

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with stream(application).connect() as client:
        sender = threading.Thread(target=upload, args=(client, size))
        sender.start()
        sender.join(0.3)  # an application that is in no hurry: what it does not take stays in the kernel
        assert sender.is_alive()
        go.set()
        assert client.response().body == b"%d" % size
        sender.join()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16_000


def test_other_clients_are_served_while_a_thread_waits_for_a_body() -> None:
    with (
        Engine(echo, "threads", threads=2, body_buffering=False) as engine,
        engine.connect() as slow,
        engine.connect() as other,
    ):
        slow.send(POST % (b"/", 6) + b"abc")
        assert other.get("/unread").status == 200
        slow.send(b"def")
        assert slow.response().body == b"abcdef"
