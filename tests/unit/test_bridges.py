"""An ASGI application under the WSGI runners: how its response ended is never hidden. And WSGI under asgi."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import pytest
from a2wsgi import asgi as a2wsgi_asgi

from gwctl.config.settings import Limits
from gwctl.workers.bridges import AsgiInWsgi, WsgiInAsgi
from tests.support.engine import Engine


class DeliberateError(Exception):
    pass


async def begin(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def raises_in_mid_stream(scope: Any, receive: Any, send: Any) -> None:
    await begin(send)
    raise DeliberateError


async def returns_in_mid_stream(scope: Any, receive: Any, send: Any) -> None:
    await begin(send)


async def raises_after_receiving(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    raise DeliberateError


async def raises_when_all_is_sent(scope: Any, receive: Any, send: Any) -> None:
    await begin(send)
    await send({"type": "http.response.body", "body": b"whole"})
    raise DeliberateError


async def a_moment() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture(params=["as it comes", "application first"], autouse=True)
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also let the application always run on before the thread looks at it again: the order that hid errors."""
    if request.param == "as it comes":
        return
    tell = a2wsgi_asgi.AsyncEvent.set

    def tell_and_let_it_run(self: Any, message: Any) -> None:
        tell(self, message)
        asyncio.run_coroutine_threadsafe(a_moment(), self.loop).result()

    monkeypatch.setattr(a2wsgi_asgi.AsyncEvent, "set", tell_and_let_it_run)


def respond(application: Any) -> Iterator[bytes]:
    bridge = AsgiInWsgi(application)
    loop = bridge.start()
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "http",
    }
    try:
        yield from bridge(environ, lambda status, headers: None)
    finally:
        loop.call_soon_threadsafe(loop.stop)


@pytest.mark.parametrize("application", [raises_in_mid_stream, raises_after_receiving])
def test_an_error_reaches_the_runner(application: Any) -> None:
    with pytest.raises(DeliberateError):
        list(respond(application))


def test_a_response_that_is_not_complete_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="returned before its response was complete"):
        list(respond(returns_in_mid_stream))


def test_an_error_after_the_response_does_not_spoil_it() -> None:
    assert b"".join(respond(raises_when_all_is_sent)) == b"halfwhole"


def test_a_header_with_an_underscore_spoofs_none_and_cookies_are_joined_as_such() -> None:
    """As under the WSGI runners, for a WSGI application under asgi."""
    seen = {}

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", [])
        return [b"seen"]

    with Engine(WsgiInAsgi(application, Limits()), "asgi") as engine, engine.connect() as client:
        sent = ["X-Real: true", "X_Real: spoofed", "X_Forwarded_For: 6.6.6.6", "Cookie: a=1", "Cookie: b=2"]
        assert client.get("/", *sent).body == b"seen"
    assert seen["HTTP_X_REAL"] == "true"
    assert "HTTP_X_FORWARDED_FOR" not in seen
    assert seen["HTTP_COOKIE"] == "a=1; b=2"


def test_a_path_that_is_no_utf_8_and_no_headers_are_as_under_the_asgi_runner() -> None:
    seen = []

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    bridge = AsgiInWsgi(application)
    loop = bridge.start()
    try:
        for tried, worker_class in (bridge, "sync"), (application, "asgi"):
            with Engine(tried, worker_class) as engine, engine.connect() as client:
                assert client.get("/%ff/%C3%A9").status == 204
                assert client.get("/plain").status == 204
    finally:
        loop.call_soon_threadsafe(loop.stop)
    assert seen == ["/\ufffd/\xe9", "/plain"] * 2


def test_a_forwarded_client_without_a_port_is_told_as_under_the_asgi_runner() -> None:
    seen = []

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        seen.append(scope["client"])
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    bridge = AsgiInWsgi(application)
    loop = bridge.start()
    try:
        for tried, worker_class in (bridge, "sync"), (application, "asgi"):
            with (
                Engine(tried, worker_class, trusted_proxies=("127.0.0.1",)) as engine,
                engine.connect() as client,
            ):
                assert client.get("/", "X-Forwarded-For: 192.0.2.7").status == 204
    finally:
        loop.call_soon_threadsafe(loop.stop)
    assert seen == [("192.0.2.7", 0)] * 2
