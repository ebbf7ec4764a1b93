"""ASGI 3: both directions at once, backpressure, disconnects, and applications that misbehave."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import types
from typing import Any

import pytest

from gwctl.ipc.scoreboard import REQUESTS
from tests.support.engine import PARSERS, Engine
from tests.support.wait import until

pytestmark = pytest.mark.usefixtures("asgi_under")

REQUEST = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("chunked", [True, False])
def test_echo_while_the_upload_goes_on(parser: str, chunked: bool) -> None:
    """The client sees each piece come back before it sends the next."""

    async def application(scope, receive, send):
        await send(START)
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send(body(message["body"], more))

    with Engine(application, "asgi", parser=parser) as engine, engine.connect() as client:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 500"
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
        for n in range(5):
            piece = b"%d" % n * 100
            client.send(b"64\r\n" + piece + b"\r\n" if chunked else piece)
            if n == 0:
                assert client.head()[0] == 200
            assert client.chunk() == piece
        if chunked:
            client.send(b"0\r\n\r\n")
        assert client.chunk() == b""
        assert client.get("/").body == b""


def test_scope() -> None:
    scopes: list[dict[str, Any]] = []

    async def application(scope, receive, send):
        scopes.append(scope)
        scope["state"]["mine"] = 1
        await send(START)
        await send(body(b""))

    with (
        Engine(application, "asgi", state={"shared": 5}, root_path="/shop") as engine,
        engine.connect() as client,
    ):
        client.get("/a%C3%A9?b=c", "X-Name: v")
        client.get("/shop/b")
        port = engine.port
    first, second = scopes
    assert first["type"] == "http"
    assert first["asgi"] == {"version": "3.0", "spec_version": "2.3"}
    assert first["http_version"] == "1.1"
    assert first["method"] == "GET"
    assert first["scheme"] == "http"
    assert first["path"] == "/shop/a\u00e9"
    assert first["raw_path"] == b"/a%C3%A9"
    assert first["query_string"] == b"b=c"
    assert first["root_path"] == "/shop"
    assert first["headers"] == [(b"host", b"test"), (b"x-name", b"v")]
    assert first["client"][0] == "127.0.0.1"
    assert first["server"] == ("127.0.0.1", port)
    assert second["path"] == "/shop/b"
    assert second["state"] == {"shared": 5, "mine": 1}
    assert second["state"] is not first["state"]


def test_unix_socket_scope() -> None:
    scopes: list[dict[str, Any]] = []

    async def application(scope, receive, send):
        scopes.append(scope)
        await send(START)
        await send(body(b""))

    with Engine(application, "asgi", unix=True) as engine, engine.connect() as client:
        client.get("/")
    assert scopes[0]["client"] is None
    assert scopes[0]["server"][0].endswith("/socket")
    assert scopes[0]["server"][1] is None


def test_100_continue_is_sent_when_the_application_asks_for_the_body() -> None:
    asked = []

    async def application(scope, receive, send):
        if scope["path"] == "/read":
            message = await receive()
            asked.append(message["body"])
        await send(START)
        await send(body(b"done"))

    expecting = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(expecting % b"/read")
        assert client.head()[0] == 100
        client.send(b"abc")
        assert client.response().body == b"done"
        client.send(expecting % b"/ignore")
        response = client.response()
        assert response.status == 200
        assert response.headers["connection"] == "close"
        client.finish_sending()
        assert client.at_end()
    assert asked == [b"abc"]


def test_a_stream_that_goes_on_after_its_client_ends_with_an_oserror_that_is_not_logged() -> None:
    """It does not listen, so nothing else would end it."""
    raised: list[OSError] = []

    async def application(scope, receive, send):
        await send(START)
        try:
            while True:
                await send(body(b"x" * 10000, more=True))
        except OSError as error:
            raised.append(error)
            raise

    with Engine(application, "asgi") as engine:
        client = engine.connect()
        client.send(REQUEST % b"/")
        client.head()
        client.sock.close()
        until(lambda: raised, "OSError from send()")
        until(lambda: engine.words(REQUESTS) == 1, "the request to be counted")
        assert "error" not in engine.log


def test_an_upload_nobody_reads_is_held_back() -> None:
    """The client is stopped by the kernel's buffers and ours, not by memory."""
    go = asyncio.Event()
    received: list[int] = []

    async def application(scope, receive, send):
        await go.wait()
        more = True
        while more:
            message = await receive()
            received.append(len(message["body"]))
            more = message["more_body"]
        await send(START)
        await send(body(b"thanks"))

    size = 50_000_000
    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        client.sock.settimeout(1)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < size:
                sent += client.sock.send(b"u" * 65536)
        assert sent < 20_000_000
        client.sock.settimeout(20)
        engine.in_application(go.set)
        while sent < size:
            sent += client.sock.send(b"u" * min(65536, size - sent))
        assert client.response().body == b"thanks"
    assert sum(received) == size
    assert max(received) < 1_000_000


def test_a_download_nobody_reads_holds_the_application() -> None:
    blocks = 0

    async def application(scope, receive, send):
        nonlocal blocks
        await send(START)
        while blocks < 1000:
            await send(body(b"d" * 65536, more=True))
            blocks += 1
        await send(body(b""))

    with Engine(application, "asgi") as engine, engine.connect(receive_buffer=4096) as client:
        client.send(REQUEST % b"/")
        client.head()
        before = -1

        def stalled() -> bool:
            nonlocal before
            same = blocks == before
            before = blocks
            return same and blocks > 0

        until(stalled, "the application to be held")
        assert blocks < 200
        assert sum(map(len, client.chunks())) == 65_536_000


