"""How WebSockets end: the close frame arrives whatever is on its way, and the application is told."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gwctl.config.model.settings import WebSocketSettings
from gwctl.workers.websocket import protocol
from tests.support.engine import Client, Engine
from tests.support.tls import Files
from tests.support.tls import connect as connect_tls
from tests.support.wait import until
from tests.support.websocket import (
    ACCEPTED,
    BINARY,
    CONT,
    PING,
    PONG,
    TEXT,
    Echo,
    close_frame,
    frame,
    gone,
    handshake,
    open_on,
    read_close,
    read_frame,
    sends,
)

SETTINGS = WebSocketSettings(message_bytes_max=65_536)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"
TRANSPORTS = ("tcp", "tls", "unix")


@contextmanager
def engine_on(
    how: str, folder: Path, application: Any, **settings: Any
) -> Iterator[tuple[Engine, Callable[[], Client]]]:
    options: dict[str, Any] = {"unix": {"unix": True}}.get(how, {})
    if how == "tls":
        options["tls"] = Files(folder, "shop.example").server()
    with Engine(application, "asgi", **options, **settings) as engine:
        yield engine, (lambda: connect_tls(engine)) if how == "tls" else engine.connect


def bomb(size: int) -> bytes:
    packed = zlib.compress(bytes(size), wbits=-15)
    return frame(BINARY, packed, rsv=4)


FAILURES = {
    "opcode": (frame(3), 1002),
    "not masked": (frame(TEXT, b"x", mask=None), 1002),
    "not compressed": (frame(TEXT, b"\xff\xff\xff", rsv=4), 1002),
    "code of a close": (close_frame(1005), 1002),
    "reason of a close": (close_frame(1000, b"\xff"), 1007),
    "text": (frame(TEXT, b"\xff"), 1007),
    "text in fragments": (frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"("), 1007),
    "too big": (frame(BINARY, b"x" * 70_000), 1009),
    "too big in fragments": (
        frame(BINARY, b"x" * 2000, fin=False) + frame(CONT, b"x" * 2000, fin=False) * 64,
        1009,
    ),
    "a bomb": (bomb(1 << 20), 1009),
    "the client's own close": (close_frame(1000), 1000),
    "its own close between fragments": (frame(TEXT, b"x", fin=False) + close_frame(3000), 3000),
}


@pytest.mark.parametrize("how", TRANSPORTS)
@pytest.mark.parametrize("name", FAILURES)
def test_the_close_frame_arrives_although_more_is_on_its_way(how: str, name: str, tmp_path: Path) -> None:
    """Not a reset, neither while the client still sends nor when it reads; whatever it sent meanwhile."""
    data, code = FAILURES[name]
    more = frame(BINARY, b"x" * 2000, fin=False) * 64
    with engine_on(how, tmp_path, Echo(), websocket=SETTINGS) as (engine, connect):
        for _ in range(5):
            with connect() as client:
                open_on(client, DEFLATE)
                client.send(data + more)
                for _ in range(40):
                    client.send(more)
                assert read_close(client)[0] == code
                assert client.rest() == b""
                if how != "tls":
                    client.send(more)  # the server's side alone is shut
        gone(engine)
        assert " error " not in engine.log


def application_that(what: str) -> Any:
    """Closes, returns or raises while its client goes on sending; or the server ends it."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await receive()
        if what == "closes":
            await send({"type": "websocket.close", "code": 4000})
        elif what == "raises":
            raise ValueError(what)
        elif what == "waits":
            while (await receive())["type"] != "websocket.disconnect":
                pass

    return application


@pytest.mark.parametrize("how", TRANSPORTS)
@pytest.mark.parametrize(
    ("what", "code"), [("closes", 4000), ("returns", 1000), ("raises", 1011), ("waits", 1012)]
)
def test_ours_does_too(how: str, what: str, code: int, tmp_path: Path) -> None:
    """The client answers it behind what it was about to send."""
    more = frame(BINARY, b"x" * 2000) * 64
    with engine_on(how, tmp_path, application_that(what)) as (engine, connect):
        with connect() as client:
            open_on(client)
            client.send(more)
            if what == "waits":
                engine.call(lambda: engine.server.websockets.drain(0.0))
            for _ in range(40):
                client.send(more)
            assert read_close(client)[0] == code
            client.send(frame(TEXT, b"\xff") + close_frame(code))
            assert client.rest() == b""
        gone(engine)


