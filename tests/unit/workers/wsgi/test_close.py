"""close() of a response's iterable: once, whatever becomes of the response (PEP 3333)."""

from __future__ import annotations

import contextlib
import io
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.support.engine import Engine
from tests.support.raw import reset_at_close
from tests.support.wait import until

QUICK = {"response_timeout_s": 0.3}
BLOCK = b"x" * 65536


class Closing:
    """Counts its closes, and how many blocks were asked for."""

    def __init__(self, blocks: Iterable[Any]) -> None:
        self.blocks = iter(blocks)
        self.asked = 0
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        block = next(self.blocks)
        self.asked += 1
        if isinstance(block, BaseException):
            raise block
        return block

    def close(self) -> None:
        self.closed += 1


def endless() -> Iterator[bytes]:
    return itertools.repeat(BLOCK)


CASES: dict[str, tuple[str, Callable[[], Iterable[Any]], list[tuple[str, str]]]] = {
    "generator": ("GET", lambda: [b"one", b"two"], []),
    "empty": ("GET", list, []),
    "empty blocks": ("GET", lambda: [b"", b"", b""], []),
    "head": ("HEAD", lambda: [b"one", b"two"], []),
    "head without end": ("HEAD", endless, []),
    "head without end but with a length": ("HEAD", endless, [("Content-Length", "5")]),
    "204 without end": ("204", endless, []),
    "304 without end": ("304", endless, []),
    "more than the length": ("GET", endless, [("Content-Length", "70000")]),
    "less than the length": ("GET", lambda: [b"one"], [("Content-Length", "5")]),
    "length 0": ("GET", lambda: [b"one"], [("Content-Length", "0")]),
    "raises at once": ("GET", lambda: [ValueError("first")], []),
    "raises later": ("GET", lambda: [b"one", ValueError("second")], []),
    "exits": ("GET", lambda: [b"one", SystemExit(3)], []),
    "text": ("GET", lambda: ["one"], []),
    "text later": ("GET", lambda: [b"one", "two"], []),
    "a header that cannot be sent": ("GET", lambda: [b"one"], [("X", "a\nb")]),
    "a reader that stops": ("GET", endless, []),
}


@pytest.mark.parametrize("case", CASES)
def test_once(serve: Callable[..., Engine], case: str) -> None:
    method, blocks, headers = CASES[case]
    results: list[Closing] = []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/after":
            start_response("200 OK", [])
            return [b"after"]
        start_response("200 OK" if method in {"GET", "HEAD"} else f"{method} Reason", headers)
        results.append(Closing(blocks()))
        return results[0]

    engine = serve(application, timeouts=QUICK)
    with engine.connect(receive_buffer=4096) as client:
        client.send(b"%b / HTTP/1.1\r\nHost: x\r\n\r\n" % (b"HEAD" if method == "HEAD" else b"GET"))
        with contextlib.suppress(ConnectionResetError):  # it reads no more than that, perhaps too late
            client.read_until(b"\r\n\r\n")
        until(lambda: results and results[0].closed, "close()")
    with engine.connect() as client:
        assert client.get("/after").body == b"after"
    assert results[0].closed == 1
    if "without end" in case:
        assert results[0].asked == 1, "asked for what nobody will see"


def test_once_although_the_client_is_gone(serve: Callable[..., Engine]) -> None:
    results: list[Closing] = []
    gone = threading.Event()

    def blocks() -> Iterator[bytes]:
        yield BLOCK
        gone.wait(20)
        yield from endless()

    def application(environ, start_response):
        start_response("200 OK", [])
        results.append(Closing(blocks()))
        return results[0]

    engine = serve(application)
    with engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.read_until(b"\r\n\r\n")
        reset_at_close(client.sock)
    gone.set()
    until(lambda: results[0].closed, "close()")
    until(lambda: engine.call(lambda: engine.server.connections) == 0, "the connection to be gone")
    assert results[0].closed == 1


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_once_for_a_wrapped_file(serve: Callable[..., Engine], method: bytes) -> None:
    class File(io.BytesIO):
        closes = 0

        def close(self) -> None:
            self.closes += 1
            super().close()

    files: list[File] = []

    def application(environ, start_response):
        files.append(File(b"content"))
        start_response("200 OK", [("Content-Length", "7")])
        return environ["wsgi.file_wrapper"](files[0])

    with serve(application).connect() as client:
        client.send(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.read_until(b"\r\n\r\n")
        until(lambda: files[0].closes, "close()")
    assert files[0].closes == 1


def test_a_generator_is_finalised_before_the_next_request(serve: Callable[..., Engine]) -> None:
    """Its `finally` runs in the request that it belongs to: locks and database handles depend on it."""
    events: list[str] = []

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        events.append(f"begin {path}")
        start_response("200 OK", [("Content-Length", "3")])

        def blocks():
            try:
                yield b"one"
                yield b"two"
            finally:
                events.append(f"end {path}")

        return blocks()

    with serve(application, threads=1).connect() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3)))
        assert [client.response().body for _ in range(3)] == [b"one"] * 3
    until(lambda: len(events) == 6, "the last one to be finalised")
    assert events == [f"{what} /{number}" for number in range(3) for what in ("begin", "end")]
