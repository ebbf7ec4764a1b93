"""A connection handed over becomes a WebSocket, and ends with a close frame, never with a reset."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gwctl.config.model.settings import PoolSettings
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.exchange.request_rules import Refused
from gwctl.workers.http1.response_head import HeadBuilder
from gwctl.workers.websocket.registry import WebSockets
from gwctl.workers.websocket.surroundings import Surroundings

HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Upgrading(asyncio.Protocol):
    """Stands for the engine: reads one head and hands the connection over."""

    def __init__(self, sockets: WebSockets) -> None:
        self.sockets = sockets
        self.data = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        head, end, rest = self.data.partition(b"\r\n\r\n")
        if not end:
            return
        pairs = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
        scope = {
            "client": ("192.0.2.1", 7),
            "server": ("198.51.100.1", 443),
            "scheme": "https",
            "path": "/chat",
            "raw_path": b"/chat",
            "query_string": b"room=1",
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in pairs],
        }
        try:
            self.sockets.hand_over(self.transport, rest, scope, lambda: lambda status, size: None)
        except Refused as refused:
            self.transport.write(HeadBuilder(bytes).error(refused.status))
            self.transport.close()


class Running:
    def __init__(self, port, sockets, changes):
        self.port = port
        self.url = f"ws://127.0.0.1:{port}/chat?room=1"
        self.sockets = sockets
        self.changes = changes

    async def idle(self):
        await self.until(lambda: self.sockets.idle)

    async def until(self, condition):
        while not condition():
            await asyncio.wait_for(self.changes.wait(), 20)
            self.changes.clear()


@contextlib.asynccontextmanager
async def serving(application, state=None):
    loop = asyncio.get_running_loop()
    changes = asyncio.Event()
    log = Log(2, Level.ERROR, "web.0 g1")
    settings = PoolSettings(app="test")
    sockets = WebSockets(
        Surroundings(loop, application, state or {}, settings, HeadBuilder(bytes), log, changes.set)
    )
    server = await loop.create_server(lambda: Upgrading(sockets), "127.0.0.1", 0)
    try:
        yield Running(server.sockets[0].getsockname()[1], sockets, changes)
    finally:
        server.close()


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), 20))


async def echo(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "headers": [(b"Set-Cookie", b"A=B")]})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            scope["state"].setdefault("codes", []).append(message["code"])
            return
        await send({"type": "websocket.send", "text": message["text"]})


def test_echo_and_close_by_the_client():
    async def scenario():
        state = {"codes": []}
        async with serving(echo, state) as running:
            async with connect(running.url) as client:
                await client.send("hello")
                assert await client.recv() == "hello"
                assert client.response.headers["Set-Cookie"] == "A=B"
                assert len(running.sockets) == 1
                assert not running.sockets.idle
            await running.idle()
            assert len(running.sockets) == 0
            assert state["codes"] == [1000]

    run(scenario)


def test_the_scope_is_what_the_engine_knows():
    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)
        await send({"type": "websocket.close"})

    async def scenario():
        async with serving(application) as running:
            with pytest.raises(Exception, match="403"):
                await connect(running.url).__aenter__()
            await running.idle()

    run(scenario)
    assert scopes[0]["type"] == "websocket"
    assert scopes[0]["client"] == ("192.0.2.1", 7)
    assert scopes[0]["scheme"] == "wss"
    assert scopes[0]["path"] == "/chat"
    assert scopes[0]["query_string"] == b"room=1"


def test_drain_says_1012_to_everyone_while_they_still_send():
    async def scenario():
        state = {"codes": []}

        async def talk(client, speaks):
            try:
                while True:
                    if speaks:
                        await client.send("x" * 1000)
                    await client.recv()
            except ConnectionClosed as end:
                return end.rcvd.code

        async with serving(echo, state) as running:
            clients = [await connect(running.url).__aenter__() for _ in range(20)]
            talks = [asyncio.create_task(talk(client, n % 2)) for n, client in enumerate(clients)]
            await asyncio.sleep(0)
            running.sockets.drain(0.05)
            assert await asyncio.gather(*talks) == [1012] * 20
            await running.idle()
            # One that was sending at that moment learns of it from send(), not from receive().
            assert 10 <= len(state["codes"]) <= 20
            assert set(state["codes"]) == {1012}

    run(scenario)


def test_quit_closes_all_and_counts_them():
    async def scenario():
        async with serving(echo) as running:
            client = await connect(running.url).__aenter__()
            assert running.sockets.quit() == 1
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd.code == 1012
            await running.idle()

    run(scenario)


def test_an_application_that_is_tidying_up_keeps_the_worker_busy():
    gate = asyncio.Event()

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await gate.wait()

    async def scenario():
        async with serving(application) as running:
            async with connect(running.url):
                pass
            await running.until(lambda: len(running.sockets) == 0)
            assert not running.sockets.idle
            gate.set()
            await running.idle()

    run(scenario)


def test_sending_waits_for_a_client_that_does_not_read():
    sent = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 1_000_000})
            sent.append(1)

    async def scenario():
        async with serving(application) as running:
            # A bare stream reads 64 KiB ahead and no more.
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            (connection,) = running.sockets._all()
            while connection._full is None:  # noqa: ASYNC110 - nobody can be told when an Event is cleared
                await asyncio.sleep(0)
            assert len(sent) < 60
            writer.transport.abort()
            await running.idle()

    run(scenario)


def test_a_handshake_that_the_library_refuses_gets_an_answer():
    """Extensions are the only part of a handshake that the library judges."""

    async def scenario():
        async with serving(echo) as running:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(HANDSHAKE[:-2] + b"Sec-WebSocket-Extensions: ;;;\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            writer.close()
            await running.idle()

    run(scenario)
