"""TLS handshakes under each worker class: what is refused, what is chosen, what is resumed."""

from __future__ import annotations

import gc
import ssl
import weakref
from pathlib import Path
from typing import Any

import pytest

from gwctl.config import certificates
from gwctl.config.model.tls import Tls
from gwctl.ipc.scoreboard import TLS_FAILED, TLS_HANDSHAKES, TLS_RESUMED
from gwctl.workers.balancing.handoff import may_be_given
from gwctl.workers.http2.wire import PROTOCOL_ERROR, goaway_frame
from tests.support.engine import Engine
from tests.support.tls import Files, client_context, connect, engine_of, nothing_left
from tests.support.wait import until

# ---- the handshake


@pytest.mark.parametrize("method", ["GET", "DELETE", "PROPFIND"])
def test_plain_http_is_answered_in_plain_text(worker_class: str, shop: Files, method: str) -> None:
    with engine_of(worker_class, shop.server()) as engine, engine.connect() as client:
        client.send(f"{method} / HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        response = client.response()
        assert (response.status, response.body) == (400, b"This port speaks TLS: use https://\n")
        assert client.at_end()
        nothing_left(engine)


def test_rubbish_is_closed_and_no_error(worker_class: str, shop: Files) -> None:
    hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"
    with engine_of(worker_class, shop.server()) as engine:
        for data in (b"\0" * 100, b"SSH-2.0-x\r\n", hello + b"\xff" * 200, hello, b""):
            with engine.connect() as client:
                client.send(data)
                client.finish_sending()
                try:
                    client.rest()
                except ConnectionResetError:
                    continue
        nothing_left(engine)
        assert "no TLS with 127.0.0.1" in engine.log
        assert not {" error ", " warn "} & set(engine.log.split("web.0"))


def test_a_slow_handshake_is_bounded_and_holds_nobody_up(worker_class: str, shop: Files) -> None:
    with engine_of(worker_class, shop.server(), timeouts={"header_timeout_s": 1.0}) as engine:
        slow = [engine.connect() for _ in range(20)]
        for client in slow:
            client.send(b"\x16\x03\x01")
        with connect(engine) as client:
            assert client.get("/").body == b"hello"
        for client in slow:
            assert client.at_end()
            client.sock.close()
        nothing_left(engine)


def test_an_old_version_is_refused(worker_class: str, shop: Files) -> None:
    with engine_of(worker_class, shop.server(minimum_version="1.3")) as engine:
        with pytest.raises(ssl.SSLError):
            connect(engine, context=client_context(maximum_version=ssl.TLSVersion.TLSv1_2))
        with connect(engine) as client:
            assert client.get("/").body == b"hello"


def test_ciphers(shop: Files) -> None:
    context = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    server = shop.server(ciphers="ECDHE+CHACHA20")
    with engine_of("sync", server) as engine, connect(engine, context=context) as client:
        assert "CHACHA20" in client.sock.cipher()[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("http", "offered", "chosen"),
    [
        ((), ["http/1.1", "h2"], "h2"),
        ((), ["http/1.1"], "http/1.1"),
        (("h1",), ["h2", "http/1.1"], "http/1.1"),
        (("h1", "h2"), ["h2", "http/1.1"], "http/1.1"),
        (("h2",), ["h2", "http/1.1"], "h2"),
    ],
)
def test_alpn(worker_class: str, shop: Files, http: tuple[str, ...], offered: list[str], chosen: str) -> None:
    context = client_context()
    context.set_alpn_protocols(offered)
    with engine_of(worker_class, shop.server(), http=http) as engine:
        with connect(engine, context=context) as client:
            alpn = client.sock.selected_alpn_protocol()  # type: ignore[attr-defined]
        assert alpn == chosen


@pytest.mark.parametrize("worker_class", ["sync", "threads", "asgi"])
@pytest.mark.parametrize("offered", [[], ["http/1.1"]])
def test_without_h1_no_request_of_http_1_is_answered(
    worker_class: str, shop: Files, offered: list[str]
) -> None:
    """By ALPN the client has asked for nothing, or for nothing that is offered."""
    context = client_context()
    if offered:
        context.set_alpn_protocols(offered)
    with engine_of(worker_class, shop.server(), http=("h2",)) as engine:
        with connect(engine, context=context) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            said = client.rest()
        assert b"HTTP/1.1 200" not in said
        assert goaway_frame(0, PROTOCOL_ERROR, "the connection does not begin with the preface") in said
        nothing_left(engine)


def test_alpn_for_each_name(shop: Files, tmp_path: Path) -> None:
    """Also where another certificate is chosen by the name that the client asks for."""
    other = Files(tmp_path, "other.example")
    tls = Tls(
        certificate=(str(shop.certificate), str(other.certificate)), key=(str(shop.key), str(other.key))
    )
    context = client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with engine_of("asgi", certificates.load(tls).context) as engine:
        for name in ("shop.example", "other.example"):
            with connect(engine, name, context=context) as client:
                assert client.sock.selected_alpn_protocol() == "h2"  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_session_is_resumed_with_any_worker(worker_class: str, shop: Files, version: str) -> None:
    """Workers have the master's context, and so the same ticket keys; another context has not."""
    context = client_context(maximum_version=ssl.TLSVersion[version])
    server = shop.server()
    with engine_of(worker_class, server) as one, engine_of(worker_class, server) as other:
        with connect(one, context=context) as client:
            client.get("/")
            session = client.sock.session  # type: ignore[attr-defined]
        with connect(other, context=context, session=session) as client:
            assert client.get("/").body == b"hello"
            assert client.sock.session_reused  # type: ignore[attr-defined]
    with (
        engine_of(worker_class, shop.server()) as stranger,
        connect(stranger, context=context, session=session) as client,
    ):
        assert client.get("/").body == b"hello"
        assert not client.sock.session_reused  # type: ignore[attr-defined]


def handshakes(engine: Engine) -> tuple[int, int, int]:
    """Completed, of those resumed, and failed."""
    done, resumed, failed = (engine.words(word) for word in (TLS_HANDSHAKES, TLS_RESUMED, TLS_FAILED))
    return done, resumed, failed


def test_handshakes_are_counted(worker_class: str, shop: Files) -> None:
    """Who only connects, as probes do, has begun none."""
    context = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    with engine_of(worker_class, shop.server()) as engine:
        with connect(engine, context=context) as client:
            client.get("/")
            session = client.sock.session  # type: ignore[attr-defined]
        with connect(engine, context=context, session=session) as client:
            client.get("/")
        assert handshakes(engine) == (2, 1, 0)
        with engine.connect() as probe:
            probe.finish_sending()
            assert probe.at_end()
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01"):
            with engine.connect() as client:
                client.send(data)
                client.finish_sending()
                client.rest()
        nothing_left(engine)
        assert handshakes(engine) == (2, 1, 3)


def test_the_certificate_is_chosen_by_name(worker_class: str, tmp_path: Path) -> None:
    """A name before a wildcard, the first for all others; ends of names and case do not matter."""
    files = [
        Files(tmp_path, "shop.example"),
        Files(tmp_path, "*.shop.example"),
        Files(tmp_path, "api.shop.example"),
    ]
    table = Tls(
        certificate=tuple(str(each.certificate) for each in files), key=tuple(str(each.key) for each in files)
    )
    lax = client_context(check_hostname=False)
    with engine_of(worker_class, certificates.load(table).context) as engine:
        for name, place in {
            "shop.example": 0,
            "www.shop.example": 1,
            "WWW.shop.example": 1,
            "api.shop.example": 2,
            "a.b.shop.example": 0,
            "elsewhere.example": 0,
        }.items():
            with connect(engine, name, lax) as client:
                got = ssl.DER_cert_to_PEM_cert(client.sock.getpeercert(binary_form=True))  # type: ignore[attr-defined]
                assert got.split() == files[place].pem.split(), name
                assert client.get("/").body == b"hello"


def test_a_connection_is_no_siblings_to_take(worker_class: str, shop: Files) -> None:
    """Neither in a PROXY header or a handshake, when its transport is a plain one, nor in TLS."""
    with engine_of(worker_class, shop.server(), proxy_protocol=True) as engine, engine.connect() as raw:

        def given() -> list[bool]:
            return engine.call(lambda: [may_be_given(each) for each in engine.server._connections])

        until(lambda: given() == [False], "a connection without a header")
        raw.send(b"PROXY UNKNOWN\r\n\x16\x03\x01")
        assert given() == [False]
    with engine_of(worker_class, shop.server()) as engine, connect(engine) as client:
        assert client.get("/").body == b"hello"
        assert engine.call(lambda: [may_be_given(each) for each in engine.server._connections]) == [False]


def test_a_connection_that_is_over_is_freed_at_once(worker_class: str, shop: Files) -> None:
    """And not when the garbage collector comes by: there may be thousands."""
    with engine_of(worker_class, shop.server()) as engine:
        found: list[weakref.ref[Any]] = []

        def look() -> None:
            for connection in engine.server._connections:
                assert connection.tls
                found.append(weakref.ref(connection.tls))  # which the connection holds

        gc.disable()
        try:
            with connect(engine) as client:
                assert client.get("/").body == b"hello"
                engine.call(look)
            nothing_left(engine)
            until(lambda: [ref() for ref in found] == [None], "it to be freed")
        finally:
            gc.enable()


def test_an_upload_is_not_taken_faster_than_it_is_read(shop: Files) -> None:
    """What waits stays with the client, not in the memory of TLS."""
    held: list[int] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            held.extend(each.tls._incoming.pending for each in engine.server._connections)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with Engine(application, "asgi", tls=shop.server()) as engine, connect(engine) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (20 << 20))
        client.send(bytes(20 << 20))
        assert client.response().status == 200
    assert max(held) < 1_000_000
