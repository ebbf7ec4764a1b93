"""Streams of a connection, frame by frame, under each worker class: to the letter of RFC 9113."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from gwctl.config.model.http2 import Http2Settings
from gwctl.workers.http2 import wire
from tests.support.http2 import Http2Client, Stream
from tests.support.memory_wire import Continue, Data, End, Head, Hints, Reset, Trailers
from tests.support.wait import until

Start = Callable[..., Http2Client]

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/")]


def test_settings_are_said_at_once_and_acknowledged(start: Start, worker_class: str) -> None:
    client = start()
    client.wait_for(
        lambda: [f for f in client.frames if f[0] == wire.SETTINGS and f[1] & wire.ACK], "an acknowledgement"
    )
    tunnels = {wire.ENABLE_CONNECT_PROTOCOL: 1} if worker_class == "asgi" else {}
    assert client.settings == tunnels | {
        wire.HEADER_TABLE_SIZE: 4096,
        wire.MAX_CONCURRENT_STREAMS: 128,
        wire.INITIAL_WINDOW_SIZE: 131_072,
        wire.MAX_HEADER_LIST_SIZE: 65_536,
        wire.NO_RFC7540_PRIORITIES: 1,
    }
    assert client.frames[1] == (wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", 524_288 - 65_535))


def test_date_and_server(start: Start) -> None:
    stream = start().open()
    assert stream.whole().body == b"hello"
    assert stream.origin[b"server"] == b"gwctl"
    assert stream.origin[b"date"].endswith(b" GMT")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_ends_with_its_head(start: Start, status: int) -> None:
    stream = start().open(f"/status/{status}")
    assert stream.whole().status == status
    assert [type(each) for each in stream.events] == [Head, End]


def test_head(start: Start) -> None:
    stream = start().open("/length?7", "HEAD")
    assert (stream.whole().headers["content-length"], stream.body) == ("7", b"")
    assert [type(each) for each in stream.events] == [Head, End]


def test_padding_of_all_kinds(start: Start) -> None:
    client = start()
    block = client.head("/echo", "POST")
    padded = client.send_block(block, body=b"", ends=False, window=100)
    client.frame(wire.DATA, wire.PADDED, padded.stream_id, b"\x05data\0\0\0\0\0")
    client.frame(wire.DATA, wire.PADDED | wire.END_STREAM, padded.stream_id, b"\x00")
    assert padded.whole().body == b"data"


def test_a_header_block_in_many_frames(start: Start) -> None:
    client = start()
    fields = [(b"x-%d" % number, b"y" * 500) for number in range(40)]
    block = client.head("/", "GET", *fields)
    pieces = [block[at : at + 1000] for at in range(0, len(block), 1000)]
    frames = [wire.frame(wire.HEADERS, wire.END_STREAM, 1, pieces[0])]
    frames += [wire.frame(wire.CONTINUATION, 0, 1, piece) for piece in pieces[1:-1]]
    frames.append(wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, pieces[-1]))
    client.streams[1] = found = Stream(client, 1, 0)
    client.send(b"".join(frames) + wire.window_frame(1, 100))
    assert found.whole().body == b"hello"


def test_unknown_frames_and_settings_are_passed_over(start: Start) -> None:
    client = start()
    client.frame(0xBE, 0xFF, 0, b"unknown")
    client.send(
        wire.settings_frame([(0x99, 1), (wire.MAX_CONCURRENT_STREAMS, 0), (wire.MAX_FRAME_SIZE, 1 << 20)])
    )
    client.frame(wire.PING, 0, 0, b"12345678")
    assert client.open().whole().body == b"hello"
    client.wait_for(lambda: client.pongs == [b"12345678"], "the answer to a ping")


def test_trailers_of_a_request_end_it_and_are_dropped(start: Start) -> None:
    client = start()
    stream = client.post("/echo", body=b"some")
    block = client.encoder.encode([(b"x-sum", b"1")])
    client.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, stream.stream_id, block)
    assert stream.whole().body == b"some"


MALFORMED_TRAILERS = {
    "a pseudo-header": ([(b":path", b"/")], wire.END_STREAM),
    "an uppercase name": ([(b"X-Sum", b"1")], wire.END_STREAM),
    "no end": ([(b"x-sum", b"1")], 0),
}


@pytest.mark.parametrize("name", MALFORMED_TRAILERS)
def test_malformed_trailers(start: Start, name: str) -> None:
    client = start()
    fields, flags = MALFORMED_TRAILERS[name]
    stream = client.post("/echo", body=b"some")
    client.frame(wire.HEADERS, wire.END_HEADERS | flags, stream.stream_id, client.encoder.encode(fields))
    assert isinstance(stream.end(), Reset)
    assert stream.code == wire.PROTOCOL_ERROR
    assert client.open().whole().body == b"hello"


def test_a_malformed_request_never_reaches_the_application(start: Start) -> None:
    called: list[str] = []

    def wsgi(environ: Any, start_response: Any) -> Any:
        called.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"ok"]

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        called.append(scope["path"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})

    client = start(wsgi, asgi)
    for extra in [(b"Upper", b"x"), (b"connection", b"close"), (b"te", b"gzip"), (b":late", b"x")]:
        stream = client.raw([*GET, extra])
        assert isinstance(stream.end(), Reset)
        assert stream.code == wire.PROTOCOL_ERROR
    assert client.open("/last").whole().body == b"ok"
    assert called == ["/last"]


@pytest.mark.parametrize("length", [b"3", b"5", b"0"])
def test_a_body_that_is_not_as_long_as_it_said(start: Start, length: bytes) -> None:
    """In one piece with its head, and later."""
    client = start()
    assert client.open("/echo", "POST", (b"content-length", length), body=b"four").whole().status == 400
    stream = client.post("/echo", (b"content-length", length))
    stream.upload(b"four")
    stream.finish()
    until(lambda: stream.is_over, "an answer")
    assert stream.got(Reset) or stream.head()[0] == 400
    assert client.open().whole().body == b"hello"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"content-length", b"x")], 400),
        ([(b"content-length", b"-1")], 400),
        ([(b"content-length", b"9" * 30)], 413),
        ([(b"expect", b"something")], 417),
    ],
)
def test_what_is_refused_with_a_status(start: Start, fields: Any, status: int) -> None:
    client = start()
    assert client.open("/echo", "POST", *fields, body=b"four").whole().status == status
    assert client.open().whole().body == b"hello"


def test_expect_continue(start: Start) -> None:
    client = start(body_buffering=False)
    stream = client.post("/echo", (b"expect", b"100-continue"))
    stream.wait_for(Continue)
    stream.upload(b"some")
    stream.finish()
    assert stream.whole().body == b"some"


def test_early_hints_and_trailers_of_a_response(start: Start, worker_class: str) -> None:
    def wsgi(environ: Any, start_response: Any) -> Any:
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        start_response("200 OK", [])
        return [b"body"]

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [(b"X-Sum", b"1")]})

    stream = start(wsgi, asgi).open("/", "GET", (b"te", b"trailers"))
    answer = stream.whole()
    assert stream.got(Hints)[0].fields == [(b"link", b"</a.css>; rel=preload")]
    assert answer.body == b"body"
    if worker_class == "asgi":
        assert answer.trailers == {"x-sum": "1"}
        assert [type(each) for each in stream.events] == [Hints, Head, Data, Trailers, End]


def test_cookies_are_joined(start: Start, worker_class: str) -> None:
    client = start()
    answer = client.open("/path", "GET", (b"cookie", b"a=b"), (b"cookie", b"c=d")).whole()
    assert b"a=b; c=d" in answer.body


BROKEN = {
    "a stream with an even number": (lambda _: wire.header_frames(2, b"\x82", 1, 16384), wire.PROTOCOL_ERROR),
    "DATA on a stream that was not opened": (
        lambda _: wire.frame(wire.DATA, 0, 99, b"x"),
        wire.PROTOCOL_ERROR,
    ),
    "RST_STREAM on such a stream": (lambda _: wire.reset_frame(99, 8), wire.PROTOCOL_ERROR),
    "WINDOW_UPDATE on such a stream": (lambda _: wire.window_frame(99, 1), wire.PROTOCOL_ERROR),
    "HEADERS on a stream that is closed": (
        lambda client: wire.header_frames(1, client.head("/", "GET"), 1, 16384),
        wire.STREAM_CLOSED,
    ),
    "DATA on a stream that is closed": (lambda _: wire.frame(wire.DATA, 0, 1, b"x"), wire.STREAM_CLOSED),
    "a window that is too large": (lambda _: wire.window_frame(0, (1 << 31) - 1), wire.FLOW_CONTROL_ERROR),
    "a block that cannot be decoded": (
        lambda _: wire.header_frames(3, b"\xff\xff\xff\xff\xff\xff", 1, 16384),
        wire.COMPRESSION_ERROR,
    ),
    "a frame that is too large": (lambda _: b"\x00\x40\x01\x00\x00\x00\x00\x00\x03", wire.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_ends_the_connection(start: Start, name: str) -> None:
    """With a GOAWAY that says why, and which stream was the last."""
    make, code = BROKEN[name]
    client = start()
    assert client.open().whole().body == b"hello"
    client.send(make(client))
    last, said = client.goaway()
    assert said == code
    assert last in {1, 3}
    with Http2Client(client.engine) as other:
        assert other.open().whole().body == b"hello"


def test_data_behind_the_end_of_a_request(start: Start) -> None:
    client = start()
    stream = client.open("/length?200000", window=1)
    client.frame(wire.DATA, 0, stream.stream_id, b"more")
    assert isinstance(stream.end(), Reset)
    assert stream.code == wire.STREAM_CLOSED
    assert client.open().whole().body == b"hello"


def test_streams_beyond_the_maximum_are_refused_and_may_come_again(start: Start) -> None:
    client = start(http2=Http2Settings(streams_max=3))
    held = [client.open("/length?10", window=0) for _ in range(3)]
    for stream in held:
        stream.wait_for(Head)
    fourth = client.open()
    assert isinstance(fourth.end(), Reset)
    assert fourth.code == wire.REFUSED_STREAM
    held[0].allow(10)
    held[0].whole()
    assert client.open().whole().body == b"hello"
    for stream in held[1:]:
        stream.allow(10)
        stream.whole()


def test_many_requests_in_one_packet(start: Start) -> None:
    client = start()
    blocks = [client.head(f"/path?{number}", "GET") for number in range(50)]
    streams = [Stream(client, 2 * number + 1, 0) for number in range(50)]
    client.streams |= {stream.stream_id: stream for stream in streams}
    client.send(
        b"".join(
            wire.header_frames(stream.stream_id, block, wire.END_STREAM, 16384)
            + wire.window_frame(stream.stream_id, 10_000)
            for stream, block in zip(streams, blocks, strict=True)
        )
    )
    for number, stream in enumerate(streams):
        assert str(number).encode() in stream.whole().body


def test_room_that_comes_behind_a_body_is_there_for_its_response(start: Start) -> None:
    """All that came in one packet is read before the call, which waits for that room."""
    body = bytes(range(250)) * 280
    client = start()
    stream = client.open("/echo", "POST", ends=False, window=0)
    until(lambda: client.connection.streams, "the head to be read")
    frames = [
        wire.frame(wire.DATA, 0, stream.stream_id, body[at : at + 10_000])
        for at in range(0, len(body), 10_000)
    ]
    frames += [
        wire.frame(wire.DATA, wire.END_STREAM, stream.stream_id, b""),
        wire.window_frame(stream.stream_id, len(body)),
    ]
    client.send(b"".join(frames))
    assert stream.whole().body == body


@pytest.mark.parametrize("worker_class", ["sync"])
def test_no_call_begins_in_the_midst_of_another(start: Start) -> None:
    """Not even when a body is complete that was read while the call waited for its client."""
    told: list[str] = []

    def wsgi(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        told.append(f"{path} begins")
        start_response("200 OK", [])
        for _ in range(10 if path == "/slow" else 1):
            yield bytes(50_000)
        told.append(f"{path} ends")

    client = start(wsgi)
    other = client.post("/other", body=b"half")
    until(lambda: client.connection.streams, "the head to be read")
    slow = client.open("/slow", window=1000)
    slow.wait_for_body(bytes(1000))
    other.upload(b"of a body")
    other.finish()
    client.frame(wire.PING, 0, 0, b"12345678")
    client.wait_for(lambda: client.pongs, "all of that to be read")
    slow.allow(1_000_000)
    assert len(slow.whole().body) == 500_000
    assert len(other.whole().body) == 50_000
    assert told == ["/slow begins", "/slow ends", "/other begins", "/other ends"]
