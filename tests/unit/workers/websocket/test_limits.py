"""WebSockets: what one client can make the server hold is bounded, in memory and in time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from gwctl.config.model.settings import WebSocketSettings
from tests.support.engine import Client, Engine
from tests.support.wait import until
from tests.support.websocket import (
    BINARY,
    CONT,
    PING,
    PONG,
    TEXT,
    frame,
    handshake,
    open_on,
    read_close,
    read_frame,
)

ACCEPT = {"type": "websocket.accept"}


def only(engine: Engine) -> Any:
    (connection,) = engine.call(engine.server.websockets._all)
    return connection


def push(client: Client, data: bytes, times: int) -> int:
    """Send ``data`` until the kernel takes no more for a moment; return how many bytes it took."""
    client.sock.settimeout(0.5)
    sent = 0
    try:
        for _ in range(times):
            client.sock.sendall(data)
            sent += len(data)
    except TimeoutError:
        pass
    finally:
        client.sock.settimeout(20)
    return sent


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 1000, b"x" * 100_000])
def test_messages_nobody_receives_are_held_back(payload: bytes) -> None:
    """The queue and the input that waits behind it are bounded; later all of it arrives, in order."""
    go = asyncio.Event()
    received = []

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            received.append(len(message["bytes"]))

    one = frame(BINARY, payload)
    with Engine(application, "asgi") as engine, engine.connect() as client:
        open_on(client)
        batch = one * max(1, 65536 // len(one))
        most = 40_000_000
        sent = push(client, batch, most // len(batch))
        assert sent < most // 2
        connection = only(engine)
        assert engine.call(lambda: connection._queued) < 65_536 + 1_000_000
        assert engine.call(lambda: connection._reader.held) < 1_000_000
        assert engine.call(lambda: len(connection._queue)) < 4000
        engine.call(go.set)
        client.finish_sending()
        until(lambda: engine.call(lambda: engine.server.websockets.idle), "everything to be received")
        assert sum(received) >= sent // len(one) * len(payload)
        assert set(received) == {len(payload)}


def test_they_are_also_if_reading_had_stopped_before_the_handshake() -> None:
    """The handshake waits behind a request, and so much comes after it that reading has to pause."""
    go = asyncio.Event()

    async def application(scope, receive, send):
        if scope["type"] == "http":
            await go.wait()
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})
            return
        await receive()
        await send(ACCEPT)
        await asyncio.Event().wait()

    frames = memoryview(frame(BINARY, b"x" * 1000) * 40_000)
    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + handshake())
        http = engine.only_connection()
        sent = 0

        def paused() -> bool:
            """Whatever was sent before this thread, or the server's, paused for long."""
            nonlocal sent
            sent += fill(client, frames[sent:])
            return bool(http.read_paused)

        until(paused, "reading to pause")
        engine.call(go.set)
        assert client.head()[0] == 204
        assert client.head()[0] == 101
        assert fill(client, frames[sent:]) < 10_000_000
        connection = only(engine)
        assert engine.call(lambda: connection._reader.held) < 1_000_000


def fill(client: Client, data: memoryview) -> int:
    """Send of ``data`` what the kernel takes; return how much."""
    client.sock.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < len(data):
            sent += client.sock.send(data[sent : sent + 65536])
    client.sock.settimeout(20)
    return sent