@pytest.mark.not_under("sync", "threads", reason="they have no WebSockets")
def test_a_websocket_is_handed_over_and_told_to_go_when_draining() -> None:
    """With a frame that was sent right behind the handshake, and behind a request before it."""

    async def application(scope, receive, send):
        if scope["type"] == "http":
            await send(START)
            await send(body(b"plain"))
            return
        assert scope["path"] == "/ws"
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        message = await receive()
        while message["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
            message = await receive()

    handshake = (
        b"GET /ws?x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    frame = b"\x81\x85\0\0\0\0hello"
    with Engine(application, "asgi", timeouts={"linger_s": 0.1}) as engine, engine.connect() as client:
        assert client.get("/").body == b"plain"
        client.send(handshake + frame)
        status, headers = client.head()
        assert status == 101
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert client.read_exactly(7) == b"\x81\x05HELLO"
        assert engine.call(lambda: engine.server.connections) == 1
        engine.call(lambda: engine.server.drain(False))
        assert not engine.call(lambda: engine.server.drained)
        assert client.read_exactly(4)[2:] == (1012).to_bytes(2, "big")
        client.send(b"\x88\x82\0\0\0\0" + (1012).to_bytes(2, "big"))
        assert client.at_end()
        until(lambda: engine.call(lambda: engine.server.drained), "the server to have drained")


def test_contexts_are_separate() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def application(scope, receive, send):
        seen.append(variable.get())
        variable.set("set")
        await send(START)
        await send(body(b""))

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send((REQUEST % b"/") * 3)  # the second starts while the first one's task still runs
        assert [client.response().status for _ in range(3)] == [200] * 3
    assert seen == ["unset"] * 3


def test_background_work_does_not_hold_the_connection() -> None:
    go = asyncio.Event()
    done: list[str] = []

    async def application(scope, receive, send):
        await send(START)
        await send(body(b"done"))
        if scope["path"] == "/background":
            await go.wait()
            done.append("background")

    with Engine(application, "asgi") as engine, engine.connect() as client:
        assert client.get("/background").body == b"done"
        assert client.get("/").body == b"done"
        until(lambda: engine.under_way == 1, "the other request to end")
        engine.in_application(go.set)
        until(lambda: done, "the background work")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "returned without a response"),
        ([START], "returned without a response"),
        ([body(b"x")], "before http.response.start"),
        ([START, START], "second time"),
        ([{"type": "nonsense"}], "nonsense"),
        ([{**START, "status": 99}], "not a response status"),
        ([{**START, "headers": [("X", "y")]}, body(b"")], "must be bytes"),
        ([{**START, "headers": [(b"X", b"a\r\nb")]}, body(b"")], "control characters"),
        ([START, {"type": "http.response.body", "body": "text"}], "must be bytes, not str"),
    ],
)
def test_a_broken_protocol_gets_500(messages: list[Any], words: str) -> None:
    async def application(scope, receive, send):
        for message in messages:
            await send(message)

    with Engine(application, "asgi") as engine, engine.connect() as client:
        assert client.get().status == 500
        assert client.at_end()
        engine.wait_for_log(words)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([START, body(b"x", more=True)], "returned in mid-response"),
        (
            [{**START, "headers": [(b"content-length", b"5")]}, body(b"ab", more=True), body(b"c")],
            "2 bytes shorter",
        ),
        (
            [{**START, "headers": [(b"content-length", b"2")]}, body(b"a", more=True), body(b"bc")],
            "longer than",
        ),
        ([START, body(b"x", more=True), START], "second time"),
    ],
)
def test_a_broken_response_never_looks_complete(messages: list[Any], words: str) -> None:
    async def application(scope, receive, send):
        for message in messages:
            await send(message)

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(REQUEST % b"/")
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.response()
        engine.wait_for_log(words)


def test_an_error_after_the_response_is_logged() -> None:
    async def application(scope, receive, send):
        await send(START)
        await send(body(b"fine"))
        raise ValueError("in the background")

    with Engine(application, "asgi") as engine, engine.connect() as client:
        assert client.get().body == b"fine"
        assert client.get().body == b"fine"
        engine.wait_for_log("raised after its response: ValueError: in the background")


def test_an_unread_body_is_skipped_or_the_connection_closed() -> None:
    async def application(scope, receive, send):
        await send(START)
        await send(body(b"unread"))

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + b"u" * 20000)
        assert client.response().body == b"unread"
        client.send(b"u" * 30000)
        assert client.get().body == b"unread"
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        assert client.response().body == b"unread"
        for _ in range(100):
            client.send(b"u" * 65536)
        client.finish_sending()
        assert client.at_end()


def test_several_receivers_and_a_cancelled_one() -> None:
    got: list[Any] = []

    async def application(scope, receive, send):
        await receive()
        first = asyncio.ensure_future(receive())
        second = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await send(START)
        await send(body(b"done"))
        got.append(await second)

    with Engine(application, "asgi") as engine, engine.connect() as client:
        assert client.get().body == b"done"
        until(lambda: got, "http.disconnect after the response")
    assert got == [{"type": "http.disconnect"}]


@pytest.mark.parametrize("kind", [types.MappingProxyType, collections.UserDict, collections.OrderedDict])
def test_messages_may_be_any_mapping_in_both_builds(kind: Any) -> None:
    async def application(scope, receive, send):
        await send(kind({"type": "http.response.early_hint", "links": [b"</a>"]}))
        await send(kind(START))
        await send(kind(body(bytearray(b"a"), more=True)))
        await send(kind(body(memoryview(b"b"))))

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(REQUEST % b"/")
        assert client.head()[0] == 103
        assert client.response().body == b"ab"
        assert engine.log == ""
