"""WebSockets over HTTP/2 (RFC 8441): an extended CONNECT opens one, DATA carries its frames, both ways."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from gwctl.config.model.http2 import Http2Settings
from gwctl.config.model.settings import WebSocketSettings
from gwctl.workers.http2 import wire
from tests.support.engine import Engine
from tests.support.http2 import Http2Client, Stream
from tests.support.memory_wire import Data, End, Head, Reset
from tests.support.wait import DEADLINE_S, until
from tests.support.websocket import ACCEPTED, BINARY, CLOSE, PING, PONG, TEXT, Echo, close_frame, frame, sends
from tests.support.websocket_cases import CASES, MESSAGE_BYTES_MAX, frames_until_close

CONNECT = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/chat?room=1"),
    (b":authority", b"test"),
    (b"sec-websocket-version", b"13"),
]
WINDOW = 1 << 20

Start = Callable[..., Http2Client]


@pytest.fixture
def start() -> Iterator[Start]:
    """Serve an application by WebSockets: ``start(application, client={...}, **settings)``."""
    with ExitStack() as stack:

        def begin(application: Any = None, client: Any = None, **settings: Any) -> Http2Client:
            engine = stack.enter_context(Engine(application or Echo(), "asgi", http=("h2", "h1"), **settings))
            memory = engine.server.websockets._around.memory
            stack.callback(lambda: until(lambda: memory.total == 0, "nothing to be held"))
            stack.callback(lambda: until(lambda: engine.server.websockets.idle, "no WebSocket to be left"))
            return stack.enter_context(Http2Client(engine, **(client or {})))

        yield begin


def opened(client: Http2Client, *fields: tuple[bytes, bytes], window: int = WINDOW) -> Stream:
    """Open one, which has to be accepted."""
    stream = client.raw([*CONNECT, *fields], ends=False, window=window)
    assert head_of(client, stream).status == 200
    return stream


def head_of(client: Http2Client, stream: Stream) -> Head:
    client.wait_for(lambda: stream.events, "an answer")
    (head,) = [each for each in stream.events if isinstance(each, Head)]
    return head


def say(client: Http2Client, stream: Stream, data: bytes, *, ends: bool = False) -> None:
    client.frame(wire.DATA, wire.END_STREAM if ends else 0, stream.stream_id, data)


def heard(stream: Stream) -> bytes:
    return b"".join([each.data for each in list(stream.events) if isinstance(each, Data)])


def hear(client: Http2Client, stream: Stream, expected: bytes) -> None:
    client.wait_for(lambda: len(heard(stream)) >= len(expected), "what was to come")
    assert heard(stream) == expected


def ended(client: Http2Client, stream: Stream) -> None:
    """Wait until the server has ended its side."""
    client.wait_for(lambda: any(isinstance(each, End) for each in list(stream.events)), "the end")


def answer(opcode: int, payload: bytes) -> bytes:
    return frame(opcode, payload, mask=None)


def gone(client: Http2Client) -> None:
    assert client.engine is not None
    websockets = client.engine.server.websockets
    until(lambda: not len(websockets) and websockets.idle, "the WebSockets to be gone")


def test_it_is_offered_and_opened_and_carries_messages(start: Start) -> None:
    scopes = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await Echo()(scope, receive, send)

    client = start(application)
    client.wait_for(lambda: client.settings, "the settings")
    assert client.settings[wire.ENABLE_CONNECT_PROTOCOL] == 1
    stream = opened(client, (b"cookie", b"a=1"))
    say(client, stream, frame(TEXT, b"hello") + frame(PING, b"?"))
    hear(client, stream, answer(PONG, b"?") + answer(TEXT, b"hello"))
    assert client.engine is not None
    assert client.engine.server.connections == 1  # one of HTTP/2, whatever it carries
    say(client, stream, close_frame(1000))
    ended(client, stream)
    assert heard(stream).endswith(answer(CLOSE, (1000).to_bytes(2, "big")))
    say(client, stream, b"", ends=True)
    gone(client)
    (scope,) = scopes
    assert (scope["type"], scope["http_version"], scope["scheme"]) == ("websocket", "2", "ws")
    assert (scope["path"], scope["query_string"]) == ("/chat", b"room=1")
    assert (b"cookie", b"a=1") in scope["headers"]
    assert client.open().whole().status == 200  # the connection goes on


def test_the_answer_has_what_was_agreed_on_and_what_the_application_adds(start: Start) -> None:
    accept = {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"X-Room", b" 1 ")]}
    client = start(sends(accept, {"type": "websocket.send", "text": "x" * 100}))
    stream = client.raw(
        [
            *CONNECT,
            (b"sec-websocket-protocol", b"other, chat"),
            (b"sec-websocket-extensions", b"permessage-deflate"),
        ],
        ends=False,
    )
    head = head_of(client, stream)
    fields = dict(head.fields)
    assert head.status == 200
    assert fields[b"sec-websocket-protocol"] == b"chat"
    assert fields[b"x-room"] == b"1"
    assert fields[b"sec-websocket-extensions"].startswith(b"permessage-deflate")
    assert not {b"connection", b"upgrade", b"sec-websocket-accept", b"content-length"} & fields.keys()
    client.wait_for(lambda: len(heard(stream)) > 2, "a message")
    data = heard(stream)
    assert data[0] == 0xC1
    packed = data[2 : 2 + data[1]] + b"\0\0\xff\xff"
    assert zlib.decompressobj(wbits=-15).decompress(packed) == b"x" * 100


def test_what_comes_before_the_answer_is_kept(start: Start) -> None:
    client = start()
    stream = client.raw(CONNECT, body=frame(TEXT, b"early"), ends=False)
    hear(client, stream, answer(TEXT, b"early"))
    say(client, stream, close_frame(1000), ends=True)
    ended(client, stream)


def test_tiny_pieces_are_one(start: Start) -> None:
    """Each frame of DATA has a byte, and all arrive in a few reads: the WebSocket reads as often as these."""
    client = start()
    stream = opened(client)
    assert client.engine is not None
    (connection,) = client.engine.server.websockets._all()
    data = frame(TEXT, b"x" * 2000)
    whole = b"".join(
        [wire.frame(wire.DATA, 0, stream.stream_id, data[at : at + 1]) for at in range(len(data))]
    )
    reads: list[int] = []
    tunnel = connection.transport._tunnel
    original = tunnel._protocol.data_received

    class Counting:
        def data_received(self, piece: bytes) -> None:
            reads.append(len(piece))
            original(piece)

        def __getattr__(self, name: str) -> Any:
            return getattr(connection, name)

    client.engine.call(lambda: setattr(tunnel, "_protocol", Counting()))
    client.send(whole)
    hear(client, stream, answer(TEXT, b"x" * 2000))
    assert sum(reads) == len(data)
    assert len(reads) < len(data) / 10


class Talk:
    """A stream as what plays the cases of HTTP/1.1 has it."""

    def __init__(self, client: Http2Client, stream: Stream) -> None:
        self._client = client
        self._stream = stream
        self._at = 0

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), wire.FRAME_BYTES_MAX):
            say(self._client, self._stream, data[at : at + wire.FRAME_BYTES_MAX])

    def read_exactly(self, size: int) -> bytes:
        until = self._at + size
        self._client.wait_for(lambda: len(heard(self._stream)) >= until, "the rest of a frame")
        data = heard(self._stream)[self._at : until]
        self._at = until
        return data

    def rest(self) -> bytes:
        ended(self._client, self._stream)
        return heard(self._stream)[self._at :]


def test_the_cases_of_http1(start: Start) -> None:
    """On one connection, one after the other: some of the bytes come before the handshake is answered."""
    settings = WebSocketSettings(message_bytes_max=MESSAGE_BYTES_MAX)
    client = start(
        websocket=settings, http2=Http2Settings(window_bytes=1 << 20, connection_window_bytes=1 << 20)
    )
    deflate = (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")
    for name, case in CASES.items():
        stream = client.raw([*CONNECT, deflate] if case.deflate else CONNECT, ends=False)
        talk = Talk(client, stream)
        talk.send(case.data)
        frames, code = frames_until_close(talk, case)
        known = len(case.frames)
        assert (name, code, tuple(frames[:known])) == (name, case.code, case.frames)
        assert len(frames) - known <= case.unanswered
        say(client, stream, b"", ends=True)
    gone(client)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([*CONNECT[:-1]], 400),
        ([*CONNECT[:-1], (b"sec-websocket-version", b"8")], 400),
        ([*CONNECT, (b"sec-websocket-extensions", b"=")], 400),
        ([*CONNECT, (b"sec-websocket-protocol", b"a b")], 400),
        ([CONNECT[0], (b":protocol", b"connect-udp"), *CONNECT[2:]], 501),
    ],
)
def test_what_is_wrong_with_a_handshake_is_answered(start: Start, fields: Any, status: int) -> None:
    client = start()
    stream = client.raw(fields, ends=False)
    assert head_of(client, stream).status == status
    ended(client, stream)
    assert client.open().whole().status == 200


def test_each_counts_as_a_connection(start: Start) -> None:
    """A client may have many streams, and each of them a WebSocket, which takes memory like any other."""
    client = start(connections_max=2)
    first = opened(client)
    second = client.raw(CONNECT, ends=False)
    assert head_of(client, second).status == 503
    say(client, first, close_frame(1000), ends=True)
    gone(client)
    opened(client)
    assert client.open().whole().status == 200


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_where_there_are_no_websockets_none_is_offered(worker_class: str) -> None:
    def application(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"plain"]

    with Engine(application, worker_class, http=("h2", "h1")) as engine, Http2Client(engine) as client:
        client.wait_for(lambda: client.settings, "the settings")
        assert wire.ENABLE_CONNECT_PROTOCOL not in client.settings
        assert head_of(client, client.raw(CONNECT, ends=False)).status == 501
        assert client.open().whole().body == b"plain"


@pytest.mark.parametrize(
    ("messages", "status", "body"),
    [
        ([{"type": "websocket.close"}], 403, None),
        (
            [
                {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no")]},
                {"type": "websocket.http.response.body", "body": b"not ", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"you"},
            ],
            401,
            b"not you",
        ),
        ([], 500, None),
        ([ValueError("oops")], 500, None),
    ],
)
def test_a_denial_is_a_response(start: Start, messages: Any, status: int, body: bytes | None) -> None:
    client = start(sends(*messages))
    stream = client.raw(CONNECT, ends=False)
    ended(client, stream)
    assert head_of(client, stream).status == status
    if body is not None:
        assert heard(stream) == body
    gone(client)


@pytest.mark.parametrize("how", ["reset", "end of the stream", "end of the connection", "broken frame"])
def test_every_end_is_told_and_leaves_nothing(start: Start, how: str) -> None:
    told: list[Any] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        told.append(await receive())
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.send", "text": "too late"})

    client = start(application)
    stream = opened(client)
    if how == "reset":
        client.send(wire.reset_frame(stream.stream_id, wire.CANCEL))
    elif how == "end of the stream":
        say(client, stream, b"", ends=True)
        ended(client, stream)
    elif how == "broken frame":
        say(client, stream, frame(TEXT, b"x", mask=None))
        ended(client, stream)
        assert heard(stream)[2:4] == (1002).to_bytes(2, "big")
        say(client, stream, b"", ends=True)
    else:
        client.disconnect()
    gone(client)
    until(lambda: told, "the news")
    code = 1002 if how == "broken frame" else 1006
    assert (told[0]["type"], told[0]["code"]) == ("websocket.disconnect", code)


def test_what_nobody_reads_waits_with_the_client(start: Start) -> None:
    """The application takes nothing: the client gets no room beyond the stream's window."""
    gate = asyncio.Event()

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        await gate.wait()
        total = 0
        while (message := await receive())["type"] == "websocket.receive":
            total += len(message["bytes"])
            await send({"type": "websocket.send", "text": str(total)})

    client = start(application)
    stream = opened(client)
    message = frame(BINARY, bytes(16_000))
    sent = 0
    while sent + len(message) <= client.upload_window:
        say(client, stream, message)
        sent += len(message)
    client.frame(wire.PING, 0, 0, b"are here")
    client.wait_for(lambda: client.pongs, "all to be read")
    allowed = stream.acknowledged
    assert allowed < sent  # less than was sent: what waits is not taken
    assert client.engine is not None
    client.engine.call(gate.set)
    count = sent // len(message)
    last = answer(TEXT, str(count * 16_000).encode())
    client.wait_for(lambda: heard(stream).endswith(last), "all to be received")
    client.wait_for(lambda: stream.acknowledged > allowed, "room")
    say(client, stream, close_frame(1000), ends=True)
    ended(client, stream)


