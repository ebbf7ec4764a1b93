"""No client has more than a short part of one turn of the loop, whatever it puts into one read.

Counted in turns and not in time: what is given to a connection at once must take as many turns
as it has parts to bound, and others are served in each of them.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gwctl.workers.http1.body_framing import CHUNKS_MAX
from gwctl.workers.transport.tls import READS_MAX
from gwctl.workers.websocket.frames import FRAME_WORK
from gwctl.workers.websocket.protocol import TURN_WORK
from gwctl.workers.websocket.send import PACK_BYTES
from tests.support import engine_apps
from tests.support.engine import WORKER_CLASSES, Client, Engine
from tests.support.tls import Files, client_context
from tests.support.tls import connect as connect_tls
from tests.support.wait import until
from tests.support.websocket import (
    CONT,
    PING,
    PONG,
    TEXT,
    Echo,
    close_frame,
    frame,
    open_on,
    read_close,
    read_frame,
)

POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


class Turns:
    """Counts turns of an engine's loop while ``goes_on`` is true, from the one in which ``act`` is called."""

    def __init__(self, engine: Engine, act: Callable[[], None], goes_on: Callable[[], bool]) -> None:
        self.count = 0
        self.over = False
        self._loop = engine.loop
        self._goes_on = goes_on

        def begin() -> None:
            act()
            self._tick()

        engine.call(begin)
        until(lambda: self.over, "what was given to be taken")

    def _tick(self) -> None:
        if self._goes_on():
            self.count += 1
            self._loop.call_soon(self._tick)
        else:
            self.over = True


@pytest.mark.parametrize("buffering", [True, False])
@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_chunks_of_one_byte(worker_class: str, buffering: bool) -> None:
    """Under sync without buffering the call reads for itself: nobody waits for the loop then."""
    count = 20_000
    application = engine_apps.application(worker_class)
    with (
        Engine(application, worker_class, body_buffering=buffering) as engine,
        engine.connect() as client,
    ):
        assert client.get("/").body == b"hello"
        connection = engine.only_connection()
        client.send(CHUNKED)
        until(lambda: connection.framer is not None, "the head")
        if worker_class == "sync" and not buffering:
            client.send(b"1\r\nx\r\n" * count + LAST)
        else:
            turns = Turns(
                engine,
                lambda: connection.data_received(b"1\r\nx\r\n" * count + LAST),
                lambda: connection.framer is not None,
            )
            assert turns.count >= count // CHUNKS_MAX
        assert client.response().body == b"x" * count
        assert client.get("/").body == b"hello"


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_chunks_of_one_byte_that_nobody_reads(worker_class: str) -> None:
    """The application has answered; the body is skipped so that the connection can go on."""
    count = 20_000

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    def wsgi(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    application = asgi if worker_class == "asgi" else wsgi
    with (
        Engine(application, worker_class, body_buffering=False) as engine,
        engine.connect() as client,
    ):
        client.send(CHUNKED)
        assert client.response().status == 204
        connection = engine.only_connection()
        assert connection.framer is not None
        turns = Turns(
            engine,
            lambda: connection.data_received(b"1\r\nx\r\n" * count + LAST),
            lambda: connection.framer is not None,
        )
        assert turns.count >= count // CHUNKS_MAX
        assert client.get("/").status == 204


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 1000, 1536, 1537])
def test_chunks_that_come_while_others_wait(worker_class: str, cut: int) -> None:
    """However the input is cut, what is held is taken in order, and what follows the body is a request."""
    body = b"".join(b"%x\r\n%b\r\n" % (size, b"y" * size) for size in (1, 2, 3, 17) * 300)
    data = body + LAST + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        Engine(engine_apps.application(worker_class), worker_class) as engine,
        engine.connect() as client,
    ):
        client.send(CHUNKED)
        connection = until(lambda: engine.call(engine.server.open_connections), "the connection")[0]
        until(lambda: connection.framer is not None, "the head")

        def feed() -> None:
            connection.data_received(data[:-cut])
            for at in range(len(data) - cut, len(data)):
                connection.data_received(data[at : at + 1])

        engine.call(feed)
        assert client.response().body == b"y" * (23 * 300)
        assert client.response().body == b"hello"


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_a_fault_behind_many_chunks(worker_class: str) -> None:
    with (
        Engine(engine_apps.application(worker_class), worker_class) as engine,
        engine.connect() as client,
    ):
        client.send(CHUNKED + b"1\r\nx\r\n" * 2000 + b"nonsense\r\n")
        assert client.response().status == 400
        assert client.at_end()


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_a_client_that_leaves_behind_many_chunks(worker_class: str) -> None:
    """Its body is whole: it is answered, whatever it still hears."""
    with (
        Engine(engine_apps.application(worker_class), worker_class) as engine,
        engine.connect() as client,
    ):
        client.send(CHUNKED + b"1\r\nx\r\n" * 20_000 + LAST)
        client.finish_sending()
        assert client.response().body == b"x" * 20_000


