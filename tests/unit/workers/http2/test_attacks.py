"""Known attacks on HTTP/2, each against a worker of each class: what it costs, and a neighbour that is served.

What is measured is the time of the loop's thread and the memory of the process, while the attacker sends as
much as it is let. The bounds are several times what is needed here.
"""

from __future__ import annotations

import gc
import resource
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import hpack
import pytest

from gwctl.config.model.http2 import Http2Settings
from gwctl.workers.http2 import wire
from gwctl.workers.http2.stream import Stream
from tests.support.http2 import Http2Client
from tests.support.wait import until

Start = Callable[..., Http2Client]

FRAMES = 100_000
"""What an attacker would send if it were let."""
BATCH = 500
CPU_S = 3.0
MEMORY_KIB = 32 * 1024
ITSELF = struct.pack(">IB", 1, 0)


@dataclass(frozen=True)
class Attack:
    """``frames`` makes one step of it, for the stream of that number. ``code``: what it ends with."""

    frames: Callable[[hpack.Encoder, int], bytes]
    code: int = wire.ENHANCE_YOUR_CALM
    start: Callable[[hpack.Encoder], bytes] = lambda _: b""
    calls_max: int = 0


def head(encoder: hpack.Encoder, stream_id: int, method: str = "GET", flags: int = wire.END_STREAM) -> bytes:
    fields = [(":method", method), (":scheme", "http"), (":authority", "x"), (":path", "/attack")]
    return wire.header_frames(stream_id, encoder.encode(fields), flags, 16384)


def opened(encoder: hpack.Encoder) -> bytes:
    """An upload that does not end, on stream 1."""
    return head(encoder, 1, "POST", 0)


def each(frame: bytes) -> Callable[[hpack.Encoder, int], bytes]:
    return lambda _encoder, _stream_id: frame


def behind_head(frame: Callable[[int], bytes], flags: int = wire.END_STREAM) -> Attack:
    """A request for each stream, and then something that has us reset it."""
    return Attack(
        lambda encoder, stream_id: head(encoder, stream_id, "GET", flags) + frame(stream_id), calls_max=400
    )


def bomb(encoder: hpack.Encoder) -> bytes:
    """A field of 3900 bytes in the table, which every further mention has to be copied from."""
    fields = [(":method", "GET"), (":scheme", "http"), (":path", "/attack"), ("large", "x" * 3900)]
    return wire.header_frames(1, encoder.encode(fields), wire.END_STREAM, 16384)


ATTACKS = {
    "rapid reset": behind_head(lambda stream_id: wire.reset_frame(stream_id, wire.CANCEL)),
    "rapid reset of uploads": behind_head(lambda stream_id: wire.reset_frame(stream_id, wire.CANCEL), 0),
    "made you reset by a window": behind_head(
        lambda stream_id: wire.window_frame(stream_id, (1 << 31) - 1) * 2
    ),
    "made you reset by an update of 0": behind_head(lambda stream_id: wire.window_frame(stream_id, 0)),
    "made you reset by DATA": behind_head(lambda stream_id: wire.frame(wire.DATA, 0, stream_id, b"x")),
    "made you reset by PRIORITY": behind_head(
        lambda stream_id: wire.frame(wire.PRIORITY, 0, stream_id, struct.pack(">IB", stream_id, 0))
    ),
    "made you reset by a malformed request": Attack(
        lambda encoder, stream_id: wire.header_frames(
            stream_id, encoder.encode([(":method", "GET")]), 1, 16384
        )
    ),
    "CONTINUATION": Attack(
        each(wire.frame(wire.CONTINUATION, 0, 1, b"\x82" * 1000)),
        start=lambda _: wire.frame(wire.HEADERS, 0, 1, b"\x82"),
    ),
    "empty CONTINUATION": Attack(
        each(wire.frame(wire.CONTINUATION, 0, 1, b"")),
        start=lambda _: wire.frame(wire.HEADERS, 0, 1, b"\x82"),
    ),
    "SETTINGS": Attack(each(wire.settings_frame([(wire.INITIAL_WINDOW_SIZE, 1)]))),
    "PING": Attack(each(wire.frame(wire.PING, 0, 0, b"12345678"))),
    "empty DATA": Attack(each(wire.frame(wire.DATA, 0, 1, b"")), start=opened),
    "padded DATA": Attack(each(wire.frame(wire.DATA, wire.PADDED, 1, b"\xff" + bytes(255))), start=opened),
    "window updates": Attack(each(wire.window_frame(0, 1))),
    "window updates of a stream": Attack(each(wire.window_frame(1, 1)), start=opened),
    "PRIORITY": Attack(each(wire.frame(wire.PRIORITY, 0, 7, bytes(5)))),
    "PRIORITY_UPDATE": Attack(each(wire.frame(wire.PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1) + b"u=1"))),
    "unknown frames": Attack(each(wire.frame(0xBE, 0, 0, bytes(100)))),
    "streams beyond the maximum": Attack(
        lambda encoder, stream_id: head(encoder, stream_id, "POST", 0), calls_max=200
    ),
    "HPACK bomb": Attack(
        lambda encoder, stream_id: wire.header_frames(
            stream_id + 2,
            encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", "/attack")])
            + b"\xbe" * 16_000,
            1,
            16384,
        ),
        start=bomb,
        calls_max=1,
    ),
}


