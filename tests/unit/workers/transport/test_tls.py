"""TLS under each worker class: raw clients inside and outside of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.client import connect as connect_websocket

from gwctl.workers.exchange.tls_metadata import client_name
from tests.support import engine_apps
from tests.support.engine import Client, Engine
from tests.support.tls import (
    REQUEST,
    Files,
    authority,
    client_context,
    connect,
    engine_of,
    nothing_left,
    send_and_receive,
)
from tests.support.wait import DEADLINE_S, until

# ---- requests


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_requests(worker_class: str, shop: Files, version: str) -> None:
    """Kept alive, pipelined, streamed and large, and the end is said by close_notify."""
    context = client_context(maximum_version=ssl.TLSVersion[version])
    with (
        engine_of(worker_class, shop.server()) as engine,
        connect(engine, context=context) as client,
    ):
        assert client.get("/").body == b"hello"
        assert client.get("/stream").chunks == (b"one", b"two", b"three")
        body = b"0123456789" * 300_000
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert client.response().body == body
        client.send(REQUEST * 20)
        assert [client.response().body for _ in range(20)] == [b"hello"] * 20
        assert client.get("/", "Connection: close").body == b"hello"
        assert client.at_end()
        assert " error " not in engine.log


def test_what_the_application_is_told(worker_class: str, shop: Files) -> None:
    with engine_of(worker_class, shop.server()) as engine, connect(engine) as client:
        shown = json.loads(client.get("/path").body)
    if worker_class.endswith("asgi"):
        assert shown["scheme"] == "https"
        return
    assert (shown["wsgi.url_scheme"], shown["HTTPS"], shown["SSL_PROTOCOL"]) == ("https", "on", "TLSv1.3")
    assert shown["SSL_CIPHER"].startswith("TLS_")
    assert "SSL_CLIENT_VERIFY" not in shown


@pytest.mark.parametrize("http", [b"1.1", b"1.0"])
def test_the_extension_of_asgi(shop: Files, tmp_path: Path, http: bytes) -> None:
    seen: list[dict[str, Any]] = []
    ann = Files(tmp_path, "ann@shop.example", common_name="ann, of the shop")

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        seen.append(scope["extensions"]["tls"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    ca = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(ca)
    server = shop.server(client_ca=str(ca), verify="optional")
    with Engine(application, "asgi", tls=server) as engine:
        for context in (client_context(), ann.load_into(client_context())):
            with connect(engine, context=context) as client:
                client.send(b"GET / HTTP/%b\r\nHost: x\r\n\r\n" % http)
                assert client.response().status == 200
    nobody, known = seen
    assert nobody == {
        "server_cert": shop.pem,
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": nobody["cipher_suite"],
    }
    assert nobody["cipher_suite"] in {0x1301, 0x1302, 0x1303}
    assert known["client_cert_chain"][0] == ann.pem
    assert "CN=ann\\, of the shop" in known["client_cert_name"]


def test_names_are_written_as_rfc_4514_says() -> None:
    class Shown:
        def getpeercert(self) -> Any:
            return {
                "subject": (
                    (("countryName", "DE"),),
                    (("organizationName", ' #1 "Shop"; a+b'), ("organizationalUnitName", "x ")),
                    (("commonName", "Ann<>\\"),),
                )
            }

    name = client_name(Shown())  # type: ignore[arg-type]
    assert name == 'CN=Ann\\<\\>\\\\,O=\\ #1 \\"Shop\\"\\; a\\+b+OU=x\\ ,C=DE'


def test_client_certificates(worker_class: str, shop: Files, tmp_path: Path) -> None:
    """required: none, no connection; optional: none is fine; a stranger's is refused by both."""
    ca = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(ca)
    ann = Files(tmp_path, "ann@shop.example", common_name="ann").load_into(client_context())
    stranger = Files(tmp_path, "eve@shop.example", issuer=trustme.CA()).load_into(client_context())
    for verify in ("required", "optional"):
        server = shop.server(client_ca=str(ca), verify=verify)
        with engine_of(worker_class, server) as engine:
            with connect(engine, context=ann) as client:
                shown = json.loads(client.get("/path").body)
                if not worker_class.endswith("asgi"):
                    assert shown["SSL_CLIENT_VERIFY"] == "SUCCESS"
                    assert shown["SSL_CLIENT_S_DN"].startswith("CN=ann,")
                    assert "BEGIN CERTIFICATE" in shown["SSL_CLIENT_CERT"]
            refused = [stranger] if verify == "optional" else [stranger, client_context()]
            for context in refused:
                with pytest.raises(OSError), connect(engine, context=context) as client:
                    client.get("/")
            if verify == "optional":
                with connect(engine) as client:
                    shown = json.loads(client.get("/path").body)
                    assert worker_class.endswith("asgi") or shown["SSL_CLIENT_VERIFY"] == "NONE"
            nothing_left(engine)
            assert " error " not in engine.log


