"""WebSockets on the engine: what is judged before the hand-over, and what an application answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gwctl.ipc.scoreboard import REQUESTS
from tests.support.engine import Engine
from tests.support.wait import until
from tests.support.websocket import (
    ACCEPTED,
    TEXT,
    Echo,
    close_frame,
    frame,
    gone,
    handshake,
    read_close,
    read_frame,
    sends,
)


def test_the_scope_of_a_handshake() -> None:
    echo = Echo(subprotocol="b", headers=[(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-y", b"z")])
    with Engine(echo, "asgi", root_path="/app", state={"shared": 1}) as engine, engine.connect() as client:
        cookie = b"Cookie: " + b"c" * 8000
        client.send(
            handshake(
                b"Sec-WebSocket-Protocol: a, b", b"Sec-WebSocket-Protocol: c", cookie, path=b"/a%20b?c=d"
            )
        )
        head = client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-y: z\r\nSec-WebSocket-Protocol: b\r\n" in head
        client.send(frame(TEXT, "gr\u00fc\u00df".encode()))
        assert read_frame(client) == (TEXT, "gr\u00fc\u00df".encode())
        client.send(close_frame(3000, b"bye"))
        assert read_close(client) == (3000, "bye")
        assert client.at_end()
        client.sock.close()
        gone(engine)
    scope = echo.scopes[0]
    assert scope["type"] == "websocket"
    assert (scope["scheme"], scope["root_path"], scope["path"]) == ("ws", "/app", "/app/a b")
    assert (scope["raw_path"], scope["query_string"]) == (b"/a%20b", b"c=d")
    assert scope["subprotocols"] == ["a", "b", "c"]
    assert scope["state"] == {"shared": 1}
    assert "websocket.http.response" in scope["extensions"]
    assert (b"cookie", b"c" * 8000) in scope["headers"]
    assert echo.end == (3000, "bye")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (handshake(without=b"Sec-WebSocket-Version"), 426),
        (handshake(b"Sec-WebSocket-Version: 8", without=b"Sec-WebSocket-Version"), 426),
        (handshake(b"Sec-WebSocket-Version: 8"), 426),
        (handshake(without=b"Sec-WebSocket-Key"), 400),
        (handshake(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        (handshake(b"Sec-WebSocket-Key: short", without=b"Sec-WebSocket-Key"), 400),
        (handshake(b"Sec-WebSocket-Key: AAAA", without=b"Sec-WebSocket-Key"), 400),
        (handshake(b"Sec-WebSocket-Protocol: a b"), 400),
        (handshake(b"Sec-WebSocket-Extensions: ;"), 400),
        (handshake(without=b"Host"), 400),
        (handshake(b"Host: y"), 400),
    ],
)
def test_a_broken_handshake_never_reaches_the_application(data: bytes, status: int) -> None:
    echo = Echo()
    with Engine(echo, "asgi") as engine, engine.connect() as client:
        client.send(data)
        response = client.response()
        assert response.status == status
        assert client.at_end()
        if status == 426:
            assert response.headers["sec-websocket-version"] == "13"
            assert response.headers["upgrade"] == "websocket"
        until(lambda: engine.words(REQUESTS) == 1, "it to be counted")
    assert not echo.scopes


@pytest.mark.parametrize(
    "data",
    [
        handshake(without=b"Connection"),
        handshake(b"Connection: close", without=b"Connection"),
        handshake(b"Upgrade: h2c", without=b"Upgrade"),
        handshake().replace(b"GET", b"POST", 1),
    ],
)
def test_what_is_no_handshake_is_an_ordinary_request(data: bytes) -> None:
    with Engine(Echo(), "asgi") as engine, engine.connect() as client:
        client.send(data)
        assert client.response().body == b"plain"


@pytest.mark.parametrize(
    ("accept", "words"),
    [
        ({"headers": [(b"x", b"a\r\nb: c")]}, "control characters"),
        ({"headers": [(b"sec-websocket-protocol", b"a")]}, "goes into `subprotocol`"),
        ({"subprotocol": "never-offered"}, "did not offer"),
    ],
)
def test_an_accept_that_cannot_be_sent_is_a_500(accept: dict[str, Any], words: str) -> None:
    with Engine(Echo(**accept), "asgi") as engine, engine.connect() as client:
        client.send(handshake(path=b"/x?y"))
        assert client.response().status == 500
        engine.wait_for_log(words)
        assert "WebSocket /x?…: the application raised" in engine.log


DENY = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic")]}


def denial(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "websocket.http.response.body", "body": data, "more_body": more}


def test_denials() -> None:
    whole = sends(DENY, denial(b"\xff no"))
    with Engine(whole, "asgi", access_log=True) as engine, engine.connect() as client:
        client.send(handshake(b"User-Agent: me", path=b"/secret"))
        response = client.response()
        assert (response.status, response.body) == (401, b"\xff no")
        assert response.headers["www-authenticate"] == "Basic"
        assert response.headers["connection"] == "close"
        assert response.headers["content-length"] == "4"
        assert client.at_end()
        client.sock.close()
        gone(engine)
        engine.call(engine.server.accounts.flush)
        line = engine.access_path.read_text()
        assert '"GET /secret HTTP/1.1" 401 4 "-" "me"' in line
        assert engine.log == ""
    streamed = sends(DENY, denial(b"a", more=True), {"type": "websocket.http.response.body"})
    with Engine(streamed, "asgi") as engine, engine.connect() as client:
        client.send(handshake() + frame(TEXT, b"sent too early"))
        assert client.response().chunks == (b"a",)
        assert client.at_end()
    with Engine(sends({"type": "websocket.close"}), "asgi") as engine, engine.connect() as client:
        client.send(handshake())
        assert client.response().status == 403
        assert client.at_end()
        assert engine.log == ""


@pytest.mark.parametrize(
    ("messages", "status", "words"),
    [
        ([], 500, "returned without accepting or refusing"),
        ([ValueError("oops")], 500, "raised: ValueError: oops"),
        ([SystemExit(1)], 500, "SystemExit"),
        ([{"type": "websocket.send", "text": "x"}], 500, "expected websocket.accept"),
        ([{"type": "http.response.start", "status": 200}], 500, "expected websocket.accept"),
        ([denial(b"x")], 500, "expected websocket.accept"),
        ([{**DENY, "status": 99}, denial(b"")], 500, "not a response status"),
        ([DENY], None, "returned in mid-response"),
        ([DENY, denial(b"x", more=True), ValueError("oops")], None, "ValueError"),
        ([DENY, ACCEPTED], None, "expected websocket.http.response.body"),
        ([{**DENY, "headers": [(b"content-length", b"3")]}, denial(b"x")], None, "as long as Content-Length"),
    ],
)
def test_an_application_that_does_not_answer_the_handshake(
    messages: list[Any], status: int | None, words: str
) -> None:
    with Engine(sends(*messages), "asgi") as engine, engine.connect() as client:
        client.send(handshake())
        if status:
            assert client.response().status == status
        else:
            with pytest.raises((ConnectionResetError, AssertionError)):
                client.response()
        engine.wait_for_log(words)
        client.sock.close()
        gone(engine)


def test_quit_answers_an_open_handshake() -> None:
    async def application(scope, receive, send):
        await receive()
        await asyncio.sleep(0)
        await receive()

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(handshake())
        until(lambda: engine.call(lambda: len(engine.server.websockets)), "the handshake")
        assert engine.call(engine.server.quit) == 1
        assert client.response().status == 503