@pytest.mark.parametrize("buffering", [True, False])
@pytest.mark.parametrize("worker_class", ["asgi", "threads"])
def test_the_end_comes_before_many_chunks_are_taken(worker_class: str, buffering: bool) -> None:
    count = 20_000
    with (
        Engine(engine_apps.application(worker_class), worker_class, body_buffering=buffering) as engine,
        engine.connect() as client,
    ):
        assert client.get("/").body == b"hello"
        connection = engine.only_connection()
        client.send(CHUNKED)
        until(lambda: connection.framer is not None, "the head")

        def come() -> None:
            connection.data_received(b"1\r\nx\r\n" * count + LAST)
            assert connection.framer.behind
            if not connection.eof_received():
                connection.transport.close()

        engine.call(come)
        assert client.response().body == b"x" * count


@pytest.mark.parametrize("buffering", [True, False])
@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_many_chunks_sent_ahead_by_a_client_that_sends_no_more(worker_class: str, buffering: bool) -> None:
    """Its end is known before its body is read: the body is whole all the same."""
    data = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + CHUNKED + b"1\r\nx\r\n" * 2000 + LAST
    with (
        Engine(engine_apps.application(worker_class), worker_class, body_buffering=buffering) as engine,
        engine.connect() as client,
    ):
        assert client.get("/").body == b"hello"
        connection = engine.only_connection()

        def feed() -> None:
            connection.data_received(data)
            connection.eof_received()

        engine.call(feed)
        for _ in range(3):
            assert client.response().body == b"hello"
        assert client.response().body == b"x" * 2000
        assert client.at_end()


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_requests_sent_ahead(worker_class: str) -> None:
    """One in a turn."""
    count = 500
    with (
        Engine(engine_apps.application(worker_class), worker_class) as engine,
        engine.connect() as client,
    ):
        assert client.get("/").body == b"hello"
        connection = engine.only_connection()
        data = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * count
        turns = Turns(engine, lambda: connection.data_received(data), lambda: bool(connection.tail))
        assert turns.count >= count - 1
        for _ in range(count):
            assert client.response().body == b"hello"


class TlsPeer:
    """A client whose records are made here, so that many can be given to the server at once."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = client_context().wrap_bio(self.incoming, self.outgoing, server_hostname="shop.example")
        while True:
            try:
                self.ssl.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.send(self.outgoing.read())
                self.incoming.write(client.sock.recv(65536))
        client.send(self.outgoing.read())

    def records(self, data: bytes, size: int) -> bytes:
        for at in range(0, len(data), size):
            self.ssl.write(data[at : at + size])
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        self.client.send(self.records(data, 16384))

    def read_until(self, mark: bytes) -> bytes:
        found = b""
        while mark not in found:
            try:
                found += self.ssl.read(65536)
            except ssl.SSLWantReadError:
                data = self.client.sock.recv(65536)
                assert data, found[-200:]
                self.incoming.write(data)
        return found


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_tls_records_of_one_byte(worker_class: str, tmp_path: Path) -> None:
    count = 5000
    shop = Files(tmp_path, "shop.example")
    with (
        Engine(engine_apps.application(worker_class), worker_class, tls=shop.server()) as engine,
        engine.connect() as raw,
    ):
        peer = TlsPeer(raw)
        peer.send(POST + b"Content-Length: %d\r\n\r\n" % count)
        connection = until(
            lambda: [one for one in engine.server.open_connections() if one.framer], "the head"
        )[0]
        layer = connection.tls
        records = peer.records(b"z" * count, 1)
        turns = Turns(engine, lambda: layer.data_received(records), lambda: connection.framer is not None)
        assert turns.count >= count // READS_MAX - 1
        assert b"z" * count in peer.read_until(b"z" * count)
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.read_until(b"hello")


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_tls_records_that_end(worker_class: str, tmp_path: Path) -> None:
    """The client's end comes behind more records than one turn takes: it is seen, and not before them."""
    count = 1000
    shop = Files(tmp_path, "shop.example")
    with (
        Engine(engine_apps.application(worker_class), worker_class, tls=shop.server()) as engine,
        engine.connect() as raw,
    ):
        peer = TlsPeer(raw)
        head = POST + b"Content-Length: %d\r\n\r\n" % count
        raw.send(peer.records(head + b"z" * count, 1))
        raw.finish_sending()
        assert b"z" * count in peer.read_until(b"z" * count)
        until(lambda: not engine.call(engine.server.open_connections), "the connection to be closed")


