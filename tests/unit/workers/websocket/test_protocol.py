"""WebSockets on the engine: how they end, and clients that break the rules."""

from __future__ import annotations

import gc
import zlib
from typing import Any

import pytest

from gwctl.config.model.settings import WebSocketSettings
from gwctl.workers.websocket.frames import FrameReader
from gwctl.workers.websocket.protocol import WebSocket
from tests.support.engine import Engine
from tests.support.wait import until
from tests.support.websocket import (
    ACCEPTED,
    BINARY,
    CLOSE,
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

# ---- ends


@pytest.mark.parametrize(
    ("messages", "code", "words"),
    [
        ([], 1000, ""),
        ([ValueError("oops")], 1011, "raised: ValueError: oops"),
        ([{"type": "websocket.close"}], 1000, ""),
        ([{"type": "websocket.close", "code": 4001, "reason": "why"}], 4001, ""),
        ([{"type": "websocket.close", "code": 1006}], 1011, "not a close code"),
        ([{"type": "websocket.close", "code": 99}], 1011, "not a close code"),
        ([{"type": "websocket.close"}, {"type": "websocket.send", "text": "x"}], 1000, "had closed"),
        ([ACCEPTED], 1011, "expected websocket.send or websocket.close"),
        ([{"type": "websocket.send"}], 1011, "either bytes or text"),
        ([{"type": "websocket.send", "text": b"x"}], 1011, "must be str, not bytes"),
        ([{"type": "websocket.send", "bytes": "x"}], 1011, "must be bytes, not str"),
    ],
)
def test_every_end_has_a_close_frame(messages: list[Any], code: int, words: str) -> None:
    with Engine(sends(ACCEPTED, *messages), "asgi") as engine, engine.connect() as client:
        open_on(client)
        client.send(frame(TEXT, b"on its way"))
        got = read_close(client)
        assert got[0] == code
        if code == 4001:
            assert got[1] == "why"
        client.send(frame(TEXT, b"on its way too") + close_frame(code))
        assert client.at_end()
        gone(engine)
        if words:
            engine.wait_for_log(words)
        else:
            assert engine.log == ""


def test_the_end_is_told_as_often_as_it_is_asked_for() -> None:
    told = []

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPTED)
        told.extend([await receive() for _ in range(3)])
        with pytest.raises(OSError):
            await send({"type": "websocket.send", "text": "x"})

    with Engine(application, "asgi") as engine:
        client = engine.connect()
        open_on(client)
        client.sock.close()
        gone(engine)
        assert engine.log == ""
    assert told == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}] * 3


@pytest.mark.parametrize("accepted", [True, False])
def test_a_client_that_goes_is_nobodys_error(accepted: bool) -> None:
    class WebSocketDisconnect(Exception):  # as Starlette raises it
        pass

    started = []

    async def application(scope, receive, send):
        await receive()
        if accepted:
            await send(ACCEPTED)
        started.append(1)
        await receive()
        raise ExceptionGroup("tasks", [WebSocketDisconnect(1006)])

    with Engine(application, "asgi", access_log=True) as engine:
        client = engine.connect()
        client.send(handshake())
        until(lambda: started, "the application")
        client.sock.close()
        gone(engine)
        engine.call(engine.server.accounts.flush)
        assert f'HTTP/1.1" {101 if accepted else 499} ' in engine.access_path.read_text()
        assert engine.log == ""


def test_a_handshake_during_drain_is_answered_and_told_to_come_again() -> None:
    with Engine(Echo(), "asgi", timeouts={"linger_s": 5}) as engine, engine.connect() as client:
        assert client.get("/").body == b"plain"
        engine.call(lambda: engine.server.drain(False))
        open_on(client)
        assert read_close(client)[0] == 1012
        client.send(close_frame(1012))
        assert client.at_end()
        until(lambda: engine.call(lambda: engine.server.drained), "the server to have drained")


# ---- clients that break the rules