@pytest.mark.parametrize("then", ["is silent", "sends on"])
def test_an_end_does_not_last_for_ever(then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not close after our last byte is cut off, however much it still sends."""
    monkeypatch.setattr("gwctl.workers.websocket.keepalive.CLOSE_WAIT_S", 0.1)
    monkeypatch.setattr("gwctl.workers.websocket.keepalive.LINGER_S", 0.5)
    with Engine(Echo(), "asgi") as engine, engine.connect() as client:
        open_on(client)
        client.send(frame(3))
        assert read_close(client)[0] == 1002

        def over() -> bool:
            if then == "sends on":
                with contextlib.suppress(OSError):
                    client.send(b"x" * 1000)
            return bool(engine.call(lambda: engine.server.websockets.idle))

        until(over, "the connection to be cut")
        with contextlib.suppress(ConnectionResetError):
            assert client.rest() == b""


# ---- before the handshake is answered


@contextmanager
def unanswered(
    how: str, folder: Path, early: bytes = b""
) -> Iterator[tuple[Engine, Client, list[Any], Callable[[], None]]]:
    """A WebSocket whose application has not accepted; with what it is told, and what makes it accept."""
    told: list[Any] = []
    go = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        told.append(await receive())
        waiting = [asyncio.ensure_future(receive()), asyncio.ensure_future(go.wait())]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if waiting[0] not in done:
            await send(ACCEPTED)
        told.append(await waiting[0])

    with engine_on(how, folder, application) as (engine, connect), connect() as client:
        client.send(handshake() + early)
        until(lambda: told, "the application")
        yield engine, client, told, lambda: engine.call(go.set)


EARLY = b"".join([frame(PING, b"early"), frame(TEXT, b"x" * 30_000), frame(BINARY, b"y", fin=False)])


@pytest.mark.parametrize("how", TRANSPORTS)
@pytest.mark.parametrize("early", [b"", EARLY, EARLY + frame(3)], ids=["nothing", "frames", "broken"])
def test_a_client_that_leaves_before_the_answer(how: str, early: bytes, tmp_path: Path) -> None:
    with unanswered(how, tmp_path, early) as (engine, client, told, _):
        client.sock.close()
        gone(engine)
        assert told[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        assert " error " not in engine.log


@pytest.mark.parametrize("how", TRANSPORTS)
@pytest.mark.parametrize("early", [b"", EARLY], ids=["nothing", "frames"])
@pytest.mark.parametrize("end", ["drain", "quit"])
def test_the_server_stops_before_the_answer(
    how: str, early: bytes, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may still accept within a moment; then the client is refused and the application told."""

    monkeypatch.setattr(protocol, "OPENING_GRACE_S", 0.05)
    with unanswered(how, tmp_path, early) as (engine, client, told, _):
        engine.call((lambda: engine.server.drain(False)) if end == "drain" else engine.server.quit)
        assert client.response().status == 503
        client.sock.close()
        gone(engine)
        assert told[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        assert " error " not in engine.log


def test_a_drain_leaves_time_to_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "OPENING_GRACE_S", 20.0)
    with unanswered("tcp", tmp_path) as (engine, client, told, accept):
        engine.call(lambda: engine.server.websockets.drain(0.0))
        accept()
        assert client.head()[0] == 101
        assert read_close(client)[0] == 1012
        client.send(close_frame(1012))
        gone(engine)
        assert told[1]["code"] == 1012


def test_a_drain_that_is_called_off_lets_them_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(protocol, "OPENING_GRACE_S", 3.0)
    with unanswered("tcp", tmp_path) as (engine, client, told, accept):
        engine.call(lambda: engine.server.websockets.drain(0.0))
        (connection,) = engine.call(engine.server.websockets._all)
        until(lambda: connection._leave, "it to be told")
        engine.call(engine.server.websockets.stay)
        begin = engine.loop.time()
        until(lambda: engine.loop.time() > begin + 3.2, "the moment to pass")
        accept()
        assert client.head()[0] == 101
        client.send(close_frame(1000))
        assert read_close(client)[0] == 1000
        until(lambda: told[1:], "the application to be told")
        assert told[1]["code"] == 1000


def test_what_comes_before_the_answer_is_bounded(tmp_path: Path) -> None:
    with unanswered("tcp", tmp_path) as (engine, client, _, accept):
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.send(frame(BINARY, b"x" * 10_000) * 4000)
        (connection,) = engine.call(engine.server.websockets._all)
        assert engine.call(lambda: connection.size) < 1_000_000
        client.sock.settimeout(20)
        accept()
        assert client.head()[0] == 101


# ---- what the application says


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], {"server": "gwctl"}),
        ([(b"Server", b"mine")], {"server": "mine"}),
        ([(b"date", b"today")], {"date": "today"}),
        ([(b"SERVER", b"mine"), (b"date", b"today")], {"server": "mine", "date": "today"}),
    ],
)
def test_the_101_has_date_and_server_as_other_responses(
    fields: list[tuple[bytes, bytes]], expected: dict[str, str]
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": fields})
            await send({"type": "http.response.body", "body": b"x"})
        else:
            await receive()
            await send({"type": "websocket.accept", "headers": fields})

    with Engine(application, "asgi") as engine, engine.connect() as client:
        plain = client.get("/").headers
        answer = open_on(client)
        for name in ("date", "server"):
            assert (name in plain) == (name in answer)
        assert {name: answer[name] for name in expected} == expected
        assert read_close(client)[0] == 1000


LONG = "é" * 70


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        ({"code": None}, b""),
        ({"code": None, "reason": "nobody can be told"}, b""),
        ({"code": 1005}, b""),
        ({"code": 1000, "reason": None}, b"\x03\xe8"),
        ({"code": 3000, "reason": "é"}, b"\x0b\xb8\xc3\xa9"),
        ({"reason": "x" * 123}, b"\x03\xe8" + b"x" * 123),
        ({"code": 4001, "reason": "x" * 1000}, b"\x0f\xa1" + b"x" * 123),
        ({"code": 4001, "reason": LONG}, b"\x0f\xa1" + LONG.encode()[:122]),
    ],
)
def test_codes_and_reasons(message: dict[str, Any], payload: bytes) -> None:
    """Without a code the frame is empty; a reason that is too long is cut between characters, and said so."""
    application = sends(ACCEPTED, {"type": "websocket.close", **message})
    with Engine(application, "asgi") as engine, engine.connect() as client:
        open_on(client)
        assert client.read_exactly(2) == bytes((0x88, len(payload)))
        assert client.read_exactly(len(payload)) == payload
        client.send(frame(8, payload))
        assert client.at_end()
        gone(engine)
        warned = "has at most 123 bytes" in engine.log
        assert warned == (len((message.get("reason") or "").encode()) > 123)
        assert " error " not in engine.log


@pytest.mark.parametrize("end", ["close", "drain", "return"])
def test_nothing_follows_the_close_frame(end: str) -> None:
    """Pings that come behind it, or before it in one packet, are not answered any more."""
    message = {"type": "websocket.close"}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await receive()
        if end == "close":
            await send(message)
        elif end == "drain":
            engine.server.websockets.drain(0.0)
            await receive()

    with Engine(application, "asgi") as engine, engine.connect() as client:
        open_on(client)
        client.send(frame(TEXT, b"x") + frame(PING, b"first"))
        assert read_frame(client) == (PONG, b"first")
        assert read_close(client)[0] in {1000, 1012}
        client.send(frame(PING, b"late") * 10 + frame(TEXT, b"late", fin=False) + frame(PING, b"later"))
        client.send(close_frame(1000))
        assert client.rest() == b""
        gone(engine)