class Counting:
    """Applications that count the attacker's calls."""

    def __init__(self) -> None:
        self.attacked = 0

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        self.attacked += environ["PATH_INFO"] == "/attack"
        start_response("200 OK", [])
        return [b"hello"]

    async def asgi(self, scope: Any, _receive: Any, send: Any) -> None:
        self.attacked += scope["path"] == "/attack"
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hello"})


def batches(attack: Attack, encoder: hpack.Encoder) -> Iterator[bytes]:
    yield attack.start(encoder)
    for at in range(0, FRAMES, BATCH):
        yield b"".join([attack.frames(encoder, 2 * (at + n) + 1) for n in range(BATCH)])


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_costs_little_and_a_neighbour_is_served(start: Start, name: str) -> None:
    attack = ATTACKS[name]
    app = Counting()
    attacker = start(app.wsgi, app.asgi, threads=4, body_buffering=False)
    engine = attacker.engine
    with Http2Client(engine) as neighbour:
        assert neighbour.open().whole().body == b"hello"
        stop = threading.Event()

        def send() -> None:
            for data in batches(attack, hpack.Encoder()):
                if attacker.ended.is_set() or stop.is_set():
                    return
                attacker.send(data)

        before, memory = engine.call(time.thread_time), peak_kib()
        attacker.streams = _Everybody()
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        answered = 0
        while not attacker.ended.is_set() or answered < 5:
            assert neighbour.open().whole().body == b"hello"
            answered += 1
        stop.set()
        sender.join(60)
        cpu_s = engine.call(time.thread_time) - before
        assert peak_kib() - memory < MEMORY_KIB
        assert cpu_s < CPU_S + answered * 0.01
        assert attacker.goaways[-1][1] == attack.code if attacker.goaways else name == "PING"
        assert app.attacked <= attack.calls_max or not attack.calls_max
        assert neighbour.open().whole().body == b"hello"


class _Anybody:
    """A stream of which nothing is noted."""

    is_over = True
    left = True
    acknowledged = 0
    code = 0

    @property
    def events(self) -> list[Any]:
        return []


class _Everybody(dict[int, Any]):
    """All streams that there can be."""

    anybody = _Anybody()

    def get(self, stream_id: int, _otherwise: Any = None) -> Any:
        return self.anybody if stream_id else None


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_who_has_us_answer_and_does_not_read_is_left(start: Start) -> None:
    """Of pings there are as many as the settings allow: what waits for the client has a bound of its own."""
    client = start(client={"reads": False}, http2=Http2Settings(idle_frames_max=10_000_000))
    engine = client.engine
    connection = client.connection
    pings = wire.frame(wire.PING, 0, 0, b"12345678") * 1000
    held = 0
    client.sock.settimeout(1.0)
    for _ in range(3000):
        client.send(pings)
        if client.ended.is_set() or connection.lost or connection.state >= 7:
            break
        held = max(held, connection.out.held)
    until(lambda: connection.lost, "it to be left")
    assert held < 1 << 20
    with Http2Client(engine) as neighbour:
        assert neighbour.open().whole().body == b"hello"
    client.read()


def test_windows_of_0_hold_little_memory(start: Start, worker_class: str) -> None:
    """As many streams as there may be, each with a large response of which nobody takes a byte."""

    def wsgi(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return (bytes(65_536) for _ in range(1000))

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})

    count = {"asgi": 128, "threads": 4, "sync": 1}[worker_class]
    client = start(wsgi, asgi, threads=4, timeouts={"response_timeout_s": 1.0})
    before = peak_kib()
    streams = [client.open(window=0) for _ in range(count)]
    for stream in streams:
        until(lambda one=stream: one.is_over, "it to be cut")
    assert peak_kib() - before < 64 * 1024
    client.engine.wait_for_log("the client took no byte for 1 s")


def test_requests_that_are_refused_leave_nothing_behind(start: Start) -> None:
    """The same head again and again, which is refused each time."""
    client = start()
    before = len(_streams())
    for _ in range(50):
        assert client.open("/", "foo").whole().status == 501
    until(lambda: len(_streams()) <= before + 1, "the streams to be gone")


def _streams() -> list[Any]:
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is Stream]
