"""No client makes the server hold, or show, many times what it sent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from gwctl.workers.websocket.deflate import Inflater
from tests.support import engine_apps
from tests.support.engine import WORKER_CLASSES, Client, Engine
from tests.support.tls import Files, connect
from tests.support.wait import until
from tests.support.websocket import ACCEPTED, BINARY, close_frame, frame, open_on, read_close

MIB = 1 << 20
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_long_forwarded_fields_are_not_remembered(worker_class: str) -> None:
    """4096 combinations are, whose values a client chooses: of 60 kB each they would be 250 MB for ever."""
    with Engine(engine_apps.application(worker_class), worker_class) as engine, engine.connect() as client:
        assert engine.server.forwarding is not None
        remembered = engine.server.forwarding._changes.cache_info
        for number in range(5):
            client.get("/", *[f"X-Forwarded-For: {number}{'9' * 500}"] * 20)
        assert remembered().currsize == 0
        client.get("/", "X-Forwarded-For: 203.0.113.9")
        assert remembered().currsize == 1


@pytest.mark.parametrize("name", ["sync", "threads"])
def test_chunks_of_one_byte_are_no_objects_in_a_stream(name: str) -> None:
    """Requests wait for a free worker with what has come of their bodies."""
    go = threading.Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        go.wait(20)
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body]

    size = 60_000
    with Engine(application, name, body_buffering=False) as engine, engine.connect() as client:
        client.send(CHUNKED + b"1\r\nx\r\n" * size)
        if name == "threads":
            stream = until(lambda: engine.only_connection().request, "the request to begin")
            until(lambda: stream.waiting == size, "the body to be there")
            assert len(stream._blocks) == 0
            assert len(stream._joined) == size
        go.set()
        client.send(b"0\r\n\r\n")
        assert client.response().body == b"x" * size


def test_chunks_of_two_bytes_are_no_objects_in_asgi() -> None:
    go = asyncio.Event()

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        body, more = b"", True
        while more:
            message = await receive()
            assert type(message["body"]) is bytes
            body += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})

    size = 30_000
    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(CHUNKED + b"7D0\r\n" + b"y" * 2000 + b"\r\n" + b"2\r\nxy\r\n" * size)
        request = until(lambda: engine.only_connection().request, "the request to begin")
        until(lambda: request.waiting_bytes == 2000 + 2 * size, "the body to be there")
        assert len(request._blocks) < 10
        engine.call(go.set)
        client.send(b"0\r\n\r\n")
        assert client.response().body == b"y" * 2000 + b"xy" * size


def test_what_comes_packed_after_our_close_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One read of the socket can hold 250 MB of zeros; nobody wants them."""
    unpacked = []
    step = Inflater.step

    def watched(inflater: Inflater, packed: bytes) -> tuple[bytes, bytes, bool]:
        unpacked.append(packed)
        return step(inflater, packed)

    monkeypatch.setattr(Inflater, "step", watched)

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await receive()
        await send({"type": "websocket.close"})
        await receive()

    packed = zlib.compress(bytes(MIB), 9, wbits=-15)
    with Engine(application, "asgi") as engine, engine.connect() as client:
        open_on(client, b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover")
        client.send(frame(BINARY, zlib.compress(b"now", wbits=-15), rsv=4))
        assert read_close(client)[0] == 1000
        assert unpacked
        unpacked.clear()
        client.send(frame(BINARY, packed, rsv=4) * 60 + close_frame(1000))
        assert client.at_end()
        until(lambda: not engine.call(lambda: engine.server.connections), "the end")
        assert not unpacked


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_a_client_that_does_not_read_what_tls_says_is_cut_off(worker_class: str, tmp_path: Path) -> None:
    """Each key update that it asks for is answered; here the answers are put where OpenSSL puts them."""
    shop = Files(tmp_path, "shop.example")
    with (
        Engine(engine_apps.application(worker_class), worker_class, tls=shop.server()) as engine,
        connect(engine) as client,
    ):
        assert client.get("/").body == b"hello"
        layer = engine.only_connection().tls
        engine.call(lambda: layer._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096))
        held = 0

        def answers() -> int:
            layer._outgoing.write(b"?" * 1000)
            layer._flush()
            size: int = layer.raw.get_write_buffer_size()
            return size

        for _ in range(10_000):
            held = max(held, engine.call(answers))
            if engine.call(layer.is_closing):
                break
        assert engine.call(layer.is_closing)
        assert held < 100_000
        assert "does not read its answers" in engine.log


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_a_client_that_reads_them_is_not(worker_class: str, tmp_path: Path) -> None:
    shop = Files(tmp_path, "shop.example")
    with (
        Engine(engine_apps.application(worker_class), worker_class, tls=shop.server()) as engine,
        engine.connect() as raw,
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inside = context.wrap_bio(incoming, outgoing)
        shake_hands(inside, incoming, outgoing, raw)
        layer = until(lambda: engine.only_connection().tls, "the handshake to be seen by the server")
        size = 1000

        def answers() -> None:
            layer._outgoing.write(b"?" * size)
            layer._flush()

        for _ in range(200):
            engine.call(answers)
            raw.read_until(b"?" * size)
        assert not engine.call(layer.is_closing)


def shake_hands(inside: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, raw: Client) -> None:
    while True:
        with contextlib.suppress(ssl.SSLWantReadError):
            inside.do_handshake()
            raw.send(outgoing.read())
            return
        raw.send(outgoing.read())
        incoming.write(raw.receive())
