"""Flow control both ways, fair turns, priorities; memory that stays as it is whatever passes through."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gwctl.config.model.http2 import Http2Settings
from gwctl.config.model.settings import PoolSettings
from gwctl.workers.exchange.states import BUSY, FLUSH
from gwctl.workers.http2 import wire
from gwctl.workers.http2.stream_limits import StreamLimits
from tests.support.compiled import pure_only
from tests.support.http2 import Http2Client
from tests.support.memory_wire import Data, Head, Reset
from tests.support.wait import until

Start = Callable[..., Http2Client]

BLOCK = bytes(65_536)


def streaming(blocks: int) -> tuple[Any, Any]:
    """Applications that send so many blocks, or "hello" at any other path than /stream."""

    def wsgi(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return (BLOCK for _ in range(blocks)) if environ["PATH_INFO"] == "/stream" else [b"hello"]

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        if scope["path"] != "/stream":
            await send({"type": "http.response.body", "body": b"hello"})
            return
        for _ in range(blocks):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        await send({"type": "http.response.body"})

    return wsgi, asgi


def test_a_window_of_1(start: Start) -> None:
    client = start()
    stream = client.open(window=0)
    stream.wait_for(Head)
    for size in range(5):
        assert len(stream.body) == size
        stream.allow(1)
        until(lambda expected=size + 1: len(stream.body) == expected, "a byte")
    assert stream.whole().body == b"hello"
    assert [len(each.data) for each in stream.got(Data)] == [1] * 5


def test_a_window_that_is_made_smaller_than_what_was_sent(start: Start) -> None:
    """RFC 9113 section 6.9.2: it is negative then, and has to be made good first."""
    client = start(client={"settings": ((wire.INITIAL_WINDOW_SIZE, 1000),)})
    stream = client.open("/length?3000", window=0)
    until(lambda: len(stream.body) == 1000, "what the window has")
    client.send(wire.settings_frame([(wire.INITIAL_WINDOW_SIZE, 400)]))
    stream.allow(500)  # -600 + 500
    client.frame(wire.PING, 0, 0, b"12345678")
    client.wait_for(lambda: client.pongs, "the answer, which comes behind what was sent")
    assert len(stream.body) == 1000
    stream.allow(101)
    until(lambda: len(stream.body) == 1001, "a byte")
    client.send(wire.settings_frame([(wire.INITIAL_WINDOW_SIZE, 5000)]))
    assert len(stream.whole().body) == 3000


def test_the_connections_window_holds_all_streams(start: Start) -> None:
    client = start(*streaming(4), threads=4, client={"room": 0})
    first = client.open("/stream")
    until(lambda: len(first.body) == 65_535, "what the connection's window has")
    client.send(wire.window_frame(0, 1_000_000))
    assert first.whole().body == BLOCK * 4


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_a_large_download_holds_up_no_small_answer(start: Start) -> None:
    """Its client reads slowly, and the small answers, asked for behind it, have theirs of what it has room for."""
    client = start(*streaming(200), threads=4, client={"room": 0})
    large = client.open("/stream", window=1 << 30)
    until(lambda: len(large.body) == 65_535, "the window to be used up")
    small = [client.open() for _ in range(10)]
    for stream in small:
        stream.wait_for(Head)  # which needs no room; what follows does, and there is none
    client.send(wire.window_frame(0, 20_000))
    until(lambda: len(large.body) == 65_535 + 20_000, "the large one to have its turn, which ends there")
    client.send(wire.window_frame(0, 20_000))
    for stream in small:
        assert stream.whole().body == b"hello"
    assert len(large.body) < 65_535 + 40_000
    large.leave()


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
@pytest.mark.parametrize("by", ["field", "frame"])
def test_the_more_urgent_goes_first(start: Start, by: str) -> None:
    wsgi, asgi = streaming(4)
    client = start(wsgi, asgi, threads=4, client={"room": 0})
    blocker = client.open("/stream", window=1 << 30)
    until(lambda: len(blocker.body) == 65_535, "the window to be used up")
    fields = {3: [(b"priority", b"u=7")], 5: [(b"priority", b"u=1")]} if by == "field" else {3: [], 5: []}
    late, early = (client.open("/stream", "GET", *fields[at], window=1 << 30) for at in (3, 5))
    connection = client.connection
    for stream in (late, early):
        exchange = client.exchange(stream)
        until(lambda one=exchange: one.held() > 0, "it to have something to send")
    if by == "frame":
        for stream, value in ((late, b"u=7"), (early, b"u=1, i")):
            client.frame(wire.PRIORITY_UPDATE, 0, 0, stream.stream_id.to_bytes(4, "big") + value)
        until(lambda: connection.streams[early.stream_id].urgency == 1, "the frame to be read")
        assert connection.streams[early.stream_id].incremental
    client.send(wire.window_frame(0, 60_000))  # less than each of them has at hand
    until(lambda: len(early.body) == 60_000, "all of it to go to the one")
    assert not late.body
    assert len(blocker.body) == 65_535
    client.send(wire.window_frame(0, 1 << 30))
    assert early.whole().body == BLOCK * 4
    assert late.whole().body == BLOCK * 4
    assert blocker.whole().body == BLOCK * 4


def test_a_reader_that_stops_is_cut_and_no_other(start: Start) -> None:
    wsgi, asgi = streaming(50)
    client = start(wsgi, asgi, threads=4, timeouts={"response_timeout_s": 0.5})
    stream = client.open("/stream", window=100)
    assert isinstance(stream.end(), Reset)
    client.engine.wait_for_log("the client took no byte for 0.5 s")
    assert client.open().whole().body == b"hello"


def test_an_upload_that_stops_is_answered_with_408(start: Start) -> None:
    client = start(timeouts={"body_timeout_s": 0.5})
    stream = client.post("/echo", body=b"some")
    assert stream.whole().status == 408
    assert client.open().whole().body == b"hello"


def test_an_upload_that_trickles_is_answered_with_408(start: Start) -> None:
    client = start(timeouts={"rate_grace_s": 0.5}, limits={"body_rate_min_bytes_per_s": 10_000})
    stream = client.post("/echo", body=b"some")
    done = threading.Event()

    def trickle() -> None:
        while not (done.wait(0.05) or stream.is_over):
            client.frame(wire.DATA, 0, stream.stream_id, b"x")

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    try:
        assert stream.whole().status == 408
    finally:
        done.set()
        thread.join(60)


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_a_body_beyond_its_window(start: Start) -> None:
    """The application does not read; the client sends on all the same. (A sync worker does not read meanwhile.)"""
    gate = threading.Event()

    def wsgi(environ: Any, start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "POST":
            gate.wait(60)
        start_response("200 OK", [])
        return [b"hello"]

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        import asyncio

        while scope["method"] == "POST" and not gate.is_set():  # noqa: ASYNC110 - a gate for all classes
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hello"})

    client = start(wsgi, asgi, threads=4, body_buffering=False, http2=Http2Settings(window_bytes=20_000))
    try:
        stream = client.post("/")
        client.exchange(stream)
        for _ in range(100):
            client.frame(wire.DATA, 0, stream.stream_id, bytes(10_000))
        until(lambda: stream.is_over, "it to be reset")
        assert stream.code == wire.FLOW_CONTROL_ERROR
        assert client.open().whole().body == b"hello"
    finally:
        gate.set()


@pytest.mark.parametrize("worker_class", ["asgi"])
def test_responses_that_wait_for_windows_count_among_those_in_memory(start: Start) -> None:
    """Together they are more than the worker may hold: the connection that holds them goes."""
    client = start(*streaming(100), limits={"responses_memory_bytes_max": 1_000_000}, sweep_s=0.1)
    engine = client.engine
    streams = [client.open("/stream", window=0) for _ in range(60)]
    client.wait_for(client.ended.is_set, "the end of the connection")
    engine.wait_for_log("limits.responses_memory_bytes_max")
    assert all(stream.is_over for stream in streams)
    with Http2Client(engine) as other:
        assert other.open().whole().body == b"hello"


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_large_bodies_both_ways_in_constant_memory(start: Start, large_bytes: int) -> None:
    """The client checks what comes, and keeps none of it."""
    seen = hashlib.sha256()

    def wsgi(environ: Any, start_response: Any) -> Any:
        digest = hashlib.sha256()
        while block := environ["wsgi.input"].read(65_536):
            digest.update(block)
        start_response("200 OK", [("X-Sum", digest.hexdigest())])
        return (BLOCK for _ in range(large_bytes // len(BLOCK)))

    async def asgi(_scope: Any, receive: Any, send: Any) -> None:
        digest = hashlib.sha256()
        more = True
        while more:
            message = await receive()
            digest.update(message["body"])
            more = message["more_body"]
        headers = [(b"x-sum", digest.hexdigest().encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(large_bytes // len(BLOCK)):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        await send({"type": "http.response.body"})

    client = start(wsgi, asgi, body_buffering=False)
    before = peak_kib()
    stream = client.post("/", window=1 << 30)
    for _ in range(large_bytes // len(BLOCK)):
        stream.upload(BLOCK)
        seen.update(BLOCK)
    stream.finish()
    taken = 0
    while not stream.is_over or stream.got(Data):
        data = [each for each in stream.events[:] if isinstance(each, Data)]
        taken += sum(len(each.data) for each in data)
        stream.events = [each for each in stream.events if each not in data] if data else stream.events
        if taken == large_bytes:
            break
    assert stream.head()[1]["x-sum"] == seen.hexdigest()
    assert peak_kib() - before < 48 * 1024


def test_an_empty_end_in_a_negative_window(start: Start, worker_class: str) -> None:
    """What is empty needs no window, and is not less than empty."""
    gate, here = threading.Event(), threading.Event()

    def wsgi(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield bytes(1000)
        here.set()
        gate.wait(60)

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": bytes(1000), "more_body": True})
        here.set()
        await asyncio.get_running_loop().run_in_executor(None, gate.wait, 60)
        await send({"type": "http.response.body"})

    client = start(wsgi, asgi, client={"settings": ((wire.INITIAL_WINDOW_SIZE, 1000),)})
    stream = client.open(window=0)
    until(lambda: len(stream.body) == 1000, "what the window has")
    assert here.wait(60)
    client.send(wire.settings_frame([(wire.INITIAL_WINDOW_SIZE, 400)]))
    client.frame(wire.PING, 0, 0, b"12345678")
    if worker_class != "sync":  # which is held by the call, and reads behind it
        client.wait_for(lambda: client.pongs, "the settings to be read")
    gate.set()
    assert stream.whole().body == bytes(1000)


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_a_window_of_uploads_that_is_smaller_than_the_client_can_know(start: Start) -> None:
    """RFC 9113 section 6.9.2: until our settings are acknowledged it has 65,535 bytes."""
    wsgi, asgi = echo()
    settings = Http2Settings(window_bytes=20_000)
    client = start(wsgi, asgi, body_buffering=False, http2=settings, client={"silent": True})
    early = client.open("/", "POST", body=bytes(60_000))
    assert early.whole().body == b"60000"
    client.send(wire.SETTINGS_ACK)
    late = client.post("/", body=bytes(20_000))
    client.wait_for(lambda: late.acknowledged >= 10_000, "room for more")
    late.finish()
    assert late.whole().body == b"20000"


def echo() -> tuple[Any, Any]:
    """Applications that say how long a body was."""

    def wsgi(environ: Any, start_response: Any) -> Any:
        size = len(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return [b"%d" % size]

    async def asgi(_scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"%d" % size})

    return wsgi, asgi


@pytest.mark.parametrize("size", [0, 100, 4096, 65_536])
def test_a_client_that_makes_its_table_smaller_is_told_in_the_next_block(start: Start, size: int) -> None:
    """RFC 9113 section 4.3.1; nghttp2 takes it for an error when that is not said."""
    client = start(client={"settings": ((wire.HEADER_TABLE_SIZE, size), (wire.INITIAL_WINDOW_SIZE, 9))})
    for _ in range(2):
        assert client.open().whole().body == b"hello"
    blocks = [payload for kind, _, _, payload in client.frames if kind == wire.HEADERS]
    assert [block.startswith(b"\x20") for block in blocks] == [size < 4096, False]


@pytest.mark.parametrize("worker_class", ["sync"])
def test_a_call_that_was_to_wait_for_what_went_at_once(start: Start) -> None:
    """A call left bytes that the socket did not take; when the next one begins, it takes them."""
    client = start()
    assert client.open().whole().body == b"hello"
    connection = client.connection

    def leave() -> None:
        connection._pending = wire.frame(wire.PING, wire.ACK, 0, b"12345678")

    client.engine.call(leave)
    assert client.open().whole().body == b"hello"
    assert client.pongs


class Judged:
    """A stream as `StreamLimits` sees it, silent since 0; ``cut``: it was ended for that."""

    aborted_as = "stream reset"

    def __init__(self, **values: Any) -> None:
        self.since = self.window_at = 0.0
        self.window_taken, self.window_bytes = -1, 0
        self.received = self.sent_bytes = self.taken_before = 5
        self.read_paused = self.expecting = self.ended = self.in_turns = False
        self.receiving = self.write_paused = self.is_stuck = False
        self.cut = False
        self.__dict__ |= values

    @property
    def connection(self) -> Any:
        log = SimpleNamespace(warning=lambda *_: None)
        return SimpleNamespace(service=SimpleNamespace(context=SimpleNamespace(throttled=log)))

    def what(self) -> str:
        return "GET /"

    def abandon(self) -> None:
        pass

    def abort(self) -> None:
        self.cut = True

    def cut_upload(self, _why: str) -> None:
        self.cut = True


def judge(stream: Judged, *, is_full: bool = False) -> bool:
    """Tell whether ``stream`` is cut after a long silence."""
    connection: Any = SimpleNamespace(streams={1: stream}, is_full=is_full, out=SimpleNamespace(window=1000))
    StreamLimits(PoolSettings(app="a:b")).check(connection, 1000.0)
    return stream.cut


@pure_only
def test_a_response_that_waits_for_others_of_its_connection_is_not_slow() -> None:
    """The client has room for it, and takes what is more urgent."""
    assert judge(Judged(state=FLUSH))
    assert not judge(Judged(state=FLUSH, in_turns=True))


@pure_only
def test_an_upload_that_finds_no_room_is_not_slow() -> None:
    """Bodies that applications do not take fill the connection's window: then no client sends any."""
    assert judge(Judged(state=BUSY, receiving=True))
    assert not judge(Judged(state=BUSY, receiving=True), is_full=True)
