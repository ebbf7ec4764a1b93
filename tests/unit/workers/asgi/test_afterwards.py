"""ASGI: what an application does once its response has begun, or is complete."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.support.engine import Engine
from tests.support.wait import until

pytestmark = pytest.mark.usefixtures("asgi_under")

START = {"type": "http.response.start", "status": 200, "headers": []}
EXPECTING = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def test_100_continue_is_never_sent_inside_a_response() -> None:
    """Frameworks call receive() while they stream, to notice that the client has gone."""
    got: list[Any] = []

    async def application(scope, receive, send):
        await send(START)
        await send(body(b"one", more=True))
        listener = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await send(body(b"two"))
        got.append(await listener)
        got.append(await receive())

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(EXPECTING)
        response = client.response()
        assert response.chunks == (b"one", b"two")
        assert response.headers["connection"] == "close"
        assert client.at_end()
        until(lambda: len(got) == 2, "receive() to return after the response")
    assert got == [{"type": "http.disconnect"}] * 2


def test_a_body_that_was_not_asked_for_in_time_is_not_waited_for_without_end() -> None:
    async def application(scope, receive, send):
        await send(START)
        await send(body(b"one", more=True))
        await receive()

    with (
        Engine(application, "asgi", timeouts={"body_timeout_s": 0.2}) as engine,
        engine.connect() as client,
    ):
        client.send(EXPECTING)
        assert client.head()[0] == 200
        until(lambda: not engine.call(lambda: engine.server.active_requests), "the request to end")


def test_an_error_after_the_response_names_its_own_request() -> None:
    """The connection may be at another request by then."""
    go = asyncio.Event()

    async def application(scope, receive, send):
        await send(START)
        await send(body(b""))
        if scope["path"] == "/first":
            await go.wait()
            raise ValueError("in the background")

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.get("/first?a=b")
        client.get("/second")
        engine.in_application(go.set)
        engine.wait_for_log("GET /first?…: the application raised after its response: ValueError")


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("part", [b"", b"Content-Length: 9\r\n"])
def test_an_application_that_ends_because_it_was_told_of_the_clients_end_is_right(
    begun: bool, part: bytes
) -> None:
    """The end of an event stream, a long poll or a cancelled upload is nobody's error."""
    listening = threading.Event()

    async def application(scope, receive, send):
        if begun:
            await send(START)
            await send(body(b"event", more=True))
        listening.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    with Engine(application, "asgi", access_log=True) as engine, engine.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + part + b"\r\n")
        assert listening.wait(20)
        client.finish_sending()
        with pytest.raises(ConnectionResetError):
            client.rest()
        until(
            lambda: engine.call(engine.server.accounts.flush) or engine.access_path.read_text("utf-8"),
            "the line",
        )
        assert f'"POST / HTTP/1.1" {200 if begun else 499} ' in engine.access_path.read_text("utf-8")
        assert engine.log == ""


def test_an_application_that_was_not_told_is_wrong() -> None:
    async def application(scope, receive, send):
        await asyncio.sleep(0.1)

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.finish_sending()
        assert client.response().status == 500
        engine.wait_for_log("returned without a response")


class ClientDisconnect(Exception):
    """As Starlette raises it, from send()'s OSError or when it is told http.disconnect."""


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("where", ["told", "sending", "after"])
def test_what_frameworks_make_of_a_disconnect_is_no_error(where: str, grouped: bool) -> None:
    ready = threading.Event()

    def gone() -> Exception:
        return ExceptionGroup("tasks", [ClientDisconnect()]) if grouped else ClientDisconnect()

    async def application(scope, receive, send):
        await send(START)
        await send(body(b"event", more=where != "after"))
        ready.set()
        if where == "sending":
            try:
                while True:
                    await send(body(b"x" * 10000, more=True))
                    await asyncio.sleep(0)
            except OSError:
                raise gone() from None
        while (await receive())["type"] != "http.disconnect":
            pass
        raise gone()

    with Engine(application, "asgi") as engine:
        client = engine.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ready.wait(20)
        client.sock.close()
        until(lambda: not engine.call(lambda: engine.server.active_requests), "the request to end")
        assert engine.log == ""


def test_a_failing_cleanup_after_a_disconnect_is_an_error() -> None:
    async def application(scope, receive, send):
        await send(START)
        await send(body(b"event", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass
        try:
            raise ClientDisconnect
        finally:
            raise ValueError("in cleanup")

    with Engine(application, "asgi") as engine:
        client = engine.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.head()
        client.sock.close()
        engine.wait_for_log("ValueError: in cleanup")


def test_a_request_cancelled_because_its_client_is_gone_is_no_error() -> None:
    async def application(scope, receive, send):
        await send(START)
        await send(body(b"event", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    with Engine(application, "asgi") as engine:
        client = engine.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.head()
        client.sock.close()
        until(lambda: not engine.call(lambda: engine.server.active_requests), "the request to end")
        assert engine.log == ""