@pytest.mark.parametrize("size", [100, 10_000])
def test_a_client_that_sends_much_at_once_leaves_others_their_turn(size: int) -> None:
    """What is held back is fed to an application that never waits; the loop turns in between."""
    go = asyncio.Event()
    turns, run, longest = 0, 0, 0

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        nonlocal turns, run, longest
        await receive()
        await send(ACCEPT)
        await go.wait()
        loop = asyncio.get_running_loop()

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn) if turns < 1_000_000 else None

        turn()
        before = turns
        while (message := await receive())["type"] == "websocket.receive":
            run = run + size if turns == before else 0
            before, longest = turns, max(longest, run)
            if message["bytes"] == b"end":
                turns = 1_000_000
                await send({"type": "websocket.send", "text": str(longest)})

    with Engine(application, "asgi") as engine, engine.connect() as client:
        open_on(client)
        connection = only(engine)
        data = frame(BINARY, b"x" * size) * (250_000 // size)
        engine.call(lambda: connection.data_received(data))  # as one read of the socket may give it
        client.send(frame(BINARY, b"end"))
        engine.call(go.set)
        opcode, text = read_frame(client)
        assert opcode == TEXT
        assert 0 < int(text) < 100_000


def test_a_message_of_countless_fragments_costs_its_bytes() -> None:
    """Not an object for each fragment: 40,000 empty ones are free, and 40,000 bytes are 40,000."""

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        message = await receive()
        await send({"type": "websocket.send", "text": str(len(message["bytes"]))})

    with Engine(application, "asgi") as engine, engine.connect() as client:
        open_on(client)
        client.send(frame(BINARY, b"", fin=False))
        client.send(frame(CONT, b"", fin=False) * 40_000 + frame(CONT, b"x", fin=False) * 40_000)
        client.send(frame(PING, b"here"))
        assert read_frame(client) == (PONG, b"here")
        connection = only(engine)
        assert engine.call(lambda: connection._reader.held) == 40_000
        assert not connection._queue
        client.send(frame(CONT, b""))
        assert read_frame(client) == (TEXT, b"40000")


def test_pings_of_a_client_that_reads_no_pongs_do_not_pile_up() -> None:
    """Only the latest is owed; and a client that takes nothing is cut off."""

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()

    with (
        Engine(application, "asgi", timeouts={"response_timeout_s": 2}) as engine,
        engine.connect(receive_buffer=4096) as client,
    ):
        open_on(client)
        connection = only(engine)
        largest = 0
        with pytest.raises((ConnectionError, TimeoutError)):
            for number in range(100_000):
                client.send(frame(PING, b"%0125d" % number) * 100)
                if number % 50 == 0 and not connection._gone:
                    largest = max(largest, engine.call(connection.transport.get_write_buffer_size))
        assert 0 < largest < 300_000
        until(lambda: engine.call(lambda: engine.server.websockets.idle), "the connection to be cut")
        assert engine.log.count(" warn ") == 1
        assert "the client took no byte for" in engine.log


def test_the_latest_ping_is_answered_when_the_client_reads_again() -> None:
    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.send", "bytes": b"x" * 8_000_000})
        await receive()

    with Engine(application, "asgi") as engine, engine.connect(receive_buffer=4096) as client:
        open_on(client)
        connection = only(engine)
        until(lambda: connection._full is not None, "the buffer to be full")
        client.send(b"".join(frame(PING, b"%d" % number) for number in range(1000)))
        until(lambda: connection._pongs == [b"999"], "the pings to be read")
        assert len(read_frame(client)[1]) == 8_000_000
        assert read_frame(client) == (PONG, b"999")


def test_a_client_that_takes_no_message_is_cut_off_while_others_are_served() -> None:
    raised = []

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        try:
            while scope["path"] == "/flood":
                await send({"type": "websocket.send", "bytes": b"x" * 1_000_000})
        except OSError as error:
            raised.append(error)
            raise
        message = await receive()
        await send({**message, "type": "websocket.send"})

    with (
        Engine(application, "asgi", timeouts={"response_timeout_s": 0.5}) as engine,
        engine.connect(receive_buffer=4096) as client,
    ):
        open_on(client, path=b"/flood")
        with engine.connect() as other:
            open_on(other)
            other.send(frame(TEXT, b"served"))
            assert read_frame(other) == (TEXT, b"served")
        until(lambda: raised, "send() to raise")
        until(lambda: engine.call(lambda: engine.server.websockets.idle), "the connection to be cut")
        assert engine.log.count(" warn ") == 1
        assert "the client took no byte for" in engine.log


def test_a_close_is_not_waited_for_by_a_client_that_takes_nothing(monkeypatch) -> None:
    """What is not taken within the response timeout, close frame included, is thrown away."""
    monkeypatch.setattr("gwctl.workers.websocket.keepalive.CLOSE_WAIT_S", 0.2)

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        asyncio.get_running_loop().call_later(0.1, asyncio.current_task().cancel)  # type: ignore[union-attr]
        await send({"type": "websocket.send", "bytes": b"x" * 8_000_000})

    with (
        Engine(application, "asgi", timeouts={"response_timeout_s": 0.5}) as engine,
        engine.connect(receive_buffer=4096) as client,
    ):
        open_on(client)
        until(lambda: engine.call(lambda: engine.server.websockets.idle), "the connection to be cut")


def test_a_slow_but_reading_client_gets_everything_before_the_close(monkeypatch) -> None:
    """However long it takes, as long as it goes on taking."""
    monkeypatch.setattr("gwctl.workers.websocket.keepalive.CLOSE_WAIT_S", 0.05)

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        task = asyncio.ensure_future(send({"type": "websocket.send", "bytes": b"x" * 8_000_000}))
        await asyncio.sleep(0)
        task.cancel()
        engine.server.websockets.drain(0.0)
        await receive()

    with Engine(application, "asgi") as engine, engine.connect(receive_buffer=4096) as client:
        open_on(client)
        connection = only(engine)
        until(lambda: connection._stage == 3, "the close to be sent")
        left = engine.call(connection.transport.get_write_buffer_size)
        while left > 1_000_000:
            client.buffer += client.sock.recv(200_000)
            left = engine.call(connection.transport.get_write_buffer_size)
        assert read_frame(client)[1] == b"x" * 8_000_000
        assert read_close(client)[0] == 1012


# ---- pings

PINGS = WebSocketSettings(ping_interval_s=0.1, ping_timeout_s=0.3)
PATIENT = WebSocketSettings(ping_interval_s=0.2, ping_timeout_s=1.0)
"""For clients that are not meant to be cut off, and may pause on a busy machine."""


def test_a_client_that_vanished_is_noticed() -> None:
    told = []

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        told.append(await receive())

    with Engine(application, "asgi", websocket=PINGS) as engine, engine.connect() as client:
        open_on(client)
        until(lambda: told, "the application to be told")
        assert read_frame(client)[0] == PING
        assert read_close(client) == (1011, "ping timeout")
        assert client.at_end()
        assert "debug web.0 g1   WebSocket /: nothing came within 0.3 s of a ping; closed" in engine.log
    assert told == [{"type": "websocket.disconnect", "code": 1006, "reason": "ping timeout"}]


@pytest.mark.parametrize("answer", ["pong", "bytes of a message"])
def test_a_client_from_which_something_comes_is_there(answer: str) -> None:
    """Its pong waits behind the message that it is sending."""
    told = []

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        told.append(await receive())

    # A pause of this thread is no silence; the second ping comes when that time is over, and something came.
    patient = WebSocketSettings(ping_interval_s=0.2, ping_timeout_s=2.5)
    with Engine(application, "asgi", websocket=patient) as engine, engine.connect() as client:
        open_on(client)
        if answer != "pong":
            client.send(frame(TEXT, b"", length=1000))
        for _ in range(2):
            opcode, payload = read_frame(client)
            assert opcode == PING
            client.send(frame(PONG, payload) if answer == "pong" else b"xx")
        assert not told


def test_an_application_that_is_behind_is_no_dead_client() -> None:
    """While nothing is read, no pong can be: several ping timeouts pass, and then all goes on."""
    go = threading.Event()

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await asyncio.get_running_loop().run_in_executor(None, go.wait)
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "last":
                await send({"type": "websocket.send", "text": "all received"})

    with Engine(application, "asgi", websocket=PATIENT) as engine, engine.connect() as client:
        open_on(client)
        for _ in range(8):
            client.send(frame(BINARY, b"x" * 50_000))
        connection = only(engine)
        until(lambda: connection._read_paused, "reading to pause")
        begin = engine.loop.time()
        until(lambda: engine.loop.time() > begin + 2.5, "several ping timeouts to pass")
        go.set()
        client.send(frame(TEXT, b"last"))
        opcode, payload = read_frame(client)
        while opcode == PING:
            client.send(frame(PONG, payload))
            opcode, payload = read_frame(client)
        assert (opcode, payload) == (TEXT, b"all received")


def test_no_pings_when_they_are_off() -> None:
    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()

    off = WebSocketSettings(ping_interval_s=0)
    with Engine(application, "asgi", websocket=off) as engine, engine.connect() as client:
        open_on(client)
        assert only(engine)._watch._ping_timer is None
