"""PEP 3333, letter by letter, under both WSGI runners."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import pytest

from tests.support.engine import Engine
from tests.support.wait import until

Application = Callable[..., Any]


def environ_of(serve: Callable[..., Engine], request: bytes, **settings: Any) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    def application(environ, start_response):
        environ["test.body"] = environ["wsgi.input"].read()
        seen.append(environ)
        start_response("200 OK", [])
        return []

    engine = serve(application, **settings)
    with engine.connect() as client:
        client.send(request)
        assert client.response().status == 200
    return seen[0]


def test_environ(serve: Callable[..., Engine]) -> None:
    environ = environ_of(
        serve,
        b"POST /a%20b;c?q=%20 HTTP/1.1\r\nHost: shop:80\r\nContent-Type: text/x\r\nContent-Length: 2\r\n"
        b"Cookie: a=1\r\nCookie: b=2\r\nAccept: x\r\nAccept: y\r\nUser-Agent: me\r\n\r\nhi",
        processes=4,
    )
    assert environ["REQUEST_METHOD"] == "POST"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/a b;c"
    assert environ["QUERY_STRING"] == "q=%20"
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == "/a%20b;c?q=%20"
    assert environ["CONTENT_TYPE"] == "text/x"
    assert environ["CONTENT_LENGTH"] == "2"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert int(environ["REMOTE_PORT"]) > 0
    assert environ["SERVER_NAME"] == "127.0.0.1"
    assert int(environ["SERVER_PORT"]) > 0
    assert environ["HTTP_HOST"] == "shop:80"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_ACCEPT"] == "x,y"
    assert environ["HTTP_USER_AGENT"] == "me"
    assert "HTTP_CONTENT_LENGTH" not in environ
    assert environ["wsgi.version"] == (1, 0)
    assert environ["wsgi.url_scheme"] == "http"
    assert isinstance(environ["wsgi.errors"], io.TextIOBase)
    assert environ["wsgi.multiprocess"] is True
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.input_terminated"] is True
    assert all(type(key) is str for key in environ)
    assert type(environ) is dict


def test_multithread_says_what_is(serve: Callable[..., Engine], wsgi_under: str) -> None:
    environ = environ_of(serve, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert environ["wsgi.multithread"] is (wsgi_under != "sync")
    assert environ["wsgi.multiprocess"] is False


def test_root_path_is_script_name(serve: Callable[..., Engine]) -> None:
    environ = environ_of(serve, b"GET /shop/a HTTP/1.1\r\nHost: x\r\n\r\n", root_path="/shop/")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/a")


def test_root_path_that_the_proxy_took_off(serve: Callable[..., Engine]) -> None:
    environ = environ_of(serve, b"GET /shopping HTTP/1.0\r\n\r\n", root_path="/shop")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/shopping")
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_unix_socket(serve: Callable[..., Engine]) -> None:
    environ = environ_of(serve, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", unix=True)
    assert environ["REMOTE_ADDR"] == ""
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PORT"]


def test_a_chunked_body_has_a_length(serve: Callable[..., Engine]) -> None:
    environ = environ_of(
        serve, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    assert environ["CONTENT_LENGTH"] == "3"
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert environ["test.body"] == b"abc"


@pytest.mark.parametrize("memory", [0, 5, 1000])
def test_input_reads_like_a_file_and_ends(serve: Callable[..., Engine], memory: int) -> None:
    """In memory and in a temporary file."""
    read: list[Any] = []

    def application(environ, start_response):
        body = environ["wsgi.input"]
        read.extend(
            [body.read(3), body.readline(), body.readline(2), body.readlines(), body.read(), body.read(5)]
        )
        body.seek(0)
        read.append(list(body))
        start_response("200 OK", [])
        return []

    engine = serve(application, limits={"body_memory_bytes": memory})
    with engine.connect() as client:
        body = b"one\ntwo\nthree\nfour"
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert client.response().status == 200
    lines = [b"one\n", b"two\n", b"three\n", b"four"]
    assert read == [b"one", b"\n", b"tw", [b"o\n", *lines[2:]], b"", b"", lines]


def test_validator_finds_nothing(serve: Callable[..., Engine]) -> None:
    def application(environ, start_response):
        body = environ["wsgi.input"].read(10)
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/write":
            write(b"written ")
        return [body, b"and returned"]

    engine = serve(validator(application))
    with engine.connect() as client:
        assert client.get("/").body == b"and returned"
        assert client.get("/write").body == b"written and returned"
        client.send(b"POST /?q HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Type: a/b\r\n\r\nabc")
        assert client.response().body == b"abcand returned"
    assert "AssertionError" not in engine.log


def test_start_response_twice_is_an_error(serve: Callable[..., Engine]) -> None:
    def application(environ, start_response):
        start_response("200 OK", [])
        start_response("200 OK", [])
        return [b"x"]

    engine = serve(application)
    assert engine.ask().status == 500
    engine.wait_for_log("second time without exc_info")


def test_exc_info_replaces_a_response_not_yet_sent(serve: Callable[..., Engine]) -> None:
    def application(environ, start_response):
        start_response("200 OK", [("X-First", "1")])
        try:
            raise ValueError
        except ValueError:
            start_response("503 Busy", [("X-Second", "2")], sys.exc_info())
        return [b"sorry"]

    response = serve(application).ask()
    assert (response.status, response.body) == (503, b"sorry")
    assert "x-second" in response.headers
    assert "x-first" not in response.headers


def test_exc_info_after_the_head_is_raised_again(serve: Callable[..., Engine]) -> None:
    caught: list[BaseException] = []

    def application(environ, start_response):
        write = start_response("200 OK", [])
        write(b"begun")
        try:
            raise ValueError("too late")
        except ValueError:
            try:
                start_response("500 Error", [], sys.exc_info())
            except ValueError as error:
                caught.append(error)
                raise
        return []

    engine = serve(application)
    with engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.head()[0] == 200
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.chunk()
            client.chunk()
    assert len(caught) == 1
    engine.wait_for_log("too late")


def test_write_and_iterable_in_order(serve: Callable[..., Engine]) -> None:
    def application(environ, start_response):
        write = start_response("200 OK", [])
        write(b"one ")
        write(b"")
        write(b"two ")
        return [b"three ", b"four"]

    assert serve(application).ask().body == b"one two three four"


def test_write_beyond_content_length_is_an_error(serve: Callable[..., Engine]) -> None:
    raised: list[BaseException] = []

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "3")])
        try:
            write(b"abcdef")
        except TypeError as error:
            raised.append(error)
        return []

    assert serve(application).ask().body == b"abc"
    until(lambda: raised, "the error")
