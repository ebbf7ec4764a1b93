"""What is refused, for every worker class and both parsers: the status, a close, no call of the application."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engine import PARSERS, WORKER_CLASSES, Client, Engine
from tests.support.engine_apps import application

LIMITS = {
    "request_line_bytes_max": 200,
    "header_bytes_max": 300,
    "headers_max": 10,
    "body_bytes_max": 1000,
    "body_memory_bytes": 100,
}


@pytest.fixture(params=[f"{kind}-{parser}" for kind in WORKER_CLASSES for parser in PARSERS])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    worker_class, parser = request.param.split("-")
    with Engine(application(worker_class), worker_class, parser=parser, limits=LIMITS) as engine:
        yield engine


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    with engine.connect() as client:
        yield client


POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"

REFUSED = [
    (400, b"nonsense\r\n\r\n"),
    (400, b"GET /\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    (400, b"GET / HTTP/1.1\nHost: x\n\n"),
    (400, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n"),
    (400, b"GET relative HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET /caf\xe9 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET http://user@x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
    (501, b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n"),
    (505, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
    (505, b"GET / HTTP/1.2\r\nHost: x\r\n\r\n"),
    (400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    (400, POST + b"Content-Length: +3\r\n\r\nabc"),
    (400, POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: gzip\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: rot13\r\n\r\n"),
    (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (417, POST + b"Content-Length: 3\r\nExpect: coffee\r\n\r\n"),
    (413, POST + b"Content-Length: 1001\r\n\r\n"),
    (413, POST + b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n"),
    (413, POST + b"Content-Length: 18446744073709551621\r\n\r\n"),
    (413, POST + b"Content-Length: 18446744073709551616\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n"),
    (413, POST + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"c" * 1001 + b"\r\n"),
    (414, b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    (414, b"GET /" + b"a" * 300),
    (431, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 300 + b"\r\n\r\n"),
    (431, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 310),
    (431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 10 + b"\r\n"),
    (431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 300 + b"\r\n"),
]


@pytest.mark.parametrize(("status", "message"), REFUSED)
def test_refused(client: Client, status: int, message: bytes) -> None:
    client.send(message)
    response = client.response()
    assert response.status == status
    assert response.headers["connection"] == "close"
    assert response.body.startswith(b"%d " % status)
    assert client.at_end()


def test_a_refusal_closes_behind_the_responses_before_it(client: Client) -> None:
    client.send(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"rubbish\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert [client.response().status for _ in range(4)] == [200, 200, 200, 400]
    assert client.at_end()


def test_limits_are_not_tighter_than_they_say(client: Client) -> None:
    line = b"GET /?" + b"a" * (200 - len(b"GET /? HTTP/1.1")) + b" HTTP/1.1\r\n"
    assert len(line) == 202
    field = b"A: " + b"a" * (300 - 5) + b"\r\n"
    client.send(line + b"Host: x\r\n" + field + b"B: b\r\n" * 8 + b"\r\n")
    assert client.response().status == 200
    client.send(POST + b"Content-Length: 1000\r\n\r\n" + b"b" * 1000)
    assert client.response().body == b"b" * 1000


def test_a_client_still_uploading_reads_why_it_was_refused(client: Client) -> None:
    """Closing with unread input would reset the connection, and with it the 413 on its way."""
    client.send(POST + b"Content-Length: 5000000\r\n\r\n")
    for _ in range(80):
        client.send(b"u" * 65536)
    assert client.response().status == 413
    client.finish_sending()
    assert client.at_end()


def test_underscores_spoof_nothing(engine: Engine, client: Client) -> None:
    import json

    shown = json.loads(client.get("/path", "X_Real: spoofed", "X-Real: true", "CONTENT_LENGTH: 5").body)
    if "PATH_INFO" in shown:
        assert shown["HTTP_X_REAL"] == "true"
        assert shown.get("CONTENT_LENGTH", "0") == "0"
        assert "HTTP_CONTENT_LENGTH" not in shown


def test_refusals_are_counted(engine: Engine, client: Client) -> None:
    from gwctl.ipc.scoreboard import REQUESTS

    client.send(b"rubbish\r\n\r\n")
    assert client.response().status == 400
    assert engine.words(REQUESTS) == 1


def test_a_refused_target_is_logged_as_itself() -> None:
    with Engine(application("sync"), access_log=True) as engine, engine.connect() as client:
        client.get("/before")
        client.send(b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n")
        assert client.response().status == 501
        engine.call(engine.server.accounts.flush)
        assert '"CONNECT x:80 HTTP/1.1" 501' in engine.access_path.read_text("utf-8")


WHY = [
    (b"GET / HTTP/1.1\r\n\r\n", "400 to 127.0.0.1: there is no Host"),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "Host is not a name or address with or without a port: 'a b'"),
    (b"\x16\x03\x01\x02\x00", "the client speaks TLS"),
    (b"GET / HTTP/1.1\r\nCookie: secret\0\r\n\r\n", "control characters in the value of Cookie"),
    (b"GET / HTTP/1.1\r\nA : secret\r\n\r\n", "not the name of a field: b'A '"),
    (b"GET /" + b"a" * 300, "the request line is longer than request_line_bytes_max (200)"),
    (POST + b"Content-Length: 1001\r\n\r\n", "a body of 1001 bytes is larger than body_bytes_max (1000)"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", "not a chunk size"),
]


@pytest.mark.parametrize(("message", "why"), WHY)
def test_the_log_says_why_at_level_debug(message: bytes, why: str) -> None:
    """And shows no values of fields, which may be secrets."""
    with Engine(application("sync"), limits=LIMITS) as engine, engine.connect() as client:
        client.send(message)
        client.response()
        engine.wait_for_log(why)
        assert " debug " in engine.log
        assert "secret" not in engine.log
