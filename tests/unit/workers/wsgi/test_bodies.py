"""Bodies and heads of WSGI responses, right and wrong (PEP 3333), under both WSGI runners."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.engine import Engine
from tests.support.wait import until

Application = Callable[..., Any]


class Closing:
    """An iterable that counts its closes."""

    def __init__(self, blocks: Any) -> None:
        self.blocks = blocks
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        for block in self.blocks:
            if isinstance(block, Exception):
                raise block
            yield block

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    "blocks",
    [[], [b"a"], [b"a", b"b"], ["text"], [ValueError("first")], [b"a", ValueError("second")], [b"long" * 9]],
)
def test_close_is_called_once(serve: Callable[..., Engine], blocks: list[Any]) -> None:
    result = Closing(blocks)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "1")] if blocks == [b"long" * 9] else [])
        return result

    engine = serve(application)
    with engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.head()
    until(lambda: result.closed, "close()")
    with engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.head()
        until(lambda: result.closed == 2, "the second close()")


def test_close_that_raises_is_logged_and_hurts_nobody(serve: Callable[..., Engine]) -> None:
    class Bad(Closing):
        def close(self) -> None:
            raise RuntimeError("cannot close")

    def application(environ, start_response):
        start_response("200 OK", [])
        return Bad([b"fine"])

    engine = serve(application)
    with engine.connect() as client:
        assert client.get().body == b"fine"
        assert client.get().body == b"fine"
    engine.wait_for_log("cannot close")


def test_a_body_longer_than_its_length_is_cut(serve: Callable[..., Engine]) -> None:
    asked: list[int] = []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])

        def blocks():
            for n in range(100):
                asked.append(n)
                yield b"ab"

        return blocks() if environ["PATH_INFO"] == "/blocks" else [b"abcdef"]

    engine = serve(application)
    with engine.connect() as client:
        assert client.get("/").body == b"abcd"
        assert client.get("/blocks").body == b"abab"
        assert client.get("/").body == b"abcd"
    assert len(asked) == 3
    engine.wait_for_log("Content-Length")


@pytest.mark.parametrize("path", ["/list", "/blocks"])
def test_a_body_shorter_than_its_length_looks_cut(serve: Callable[..., Engine], path: str) -> None:
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "10")])
        return [b"abc"] if environ["PATH_INFO"] == "/list" else iter([b"a", b"bc"])

    engine = serve(application)
    with engine.connect() as client:
        client.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.response()
    engine.wait_for_log("7 bytes shorter than Content-Length")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (["text"], "yield bytes"),
        (range, "yield bytes"),
        ("text", "Yield bytes"),
        ([""], "PEP 3333"),
        (None, "returned None"),
        ([1], "yielded int"),
        (1, "int"),
    ],
)
def test_a_body_that_is_not_bytes_gets_500_and_advice(
    serve: Callable[..., Engine], result: Any, words: str
) -> None:
    def application(environ, start_response):
        start_response("200 OK", [])
        return iter(["text"]) if result is range else result

    engine = serve(application)
    assert engine.ask().status == 500
    until(lambda: words.lower() in engine.log.lower(), lambda: f"{words} in {engine.log}")


def test_bare_bytes_are_served_with_one_warning(serve: Callable[..., Engine]) -> None:
    def application(environ, start_response):
        start_response("200 OK", [])
        return b"all of it"

    engine = serve(application)
    with engine.connect() as client:
        for _ in range(3):
            response = client.get()
            assert response.body == b"all of it"
            assert response.headers["content-length"] == "9"
    engine.wait_for_log("PEP 3333")
    assert engine.log.count("returned bytes") == 1


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("OK", []),
        ("200 OK\r\nX: y", []),
        (200, []),
        ("101 Switching Protocols", []),
        ("200 OK", [("X", "a\r\nb")]),
        ("200 OK", [("X\r\n", "a")]),
        ("200 OK", [("X", "\u20ac")]),
        ("200 OK", [("X", 1)]),
        ("200 OK", [(b"X", b"1")]),
        ("200 OK", [("X", "1", "2")]),
        ("200 OK", [("Content-Length", "-1")]),
    ],
)
def test_a_head_that_cannot_be_sent_gets_500(serve: Callable[..., Engine], status: Any, headers: Any) -> None:
    def application(environ, start_response):
        start_response(status, headers)
        return [b"x"]

    engine = serve(application)
    response = engine.ask()
    assert response.status == 500
    assert "x" not in response.headers


def test_hop_by_hop_headers_are_the_servers(serve: Callable[..., Engine]) -> None:
    def application(environ, start_response):
        headers = [("Transfer-Encoding", "gzip"), ("Connection", "X-Secret"), ("Keep-Alive", "1")]
        start_response("200 OK", headers)
        return [b"fine"]

    with serve(application).connect() as client:
        response = client.get()
        assert response.body == b"fine"
        assert not {"transfer-encoding", "connection", "keep-alive"} & set(response.headers)
        assert client.get().body == b"fine"


def test_an_application_may_close_the_connection(serve: Callable[..., Engine]) -> None:
    def application(environ, start_response):
        start_response("200 OK", [("Connection", "close"), ("Date", "then"), ("Server", "me")])
        return [b"bye"]

    with serve(application).connect() as client:
        response = client.get()
        assert response.headers["connection"] == "close"
        assert (response.headers["date"], response.headers["server"]) == ("then", "me")
        assert client.at_end()


def test_a_view_that_exits_does_not_end_the_worker(serve: Callable[..., Engine]) -> None:
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/exit":
            sys.exit(3)
        start_response("200 OK", [])
        return [b"alive"]

    engine = serve(application)
    assert engine.ask("/exit").status == 500
    assert engine.ask().body == b"alive"
    engine.wait_for_log("SystemExit: 3")


def test_file_wrapper(serve: Callable[..., Engine]) -> None:
    files: list[io.BytesIO] = []

    def application(environ, start_response):
        file = io.BytesIO(b"0123456789" * 30000)
        files.append(file)
        start_response("200 OK", [("Content-Length", "300000")])
        return environ["wsgi.file_wrapper"](file, 8192)

    assert serve(application).ask().body == b"0123456789" * 30000
    until(lambda: files[0].closed, "the file to be closed")


def test_start_response_kept_for_later_spoils_no_other_response(serve: Callable[..., Engine]) -> None:
    kept: list[Any] = []

    def application(environ, start_response):
        if kept:
            for _ in range(2):
                try:
                    kept[0](b"stale")
                except TypeError:
                    kept.append("refused")
        kept.append(start_response("200 OK", []))
        return [b"fresh"]

    with serve(application).connect() as client:
        assert client.get().body == b"fresh"
        assert client.get().body == b"fresh"
    assert kept.count("refused") == 2


def test_a_large_list_of_blocks(serve: Callable[..., Engine]) -> None:
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"b" * 100_000] * 30

    response = serve(application).ask()
    assert response.headers["content-length"] == "3000000"
    assert response.body == b"b" * 3_000_000


@pytest.mark.parametrize("memory", [0, 3, 1_000_000])
def test_a_body_is_the_same_however_the_network_cuts_it(serve: Callable[..., Engine], memory: int) -> None:
    """One that comes with its head takes a shorter way; what follows it may be the next request."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        assert environ["REQUEST_METHOD"] == "GET" or environ["wsgi.input"].tell() == 0
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [repr((environ.get("CONTENT_LENGTH"), body)).encode()]

    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n%b"
    requests = [post % (b"003", b"abc"), post % (b"4", b"defg"), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]
    answers = [b"('3', b'abc')", b"('4', b'defg')", b"(None, b'')"]
    stream = b"".join(requests)
    with serve(application, limits={"body_memory_bytes": memory}).connect() as client:
        for cut in range(len(requests[0]) - 5, len(stream) + 1, 3):
            client.send(stream[:cut])
            if cut >= len(requests[0]):
                assert client.response().body == answers[0]
            client.send(stream[cut:])
            for answer in answers[cut >= len(requests[0]) :]:
                assert client.response().body == answer
