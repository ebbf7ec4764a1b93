"""An ASGI application under sync and threads, over HTTP/2: each stream is a call of its own.

All cases of `tests/unit/workers/exchange` and `tests/unit/workers/http2` can be played so, too; here is what the way
between two threads could get wrong.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from gwctl.workers.http2 import wire
from tests.support import engine_apps
from tests.support.engine import Engine
from tests.support.http2 import Http2Client
from tests.support.memory_wire import Continue, Data, End, Head, Hints, Reset, Trailers
from tests.support.wait import DEADLINE_S, until

Start = Callable[..., Http2Client]


def start_of(status: int = 200, *fields: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": [*fields], **more}


def block(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.fixture(params=["sync", "threads"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(application: Any = engine_apps.asgi, **settings: Any) -> Http2Client:
            settings = {"threads": 2, "http": ("h2", "h1")} | settings
            engine = stack.enter_context(Engine(application, request.param, interface="asgi", **settings))
            before = engine.server.body_budget.memory_left
            stack.callback(_nothing_is_left, engine, before)
            return stack.enter_context(Http2Client(engine))

        yield begin


def _nothing_is_left(engine: Engine, memory: int) -> None:
    until(lambda: not engine.call(lambda: engine.server.runner.active), "all requests to be over")
    until(lambda: not engine.under_way, "what goes on behind them to be over")
    until(lambda: engine.server.body_budget.memory_left == memory, "bodies to be given back")


class Held:
    """An application that goes on when it is let go, from whatever thread."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.here = threading.Event()
        self.told: list[str] = []

    async def passed(self) -> None:
        self.here.set()
        await asyncio.get_running_loop().run_in_executor(None, self.gate.wait, DEADLINE_S)


def test_what_is_said_and_answered(start: Start) -> None:
    client = start()
    assert client.open().whole().body == b"hello"
    assert client.open("/stream").whole().body == b"onetwothree"
    assert b'"http_version": "2"' in client.open("/path?a=1").whole().body
    assert client.open("/status/204").whole().status == 204
    assert client.open("/length?9", "HEAD").whole().headers["content-length"] == "9"
    assert client.open("/raise").whole().status == 500
    streams = [client.open("/length?200000") for _ in range(5)]
    assert [len(stream.whole().body) for stream in streams] == [200_000] * 5
    middle = client.open("/middle")
    assert isinstance(middle.end(), Reset)
    assert middle.code == wire.INTERNAL_ERROR
    assert middle.body == b"first"


@pytest.mark.parametrize("buffered", [True, False])
def test_bodies(start: Start, buffered: bool) -> None:
    """Larger than all windows, announced or not, two at once."""
    client = start(body_buffering=buffered)
    body = bytes(range(256)) * 2000
    assert client.open("/echo", "POST", (b"content-length", b"5"), body=b"small").whole().body == b"small"
    one, other = client.post("/echo"), client.post("/echo")
    threads = [
        threading.Thread(target=lambda to=stream: (to.upload(body), to.finish()), daemon=True)
        for stream in (one, other)
    ]
    for thread in threads:
        thread.start()
    assert one.whole().body == body
    assert other.whole().body == body


def test_a_body_that_is_asked_for(start: Start) -> None:
    client = start(body_buffering=False)
    stream = client.post("/echo", (b"expect", b"100-continue"))
    stream.wait_for(Continue)
    stream.upload(b"asked for")
    stream.finish()
    assert stream.whole().body == b"asked for"


def test_hints_and_trailers(start: Start) -> None:
    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await send(start_of(trailers=True))
        await send(block(b"one", more=True))
        await send(block(b"two"))
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"6")], "more_trailers": False})

    stream = start(application).open("/", "GET", (b"te", b"trailers"))
    answer = stream.whole()
    assert answer.body == b"onetwo"
    kinds = [type(event) for event in stream.events if not isinstance(event, Data)]
    assert kinds == [Hints, Head, Trailers, End]


def test_a_block_leaves_before_the_next(start: Start) -> None:
    held = Held()

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start_of())
        await send(block(b"one", more=True))
        await held.passed()
        await send(block(b"two"))

    stream = start(application).open()
    stream.wait_for_body(b"one")
    held.gate.set()
    assert stream.whole().body == b"onetwo"


def test_an_application_waits_for_a_client_that_takes_nothing(start: Start) -> None:
    sent: list[int] = []

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start_of())
        for number in range(20):
            await send(block(bytes(50_000), more=True))
            sent.append(number)
        await send(block(b""))

    client = start(application)
    stream = client.open(window=1000)
    stream.wait_for_body(bytes(1000))
    until(lambda: sent, "it to go on until enough waits")
    assert len(sent) < 10
    stream.allow(2_000_000)
    assert len(stream.whole().body) == 1_000_000


@pytest.mark.parametrize("how", ["reset", "connection", "half"])
def test_a_client_that_leaves_is_told_of(start: Start, how: str) -> None:
    held = Held()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            await send(start_of())
            await send(block(b"begun", more=True))
            await engine_apps.departure(receive)
            held.told.append("http.disconnect")
        else:
            await engine_apps.asgi(scope, receive, send)

    client = start(application)
    stream = client.open()
    stream.wait_for_body(b"begun")
    if how == "reset":
        stream.leave()
    elif how == "connection":
        client.disconnect()
    else:
        client.sock.shutdown(socket.SHUT_WR)
    until(lambda: held.told == ["http.disconnect"], "the application to be told")
    with Http2Client(client.engine) as other:
        assert other.open("/stream").whole().body == b"onetwothree"


def test_an_upload_that_breaks_off(start: Start) -> None:
    told: list[str] = []

    async def application(_scope: Any, receive: Any, _send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]
        told.append(message["type"])

    client = start(application, body_buffering=False)
    stream = client.post("/", body=b"half")
    client.exchange(stream)
    stream.leave()
    until(lambda: told == ["http.disconnect"], "the application to be told")


@pytest.mark.parametrize("start", ["threads"], indirect=True)
def test_a_request_over_its_time(start: Start) -> None:
    assert start(_never, timeouts={"request_timeout_s": 0.3}).open().whole().status == 504


async def _never(_scope: Any, _receive: Any, _send: Any) -> None:
    await asyncio.sleep(DEADLINE_S)


def test_what_goes_on_behind_a_response_holds_nobody(start: Start) -> None:
    held = Held()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await engine_apps.asgi(scope, receive, send)
        if scope["path"] == "/":
            await held.passed()
            held.told.append("after")

    client = start(application, threads=1)
    assert client.open().whole().body == b"hello"
    assert client.open("/stream").whole().body == b"onetwothree"
    held.gate.set()
    until(lambda: held.told == ["after"], "its end")


def test_a_client_that_others_wrote(start: Start) -> None:
    host, port = start().engine._listener.getsockname()
    with httpx.Client(http1=False, http2=True, base_url=f"http://{host}:{port}") as client:
        answer = client.get("/")
        assert (answer.http_version, answer.status_code, answer.text) == ("HTTP/2", 200, "hello")
        assert client.post("/echo", content=bytes(1_000_000)).content == bytes(1_000_000)
        assert client.get("/stream").text == "onetwothree"