@pytest.mark.parametrize("tls", [False, True])
def test_websocket_frames(tls: bool, tmp_path: Path) -> None:
    """Pings, empty fragments and tiny messages; over TLS in many records, which share the turn."""
    shop = Files(tmp_path, "shop.example")
    options: dict[str, Any] = {"tls": shop.server()} if tls else {}
    with (
        Engine(Echo(), "asgi", **options) as engine,
        connect_tls(engine) if tls else engine.connect() as client,
    ):
        open_on(client)
        (connection,) = engine.call(engine.server.websockets._all)
        count = 10_000
        piece = frame(PING) + frame(TEXT, b"a", fin=False) + frame(CONT, b"") + frame(TEXT, b"b")
        data = piece * (count // 4)

        def give() -> None:
            for at in range(0, len(data), 16_384):
                connection.data_received(data[at : at + 16_384])

        turns = Turns(engine, give, lambda: connection._reader.pending > 0)
        assert turns.count >= count * FRAME_WORK // TURN_WORK - 1
        pongs = texts = 0
        while pongs + texts < 3 * count // 4:
            opcode, _ = read_frame(client)
            pongs, texts = pongs + (opcode == PONG), texts + (opcode == TEXT)
        assert pongs == count // 4
        client.send(close_frame(1000))
        assert read_close(client)[0] == 1000


def test_a_flood_of_pings_leaves_others_their_turn() -> None:
    """Between any two answers to the others, no more pings are answered than one turn has room for."""
    with Engine(Echo(), "asgi") as engine, engine.connect() as client, engine.connect() as other:
        open_on(client)
        open_on(other)
        connections = engine.call(engine.server.websockets._all)
        flooded = next(
            one
            for one in connections
            if one.transport.get_extra_info("peername") == client.sock.getsockname()
        )
        quiet = next(one for one in connections if one is not flooded)
        served: list[int] = []
        count = 20_000
        data = frame(PING) * count

        def act() -> None:
            flooded.data_received(data)

        def goes_on() -> bool:
            served.append(flooded._reader.pending)
            quiet.data_received(frame(TEXT, b"x"))
            return bool(flooded._reader.pending)

        Turns(engine, act, goes_on)
        steps = [before - after for before, after in pairwise(served)]
        assert max(steps) <= (TURN_WORK // FRAME_WORK + 1) * len(frame(PING))
        for _ in served:
            assert read_frame(other) == (TEXT, b"x")


PACKED = b"Sec-WebSocket-Extensions: permessage-deflate"


def read_packed(client: Client, unpacker: Any) -> bytes:
    first, size = client.read_exactly(2)
    assert first == 0xC2
    if size >= 126:
        size = int.from_bytes(client.read_exactly(2 if size == 126 else 8), "big")
    payload: bytes = unpacker.decompress(client.read_exactly(size) + b"\0\0\xff\xff")
    return payload


def test_a_large_message_is_compressed_in_parts() -> None:
    """Others have their turn meanwhile; what else is sent keeps its place, and refers to what was sent alone."""
    large = b"".join(b"%d," % number for number in range(200_000))
    turns = 0
    counted = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        nonlocal turns
        await receive()
        await send({"type": "websocket.accept"})
        loop = asyncio.get_running_loop()

        def tick() -> None:
            nonlocal turns
            turns += 1
            if not counted:
                loop.call_soon(tick)

        tick()
        sending = asyncio.ensure_future(send({"type": "websocket.send", "bytes": large}))
        await asyncio.sleep(0)
        others = [
            asyncio.ensure_future(send({"type": "websocket.send", "bytes": b"%d" % n})) for n in range(3)
        ]
        await sending
        counted.append(turns)
        await asyncio.gather(*others)
        cut = asyncio.ensure_future(send({"type": "websocket.send", "bytes": large[::-1]}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        cut.cancel()
        await send({"type": "websocket.send", "bytes": large[-70_000:]})
        asyncio.get_running_loop().call_soon(engine.server.websockets.drain, 0.0)
        with pytest.raises(OSError):
            await send({"type": "websocket.send", "bytes": large})

    with Engine(application, "asgi") as engine, engine.connect() as client:
        open_on(client, PACKED)
        unpacker = zlib.decompressobj(-15)
        assert read_packed(client, unpacker) == large
        assert [read_packed(client, unpacker) for _ in range(3)] == [b"0", b"1", b"2"]
        assert read_packed(client, unpacker) == large[-70_000:]
        assert read_close(client)[0] == 1012
        client.send(close_frame(1012))
        assert client.at_end()
    assert counted[0] >= len(large) // PACK_BYTES
    assert engine.log == ""
