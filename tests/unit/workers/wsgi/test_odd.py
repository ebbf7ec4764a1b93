"""WSGI applications whose very failures fail: the worker and its threads outlive them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gwctl.ipc.scoreboard import BUSY_SINCE
from tests.support.engine import Engine
from tests.support.wait import until


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unreadable(Exception):
    @property
    def __notes__(self) -> Any:
        raise ValueError("no notes")


class Unclosable:
    def __iter__(self) -> Iterator[bytes]:
        return iter([b"body"])

    @property
    def close(self) -> Any:
        raise RuntimeError("no close")


@pytest.mark.parametrize("kind", [Unprintable, Unreadable])
def test_an_exception_that_cannot_be_shown_gets_500(serve: Callable[..., Engine], kind: Any) -> None:
    def application(environ, start_response):
        raise kind

    engine = serve(application, threads=1)
    for _ in range(3):
        with engine.connect() as client:
            assert client.get().status == 500
    engine.wait_for_log(kind.__name__)


def test_an_iterable_whose_close_cannot_be_had(serve: Callable[..., Engine]) -> None:
    def application(environ, start_response):
        start_response("200 OK", [])
        return Unclosable()

    engine = serve(application, threads=1)
    with engine.connect() as client:
        for _ in range(3):
            assert client.get().body == b"body"
    engine.wait_for_log("RuntimeError: no close")


@pytest.mark.parametrize("value", [b'bytes "quoted"', None, 7, "text\nwith \x1b and \udc80"])
def test_access_lines_of_an_environ_that_was_changed(serve: Callable[..., Engine], value: Any) -> None:
    """Middleware rewrites what the log is made from."""

    def application(environ, start_response):
        environ.clear()
        environ["HTTP_USER_AGENT"] = environ["HTTP_REFERER"] = value
        start_response("200 OK", [])
        return [b"body"]

    engine = serve(application, threads=1, access_log=True)
    with engine.connect() as client:
        for _ in range(3):
            assert client.get().body == b"body"
    until(lambda: engine.access_path.read_text("utf-8").count("\n") >= 3, "three lines")
    text = engine.access_path.read_text("utf-8")
    assert text.count("\n") == 3
    assert "\x1b" not in text


def test_no_terminal_is_steered_by_an_access_line(serve: Callable[..., Engine]) -> None:
    """U+009B is what ESC [ is in one character; ESC itself the parsers refuse."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"body"]

    engine = serve(application, threads=1, access_log=True)
    with engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: \x9b31m\r\n\r\n")
        assert client.response().status == 200
    until(lambda: r'"\x9b31m"' in engine.access_path.read_text("utf-8"), "the line")


FIELDS = [("X-First", "1"), ("Content-Type", "text/html"), ("X-Last", "2")]


@pytest.mark.parametrize(
    "kind", [iter, tuple, lambda fields: (each for each in fields), lambda fields: dict(fields).items()]
)
@pytest.mark.parametrize("blocks", [[b"body"], [b"bo", b"dy"], (each for each in ()), []])
def test_header_fields_in_any_iterable_are_all_sent(
    serve: Callable[..., Engine], kind: Any, blocks: Any
) -> None:
    """Those of an iterator, too, which gives them once: PEP 3333 wants a list, and nobody looks."""

    def application(environ, start_response):
        start_response("200 OK", kind(FIELDS))
        return blocks

    engine = serve(application, threads=1)
    with engine.connect() as client:
        for head in ((), ("Connection: close",)):
            headers = client.get("/", *head).headers
            assert {name: headers.get(name.lower()) for name, _ in FIELDS} == dict(FIELDS)


@pytest.mark.parametrize("headers", [None, 7, True])
def test_header_fields_that_are_none_get_500(serve: Callable[..., Engine], headers: Any) -> None:
    def application(environ, start_response):
        start_response("200 OK", headers)
        return [b"body"]

    engine = serve(application, threads=1)
    with engine.connect() as client:
        assert client.get().status == 500
    engine.wait_for_log("headers must be")


def test_a_status_without_a_reason_has_its_blank(serve: Callable[..., Engine]) -> None:
    """RFC 9112 section 4: the blank before the reason is there also when that is empty."""

    def application(environ, start_response):
        start_response("299", [])
        return [b"body"]

    engine = serve(application, threads=1)
    with engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_until(b"\r\n") == b"HTTP/1.1 299 \r\n"


CLOSERS: dict[str, Callable[[Any], Any]] = {
    "close": lambda errors: errors.close(),
    "with": lambda errors: errors.__enter__().__exit__(None, None, None),
    "detach": lambda errors: sys.stderr.detach(),
    "close the buffer": lambda errors: errors.buffer.close(),
    "wrap the buffer": lambda errors: io.TextIOWrapper(errors.buffer) and None,
    "close stderr": lambda errors: sys.stderr.close(),
    "replace stderr": lambda errors: setattr(sys, "stderr", errors),
}


@pytest.mark.parametrize("how", CLOSERS)
def test_nobody_takes_wsgi_errors_from_later_requests(
    serve: Callable[..., Engine],
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def application(environ, start_response):
        errors = environ["wsgi.errors"]
        print(f"said {environ['PATH_INFO']} \u00fc\udcff", file=errors)
        errors.writelines(["one, ", "two\n"])
        errors.flush()
        if environ["PATH_INFO"] == "/closes":
            CLOSERS[how](errors)
        start_response("200 OK", [])
        return [b"%d" % errors.closed]

    raw = io.FileIO(os.dup(2), "w")
    stream = io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)
    monkeypatch.setattr("sys.stderr", stream)
    engine = serve(application, threads=1)
    with engine.connect() as client:
        for path in ("/first", "/closes", "/second", "/third"):
            response = client.get(path)
            assert (response.status, response.body) == (200, b"0"), engine.log
    text = capfd.readouterr().err
    assert [line for line in text.splitlines() if line.startswith("said")] == [
        f"said {path} \u00fc\\udcff" for path in ("/first", "/closes", "/second", "/third")
    ]
    assert text.count("one, two\n") == 4


def exits(*_args: Any) -> str:
    raise SystemExit("in the midst of what ends the request")


class Exits:
    __str__ = __repr__ = __format__ = exits  # type: ignore[assignment]


def detached(environ: dict[str, Any]) -> None:
    environ["wsgi.input"].detach()


def closes_oddly(environ: dict[str, Any]) -> None:
    environ["wsgi.input"].close = exits


def no_agent(environ: dict[str, Any]) -> None:
    environ["HTTP_USER_AGENT"] = environ["HTTP_REFERER"] = Exits()


# From 3.13 on Python says so when a finalizer calls a close() that raises, which here is the application's.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "where", [{"body_buffering": False}, {"limits": {"body_memory_bytes": 1}}], ids=["wire", "disk"]
)
@pytest.mark.parametrize("spoils", [detached, closes_oddly, no_agent])
def test_what_an_application_does_to_its_environ_does_not_hold_the_worker(
    serve: Callable[..., Engine], spoils: Callable[[dict[str, Any]], None], where: dict[str, Any]
) -> None:
    """The response is out; what follows it must not fail over what the application has left."""

    def application(environ, start_response):
        if environ["REQUEST_METHOD"] == "POST":
            spoils(environ)
        start_response("200 OK", [])
        return [b"done"]

    engine = serve(application, threads=1, access_log=True, **where)
    with engine.connect() as client:
        for _ in range(2):
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
            assert client.response().body == b"done"
            assert client.get().body == b"done"
    until(lambda: not engine.server.active_requests, "nothing to be under way")
    until(lambda: not engine.record.floats[BUSY_SINCE], "the call to be over")
    until(lambda: not engine.server.body_budget.holds, "the bodies to be let go of")
    assert " error " not in engine.log


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        (lambda start: start(b"200 OK", []), 500, "the status must be str (PEP 3333), not bytes"),
        (lambda start: start(200, []), 500, "the status must be str (PEP 3333), not int"),
        (lambda start: start("200 OK", 5), 500, "headers must be an iterable of pairs"),
        (lambda start: start("200 OK", [], [None, None, None]), 200, ""),
        (lambda start: start("200 OK", []).__call__("text"), 500, "the application yielded str"),
        (lambda start: start("200 OK", []).__call__(5), 500, "the application yielded int"),
        (lambda start: start("200 OK", []).__call__(bytearray(b"a")), 200, ""),
        (lambda start: start("200 OK", []).__call__(memoryview(b"a")), 200, ""),
    ],
)
def test_what_the_gateway_is_called_with_is_judged_alike_in_both_builds(
    serve: Callable[..., Engine], call: Any, status: int, words: str
) -> None:
    """Compiled code would refuse what an annotation does not name, in words of its own."""

    def application(environ, start_response):
        call(start_response)
        return [b"b"]

    engine = serve(application, threads=1)
    with engine.connect() as client:
        assert client.get().status == status
    engine.wait_for_log(words)