def test_an_application_waits_for_a_client_that_gives_no_room(start: Start) -> None:
    sent: list[int] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPTED)
        for number in range(40):
            await send({"type": "websocket.send", "bytes": bytes([number]) * 10_000})
            sent.append(number)

    client = start(application)
    stream = opened(client, window=0)
    until(lambda: sent, "the first message")
    client.frame(wire.PING, 0, 0, b"so far..")
    client.wait_for(lambda: client.pongs, "an answer")
    assert len(sent) < 20
    assert heard(stream) == b""
    stream.allow(1 << 20)
    ended_with = answer(CLOSE, (1000).to_bytes(2, "big"))
    client.wait_for(lambda: heard(stream).endswith(ended_with), "the rest")
    assert heard(stream)[:-4] == b"".join([answer(BINARY, bytes([n]) * 10_000) for n in range(40)])
    say(client, stream, close_frame(1000), ends=True)
    ended(client, stream)


def test_a_drain_says_1012_and_then_the_connection_ends(start: Start) -> None:
    client = start(timeouts={"linger_s": 5})
    assert client.engine is not None
    stream = opened(client)
    say(client, stream, frame(TEXT, b"x"))
    hear(client, stream, answer(TEXT, b"x"))
    drained = client.engine.drain()
    client.wait_for(lambda: len(heard(stream)) > 3, "the close frame")
    assert heard(stream)[3:] == answer(CLOSE, (1012).to_bytes(2, "big"))
    say(client, stream, close_frame(1012), ends=True)
    ended(client, stream)
    assert drained.wait(DEADLINE_S)
    assert client.ended.wait(DEADLINE_S)
    assert client.goaways[-1] == (stream.stream_id, wire.NO_ERROR)


def test_a_quick_stop_lets_clients_know(start: Start) -> None:
    client = start()
    assert client.engine is not None
    stream = opened(client)
    assert client.engine.call(client.engine.server.quit) == 1
    client.wait_for(lambda: heard(stream), "the close frame")
    assert heard(stream) == answer(CLOSE, (1012).to_bytes(2, "big"))
    assert client.ended.wait(DEADLINE_S)


def test_messages_and_requests_share_a_connection(start: Start) -> None:
    client = start()
    streams = [opened(client) for _ in range(5)]
    for number, stream in enumerate(streams):
        say(client, stream, frame(TEXT, b"%d" % number))
        assert client.open().whole().body == b"plain"
    for number, stream in enumerate(streams):
        hear(client, stream, answer(TEXT, b"%d" % number))
    assert not any(isinstance(each, Reset) for stream in streams for each in stream.events)
