"""wsgi.early_hints: 103 before the response, from both WSGI runners."""

from __future__ import annotations

import socket
from typing import Any
from wsgiref.validate import validator

import pytest

from gwctl.workers.runners.sync import SyncRunner
from tests.support.engine import Engine
from tests.support.wait import until

LINK = ("Link", "</style.css>; rel=preload; as=style")


def test_hints_go_out_before_the_response(serve) -> None:
    def application(environ, start_response):
        environ["wsgi.early_hints"]([LINK, ("Content-Length", "7")])
        environ["wsgi.early_hints"]([(b"link", b"</app.js>; rel=preload"), ["X-Hint", "yes"]])
        environ["wsgi.early_hints"]([])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"page"]

    with serve(validator(application)).connect() as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.head() == (103, {"link": LINK[1]})
            assert client.head() == (103, {"link": "</app.js>; rel=preload", "x-hint": "yes"})
            assert client.response().body == b"page"


def test_the_client_has_them_while_the_application_still_works(serve) -> None:
    import threading

    go = threading.Event()

    def application(environ, start_response):
        environ["wsgi.early_hints"]([LINK])
        assert go.wait(20)
        start_response("200 OK", [])
        return [b"page"]

    with serve(application).connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.head()[0] == 103
        go.set()
        assert client.response().body == b"page"


def test_not_for_http_10_and_not_once_the_response_has_begun(serve) -> None:
    kept: list[Any] = []

    def application(environ, start_response):
        if environ["SERVER_PROTOCOL"] == "HTTP/1.0":
            environ["wsgi.early_hints"]([LINK])
        write = start_response("200 OK", [])
        write(b"begun ")
        environ["wsgi.early_hints"]([LINK])
        kept.append(environ["wsgi.early_hints"])
        return [b"ended"]

    engine = serve(application)
    with engine.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.response().body == b"begun ended"
    with engine.connect() as client:
        assert client.get().body == b"begun ended"
        kept[1]([LINK])  # after the request: nobody is spoken for
        assert client.get().body == b"begun ended"


@pytest.mark.parametrize("header", [("Link", "a\r\nSet-Cookie: b"), ("Li nk", "a"), ("Link", 1), "Link"])
def test_a_hint_that_cannot_be_sent_raises_and_sends_nothing(serve, header: Any) -> None:
    raised: list[str] = []

    def application(environ, start_response):
        try:
            environ["wsgi.early_hints"]([LINK, header])
        except ValueError as error:
            raised.append(str(error))
        start_response("200 OK", [])
        return [b"page"]

    with serve(application).connect() as client:
        assert client.get().body == b"page"
    until(lambda: raised, "the error")


def test_many_hints_to_a_client_that_reads_late(serve) -> None:
    """What the socket does not take goes out in order, before the response."""
    count = 0

    def application(environ, start_response):
        for number in range(count):
            environ["wsgi.early_hints"]([("X-Number", f"{number:0200}")])
        start_response("200 OK", [])
        return [b"page"]

    engine: Engine = serve(application)
    with engine.connect(receive_buffer=4096) as client:
        client.get()
        if isinstance(engine.server.runner, SyncRunner):  # so fast that responses wait for the turn's end
            engine.server.runner._average_s = 0.0
        for connection in engine.call(lambda: list(engine.server._connections)):
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        count = 300
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for number in range(count):
            status, headers = client.head()
            assert (status, int(headers["x-number"])) == (103, number)
        assert client.response().body == b"page"