@pytest.mark.parametrize("name", ["/length?16000000", "/echo"])
def test_large_bodies_arrive_whole(worker_class: str, shop: Files, name: str) -> None:
    with engine_of(worker_class, shop.server()) as engine, connect(engine) as client:
        body = hashlib.sha256(b"seed").digest() * 500_000 if name == "/echo" else b""
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (name.encode(), len(body))
        send_and_receive(client, head + body)
        response = client.response()
        assert response.body == (body or b"x" * 16_000_000)


@pytest.mark.parametrize("size", [10, 100_000, 1_000_000])
def test_a_block_goes_out_before_the_next_is_asked_for(worker_class: str, shop: Files, size: int) -> None:
    go_on = threading.Event()

    def wsgi(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a" * size
        go_on.wait(20)
        yield b"end"

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a" * size, "more_body": True})
        await asyncio.get_running_loop().run_in_executor(None, go_on.wait, 20)
        await send({"type": "http.response.body", "body": b"end"})

    application = asgi if worker_class.endswith("asgi") else wsgi
    with Engine(application, worker_class, tls=shop.server()) as engine, connect(engine) as client:
        client.send(REQUEST)
        client.head()
        assert client.chunk() == b"a" * size
        go_on.set()
        assert client.chunk() == b"end"


class Endless:
    """A response that never ends; counts what was asked of it."""

    def __init__(self) -> None:
        self.blocks = 0
        self.ended = threading.Event()

    def wsgi(self, _environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                self.blocks += 1
                yield bytes(65536)
        finally:
            self.ended.set()

    async def asgi(self, _scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.ensure_future(engine_apps.departure(receive))
        try:
            while not gone.done():
                self.blocks += 1
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        finally:
            self.ended.set()


def test_a_reader_that_stops_costs_bounded_memory_and_is_dropped(worker_class: str, shop: Files) -> None:
    endless = Endless()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    application = endless.asgi if worker_class.endswith("asgi") else endless.wsgi
    with Engine(application, worker_class, tls=shop.server(), timeouts={"response_timeout_s": 0.5}) as engine:
        with connect(engine) as client:
            client.send(REQUEST)
            assert endless.ended.wait(20)
        assert endless.blocks < 200  # what the buffers of two sockets take
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000
        for _ in range(3):
            with connect(engine) as client:
                client.send(REQUEST)
                assert client.head()[0] == 200
        nothing_left(engine)


def test_who_streams_to_a_transport_that_closes_is_told(shop: Files) -> None:
    """An application that never waits must not keep the loop from finding out."""
    told: list[str] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        gone = asyncio.ensure_future(engine_apps.departure(receive))
        for connection in engine.server._connections:
            connection.transport.abort()
        for _ in range(10_000):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            if gone.done():
                break
        told.append("gone" if gone.done() else "never")

    for context in (None, shop.server()):
        with Engine(application, "asgi", tls=context) as engine:
            with engine.connect() if context is None else connect(engine) as client:
                client.send(REQUEST)
                with contextlib.suppress(OSError):
                    client.rest()
            nothing_left(engine)
    assert told == ["gone", "gone"]


def test_a_response_that_breaks_off_does_not_look_whole(worker_class: str, shop: Files) -> None:
    """No close_notify after it."""
    with engine_of(worker_class, shop.server()) as engine, connect(engine) as client:
        client.send(b"GET /middle HTTP/1.0\r\n\r\n")
        with pytest.raises(OSError):
            client.rest()


def test_a_body_that_breaks_off_is_no_request(worker_class: str, shop: Files) -> None:
    """Whether the client says close_notify before the end or not."""
    called: list[int] = []

    def wsgi(_environ: Any, start_response: Any) -> list[bytes]:
        called.append(1)
        start_response("200 OK", [])
        return []

    async def asgi(_scope: Any, receive: Any, _send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]

    application = asgi if worker_class.endswith("asgi") else wsgi
    with Engine(application, worker_class, tls=shop.server()) as engine:
        for polite in (True, False):
            with connect(engine) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
                if polite:
                    with contextlib.suppress(OSError):
                        client.sock.unwrap()  # type: ignore[attr-defined]
                else:
                    socket.socket.shutdown(client.sock, socket.SHUT_WR)
        nothing_left(engine)
        assert called == []


# ---- what else lives on a connection


def test_websockets(shop: Files) -> None:
    seen: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": message["bytes"]})

    async def talk(port: int) -> None:
        """In one thread, see `send_and_receive`: websockets' threaded client has two."""
        async with connect_websocket(
            f"wss://127.0.0.1:{port}/", ssl=client_context(), max_size=None
        ) as websocket:
            for size in (1, 100_000, 2_000_000):
                await websocket.send(b"x" * size)
                assert await websocket.recv() == b"x" * size

    with Engine(application, "asgi", tls=shop.server()) as engine:
        asyncio.run(asyncio.wait_for(talk(engine.port), DEADLINE_S))
        nothing_left(engine)
    assert seen[0]["scheme"] == "wss"
    assert seen[0]["extensions"]["tls"]["tls_version"] == 0x0304


def test_proxy_protocol_before_tls(worker_class: str, shop: Files) -> None:
    with engine_of(worker_class, shop.server(), proxy_protocol=True) as engine:
        raw = engine.connect()
        raw.send(b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n")
        sock = client_context().wrap_socket(raw.sock, server_hostname="shop.example")
        with Client(sock) as client:
            shown = json.loads(client.get("/path").body)
    assert "203.0.113.9" in (shown["client"] if worker_class.endswith("asgi") else shown["REMOTE_ADDR"])


def test_drain_closes_with_close_notify(worker_class: str, shop: Files) -> None:
    """An idle connection gets its linger, a request in it is answered, and handshakes are not waited for."""
    with engine_of(worker_class, shop.server(), timeouts={"linger_s": 1.0}) as engine:
        half = engine.connect()
        half.send(b"\x16\x03\x01")
        with connect(engine) as idle, connect(engine) as busy:
            assert idle.get("/").body == busy.get("/").body == b"hello"
            until(lambda: engine.call(lambda: engine.server.connections) == 3, "all three")
            engine.call(lambda: engine.server.drain(sweep=True))
            response = busy.get("/")
            assert (response.body, response.headers["connection"]) == (b"hello", "close")
            assert busy.at_end()
            assert idle.at_end()
        assert half.at_end()
        half.sock.close()
        until(lambda: engine.call(lambda: engine.server.drained), "drained")


@pytest.mark.parametrize("name", ["sync", "threads"])
def test_a_body_read_while_the_application_runs(name: str, shop: Files) -> None:
    """In records that come together, apart and cut; and one that breaks off is told as such."""
    seen: list[Any] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        read = environ["wsgi.input"].read
        try:
            first = read(10)
            started.set()
            seen.append(first + read())
        except OSError as error:
            seen.append(error)
            raise
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]

    with Engine(application, name, tls=shop.server(), body_buffering=False) as engine:
        body = bytes(range(256)) * 8000
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        for cut in (0, 5, 20_000, 500_000):
            started = threading.Event()
            with connect(engine) as client:
                client.send(head + body[:cut] + b"" if cut else head)
                if cut > 10:
                    assert started.wait(20)
                client.send(body[cut:])
                assert client.response().body == b"done"
                assert client.get("/").body == b"done"
        assert [each for each in seen if each] == [body] * 4
        for polite in (True, False):
            started = threading.Event()
            with connect(engine) as client:
                client.send(head + b"only this and then no more")
                assert started.wait(20)
                with contextlib.suppress(OSError):
                    if polite:
                        client.sock.unwrap()  # type: ignore[attr-defined]
                    else:
                        socket.socket.shutdown(client.sock, socket.SHUT_WR)
                        client.rest()
            until(lambda: isinstance(seen[-1], OSError), "the application to be told")
            seen.append(b"")
        nothing_left(engine)