BROKEN = {
    "not masked": (frame(TEXT, b"x", mask=None), 1002),
    "reserved bit 1": (frame(TEXT, b"x", rsv=4), 1002),
    "reserved bit 2": (frame(TEXT, b"x", rsv=2), 1002),
    "reserved bit 3": (frame(TEXT, b"x", rsv=1), 1002),
    "reserved opcode": (frame(3, b"x"), 1002),
    "reserved control opcode": (frame(11, b"x"), 1002),
    "control frame in fragments": (frame(PING, b"x", fin=False), 1002),
    "control frame too long": (frame(PING, b"x" * 126), 1002),
    "continuation of nothing": (frame(CONT, b"x"), 1002),
    "new message within a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "close frame of one byte": (frame(CLOSE, b"x"), 1002),
    "close code 1005": (close_frame(1005), 1002),
    "close code 999": (close_frame(999), 1002),
    "close reason not UTF-8": (close_frame(1000, b"\xff"), 1007),
    "text not UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "fragments not UTF-8": (frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"("), 1007),
    "message too big": (frame(BINARY, b"x" * 70_000), 1009),
    "message said to be too big": (frame(BINARY, b"", length=1 << 62), 1009),
    "fragments too big": (frame(BINARY, b"x" * 60_000, fin=False) + frame(CONT, b"x" * 9_000), 1009),
}


@pytest.mark.parametrize("deflate", [True, False])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_frames(name: str, deflate: bool) -> None:
    """Closed with the right code, which arrives although more was on its way; the application hears of it."""
    data, code = BROKEN[name]
    echo = Echo()
    settings = WebSocketSettings(message_bytes_max=65_536, per_message_deflate=deflate)
    with Engine(echo, "asgi", websocket=settings) as engine, engine.connect() as client:
        open_on(client, b"Sec-WebSocket-Extensions: permessage-deflate")
        client.send(frame(TEXT, b"good"))
        if deflate:
            assert (
                zlib.decompressobj(-15).decompress(read_frame_compressed(client) + b"\0\0\xff\xff") == b"good"
            )
        else:
            assert read_frame(client) == (TEXT, b"good")
        if name == "reserved bit 1" and deflate:
            data = frame(TEXT, b"\xff\xff\xff", rsv=4)  # with the extension it means: compressed
        client.send(data + frame(TEXT, b"more") * 50)
        assert read_close(client)[0] == code
        client.finish_sending()
        assert client.rest() == b""
        gone(engine)
        assert engine.log == ""
    assert echo.end[0] == code
    assert len(echo.messages) == 2


def read_frame_compressed(client: Any) -> bytes:
    first, size = client.read_exactly(2)
    assert first & 0x40
    return client.read_exactly(size)


def test_fragments_pings_between_them_and_compression() -> None:
    with Engine(Echo(), "asgi") as engine, engine.connect() as client:
        answer = open_on(client, b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        assert "permessage-deflate" in answer["sec-websocket-extensions"]
        packer = zlib.compressobj(wbits=-12)
        packed = (packer.compress(b"hello " * 1000) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
        middle = len(packed) // 2
        client.send(frame(TEXT, packed[:middle], fin=False, rsv=4))
        client.send(frame(PING, b"between"))
        assert read_frame(client) == (PONG, b"between")
        client.send(frame(CONT, packed[middle:]))
        assert (
            zlib.decompressobj(-15).decompress(read_frame_compressed(client) + b"\0\0\xff\xff")
            == b"hello " * 1000
        )
    with (
        Engine(Echo(), "asgi", websocket=WebSocketSettings(per_message_deflate=False)) as engine,
        engine.connect() as client,
    ):
        assert "sec-websocket-extensions" not in open_on(
            client, b"Sec-WebSocket-Extensions: permessage-deflate"
        )


def left(ids: set[int]) -> int:
    """Return how many of the objects live: compiled ones cannot be referred to weakly."""
    return sum(type(each) in {WebSocket, FrameReader} and id(each) in ids for each in gc.get_objects())


@pytest.mark.parametrize("how", ["closed", "lost", "too big", *BROKEN])
def test_a_connection_that_is_over_is_freed_at_once(how: str) -> None:
    """Not when the garbage collector finds its cycles: what was unpacked of a zip bomb is one of them."""
    data = {name: data for name, (data, _) in BROKEN.items()} | {
        "closed": close_frame(1000),
        "lost": b"",
        "too big": frame(BINARY, zlib.compress(bytes(1 << 22), wbits=-15), rsv=4),
        "reserved bit 1": frame(TEXT, b"\xff\xff\xff", rsv=4),  # compressed, and not well
    }
    settings = WebSocketSettings(message_bytes_max=65_536)
    with Engine(Echo(), "asgi", websocket=settings) as engine:
        with engine.connect() as client:
            client.get("/")
        gc.collect()
        gc.disable()
        try:
            with engine.connect() as client:
                open_on(client, b"Sec-WebSocket-Extensions: permessage-deflate")
                found = engine.call(
                    lambda: {
                        id(part) for one in engine.server.websockets._all() for part in (one, one._reader)
                    }
                )
                assert left(found) == 2
                client.send(data[how])
                if data[how]:
                    read_close(client)
            gone(engine)
            # By its last callbacks, some turns of the loop later: without the collector, or never.
            until(lambda: not left(found), lambda: f"nothing to refer to {left(found)} of two objects")
        finally:
            gc.enable()
