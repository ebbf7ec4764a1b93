"""Extensions and WebSockets of ASGI inside TLS: the same bytes, the same bounds, the same ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gwctl.config.model.settings import WebSocketSettings
from tests.support.engine import Engine
from tests.support.tls import Files, connect
from tests.support.wait import until
from tests.support.websocket import (
    ACCEPTED,
    BINARY,
    TEXT,
    Echo,
    close_frame,
    frame,
    gone,
    handshake,
    open_on,
    read_close,
    read_frame,
)

START = {"type": "http.response.start", "status": 200}


@pytest.mark.usefixtures("asgi_under")
def test_hints_files_and_trailers(shop: Files, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789abcdef" * 200_000)

    async def application(scope, receive, send):
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
        await send({**START, "trailers": scope["path"] == "/trailers"})
        await send({"type": "http.response.pathsend", "path": str(path)})
        if scope["path"] == "/trailers":
            await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"5")]})

    with Engine(application, "asgi", tls=shop.server()) as engine, connect(engine) as client:
        for _ in range(2):
            assert client.get("/").headers == {"link": "</a>; rel=preload"}
            assert client.response().body == path.read_bytes()
        client.send(b"GET /trailers HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
        assert client.head()[0] == 103
        assert client.head()[0] == 200
        whole = b""
        while size := int(client.read_until(b"\r\n"), 16):
            whole += client.read_exactly(size + 2)[:-2]
        assert whole == path.read_bytes()
        assert client.read_until(b"\r\n\r\n") == b"x-sum: 5\r\n\r\n"


def test_the_scope_and_the_ends_of_a_websocket(shop: Files) -> None:
    echo = Echo()
    with Engine(echo, "asgi", tls=shop.server()) as engine:
        with connect(engine) as client:
            open_on(client)
            client.send(frame(TEXT, b"hello"))
            assert read_frame(client) == (TEXT, b"hello")
            client.send(close_frame(1000))
            assert read_close(client) == (1000, "")
            assert client.at_end()
        with connect(engine) as client:
            open_on(client)
            client.send(frame(3) + frame(TEXT, b"more") * 100)
            assert read_close(client)[0] == 1002
        with connect(engine) as client:
            client.send(handshake(without=b"Sec-WebSocket-Version"))
            assert client.response().status == 426
        with connect(engine) as client:
            open_on(client)
            engine.call(lambda: engine.server.drain(False))
            assert read_close(client)[0] == 1012
            client.send(close_frame(1012))
        gone(engine)
        assert all(" debug " in line for line in engine.log.splitlines())
    assert echo.scopes[0]["scheme"] == "wss"
    assert set(echo.scopes[0]["extensions"]) == {"websocket.http.response", "tls", "gwctl.draining"}


def test_messages_nobody_receives_are_held_back(shop: Files) -> None:
    async def application(scope, receive, send):
        await receive()
        await send(ACCEPTED)
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            received.append(len(message["bytes"]))

    go = asyncio.Event()
    received: list[int] = []
    with Engine(application, "asgi", tls=shop.server()) as engine, connect(engine) as client:
        open_on(client)
        client.sock.settimeout(0.5)
        one = frame(BINARY, b"x" * 10_000)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 40_000_000:
                client.sock.sendall(one)
                sent += len(one)
        (connection,) = engine.call(engine.server.websockets._all)
        assert engine.call(lambda: connection._queued) < 200_000
        assert engine.call(lambda: connection._reader.held) < 1_000_000
        engine.call(go.set)
        client.sock.close()
        gone(engine)
    assert sum(received) >= 10_000


@pytest.mark.parametrize("kind", ["websocket", "file"])
def test_a_client_that_takes_nothing_is_cut_off(shop: Files, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 28)

    async def application(scope, receive, send):
        if scope["type"] == "http":
            await send(START)
            await send({"type": "http.response.pathsend", "path": str(path)})
            return
        await receive()
        await send(ACCEPTED)
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 1_000_000})

    settings = WebSocketSettings(ping_interval_s=0)
    with (
        Engine(
            application,
            "asgi",
            tls=shop.server(),
            timeouts={"response_timeout_s": 0.5},
            websocket=settings,
        ) as engine,
        connect(engine) as client,
    ):
        if kind == "file":
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        else:
            open_on(client)
        until(lambda: "the client took no byte for 0.5 s" in engine.log, "the client to be cut off")
        until(lambda: not engine.call(lambda: engine.server.connections), "the connection to end")
        gone(engine)
