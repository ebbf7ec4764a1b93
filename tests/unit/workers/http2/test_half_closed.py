"""Clients that end their side when they have asked: they are answered, as over HTTP/1."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import hpack
import pytest

from gwctl.workers.http2 import wire
from tests.support import engine_apps
from tests.support.engine import Client, Engine
from tests.support.http2 import Http2Client
from tests.support.memory_wire import Reset
from tests.support.tls import Files, client_context
from tests.support.wait import DEADLINE_S, until

Start = Callable[..., Http2Client]


class Held:
    """Applications that answer when they are let go, with ``body``."""

    def __init__(self, body: bytes = b"held") -> None:
        self.body = body
        self.gate = threading.Event()
        self.here = threading.Semaphore(0)
        self.told = threading.Event()

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        self.here.release()
        self.gate.wait(60)
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/blocks":
            return iter([self.body, self.body])
        return [self.body]

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        self.here.release()
        if scope["path"] == "/listens":
            await engine_apps.departure(receive)
            self.told.set()
            return
        await asyncio.get_running_loop().run_in_executor(None, self.gate.wait, 60)
        await send({"type": "http.response.start", "status": 200})
        more = scope["path"] == "/blocks"
        await send({"type": "http.response.body", "body": self.body, "more_body": more})
        if more:
            await send({"type": "http.response.body", "body": self.body})


def half_close(client: Http2Client) -> None:
    client.sock.shutdown(socket.SHUT_WR)


def test_what_was_asked_for_is_answered(start: Start) -> None:
    held = Held()
    client = start(held.wsgi, held.asgi, threads=2)
    streams = [client.open("/blocks") for _ in range(3)]
    assert held.here.acquire(timeout=60)
    half_close(client)
    if client.engine.application.worker_class.holds_loop:
        held.gate.set()
    else:
        until(lambda: client.goaways, "the GOAWAY")
        assert client.goaways == [(streams[-1].stream_id, wire.NO_ERROR)]
        held.gate.set()
    for stream in streams:
        assert stream.whole().body == b"heldheld"
    assert client.goaway() == (streams[-1].stream_id, wire.NO_ERROR)
    until(
        lambda: not client.engine.call(lambda: client.engine.server.connections), "the connection to be gone"
    )


def test_a_request_that_comes_with_the_end_is_answered(start: Start) -> None:
    client = start(client={"reads": False})
    streams = [client.open("/stream"), client.open("/echo", "POST", body=b"x" * 1000)]
    half_close(client)
    client.read()
    assert [each.whole().body for each in streams] == [b"onetwothree", b"x" * 1000]


def test_the_end_comes_right_behind_the_last_response() -> None:
    """That is complete, and leaves at the end of the turn of the loop."""
    connections: list[Any] = []

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"whole"})
        (connection,) = connections
        assert not connection.streams
        if not connection.eof_received():
            connection.transport.close()

    with Engine(answers, "asgi", http=("h2", "h1")) as engine, Http2Client(engine) as client:
        connections.append(client.connection)
        assert client.open("/").whole().body == b"whole"
        assert client.ended.wait(DEADLINE_S)


def test_more_than_the_socket_takes_at_once(start: Start) -> None:
    held = Held(b"x" * 4_000_000)
    held.gate.set()
    client = start(held.wsgi, held.asgi, client={"reads": False})
    stream = client.open("/blocks", window=10_000_000)
    half_close(client)
    client.read()
    assert len(stream.whole().body) == 8_000_000


def test_what_its_windows_have_no_room_for_is_cut(start: Start) -> None:
    """Nothing will ever make room for it."""
    held = Held(b"x" * 200_000)
    held.gate.set()
    client = start(held.wsgi, held.asgi, threads=1)
    stuck, other = client.open("/blocks", window=1000), client.open("/", window=1_000_000)
    half_close(client)
    assert isinstance(stuck.end(), Reset)
    assert len(stuck.body) == 1000
    assert other.whole().body == held.body
    assert client.ended.wait(DEADLINE_S)


@pytest.mark.parametrize("buffered", [True, False])
def test_half_a_body_is_no_request(start: Start, worker_class: str, buffered: bool) -> None:
    called = threading.Event()
    told = threading.Event()

    def wsgi(environ: Any, start_response: Any) -> Any:
        called.set()
        try:
            environ["wsgi.input"].read()
        except OSError:
            told.set()
        start_response("200 OK", [])
        return []

    async def asgi(_scope: Any, receive: Any, _send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]
        told.set()

    client = start(wsgi, asgi, body_buffering=buffered)
    stream = client.post("/", (b"content-length", b"10"), body=b"half")
    if buffered and worker_class != "asgi":
        client.exchange(stream)
    half_close(client)
    assert client.ended.wait(DEADLINE_S)
    if buffered and worker_class != "asgi":
        assert not called.is_set()
    else:
        assert told.wait(DEADLINE_S)


def test_a_body_that_has_come_is_read_to_its_end(start: Start) -> None:
    """Though the application takes it long after its client has ended its side."""
    body = b"y" * 190_000  # as much as the window has room for, nearly
    gate = threading.Event()

    def wsgi(environ: Any, start_response: Any) -> Any:
        gate.wait(60)
        start_response("200 OK", [])
        return [b"%d" % len(environ["wsgi.input"].read())]

    async def asgi(_scope: Any, receive: Any, send: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(None, gate.wait, 60)
        got = await engine_apps.whole_body(receive)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"%d" % len(got)})

    client = start(wsgi, asgi, body_buffering=False)
    if client.engine.application.worker_class.holds_loop:
        gate.set()  # else nobody reads
    stream = client.open("/", "POST", body=body)
    half_close(client)
    if not gate.is_set():
        until(lambda: client.goaways, "the GOAWAY")
    gate.set()
    assert stream.whole().body == b"190000"


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_a_client_that_is_gone_for_good_is_noticed(start: Start) -> None:
    held = Held()
    client = start(held.wsgi, held.asgi, threads=1)
    client.open()
    assert held.here.acquire(timeout=60)
    client.disconnect()
    until(
        lambda: not client.engine.call(lambda: client.engine.server.connections), "the connection to be gone"
    )
    held.gate.set()


@pytest.mark.parametrize("worker_class", ["asgi"])
def test_an_application_that_listens_is_told(start: Start) -> None:
    held = Held()
    client = start(held.wsgi, held.asgi)
    client.open("/listens")
    assert held.here.acquire(timeout=60)
    half_close(client)
    assert held.told.wait(DEADLINE_S)


class TlsClient:
    """TLS over ``client``, of which nothing is read but when it is asked for.

    OpenSSL takes it amiss if something comes behind its own close_notify while it says that.
    """

    def __init__(self, client: Client, context: ssl.SSLContext) -> None:
        self._sock = client.sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="shop.example")
        while not self._did(self._tls.do_handshake):
            self._take()

    def _did(self, step: Callable[[], Any]) -> bool:
        try:
            step()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._sock.sendall(self._outgoing.read())
        return True

    def _take(self) -> bool:
        data = self._sock.recv(65536)
        self._incoming.write(data)
        return bool(data)

    def send(self, data: bytes) -> None:
        self._did(lambda: self._tls.write(data))

    def say_close_notify(self) -> None:
        assert not self._did(self._tls.unwrap)  # the peer has not said its own

    def rest(self) -> bytes:
        """Read until the peer's close_notify, or the end."""
        data = b""
        while True:
            try:
                block = self._tls.read(65536)
            except ssl.SSLWantReadError:
                if not self._take():
                    return data
                continue
            except ssl.SSLZeroReturnError:  # it is told so where ours was said before
                block = b""
            if not block:
                return data
            data += block


@pytest.mark.parametrize("polite", [True, False])
def test_the_end_of_tls(worker_class: str, shop: Files, polite: bool) -> None:
    """Said by close_notify, or only by the connection below."""
    held = Held()
    application = held.asgi if worker_class == "asgi" else held.wsgi
    context = client_context()
    context.set_alpn_protocols(["h2"])
    with (
        Engine(application, worker_class, tls=shop.server(), http=("h2", "h1")) as engine,
        engine.connect() as below,
    ):
        client = TlsClient(below, context)
        fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/blocks"), (b":authority", b"x")]
        block = hpack.Encoder().encode(fields)
        head = wire.header_frames(1, block, wire.END_STREAM, wire.FRAME_BYTES_MAX)
        client.send(wire.PREFACE + wire.settings_frame([]) + head)
        assert held.here.acquire(timeout=60)
        if polite:
            client.say_close_notify()
        else:
            below.sock.shutdown(socket.SHUT_WR)
        held.gate.set()
        assert client.rest().count(b"held") == 2
