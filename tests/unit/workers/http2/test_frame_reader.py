"""From bytes to frames: what is told, and what is wrong with a connection or a stream. No sockets."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from gwctl.workers.http2 import wire
from gwctl.workers.http2.frame_reader import FrameReader
from gwctl.workers.http2.guard import Guard
from gwctl.workers.http2.wire import Broken, StreamBroken, frame

START = wire.PREFACE + wire.settings_frame([])


class Told:
    """Notes what a reader tells."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, *args, *kwargs.values()))


def reader(resets: int = 100, idle: int = 100) -> tuple[FrameReader, Told]:
    told = Told()
    return FrameReader(told, Guard(resets, idle), 1000), told


def read(*frames: bytes, start: bytes = START) -> list[tuple[Any, ...]]:
    """What is told of ``frames`` behind ``start``."""
    one, told = reader()
    one.feed(start + b"".join(frames))
    return told.calls[1:]


def broken(*frames: bytes, start: bytes = START) -> int:
    with pytest.raises(Broken) as fault:
        read(*frames, start=start)
    return fault.value.code


def test_what_comes_byte_by_byte_is_the_same() -> None:
    block = b"b" * 50
    frames = [
        frame(wire.HEADERS, wire.END_HEADERS, 1, block),
        frame(wire.DATA, 0, 1, b"data"),
        frame(wire.HEADERS, 0, 3, block),
        frame(wire.CONTINUATION, 0, 3, block),
        frame(wire.CONTINUATION, wire.END_HEADERS, 3, b"end"),
        frame(wire.DATA, wire.END_STREAM, 1, b""),
        frame(wire.PING, 0, 0, b"12345678"),
        wire.window_frame(0, 5),
        wire.window_frame(1, 6),
        wire.reset_frame(1, 8),
        frame(wire.PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1) + b"u=1"),
        wire.goaway_frame(0, 2),
        frame(0xBE, 7, 9, b"nobody knows this"),
    ]
    whole = read(*frames)
    one, told = reader()
    for byte in START + b"".join(frames):
        one.feed(bytes((byte,)))
    assert told.calls[1:] == whole
    assert whole == [
        ("header_block", 1, block, False),
        ("data", 1, b"data", 4, False),
        ("header_block", 3, block * 2 + b"end", False),
        ("data", 1, b"", 0, True),
        ("ping", b"12345678"),
        ("window", 0, 5),
        ("window", 1, 6),
        ("reset", 1, 8),
        ("priority", 1, b"u=1"),
        ("going_away", 2),
    ]


def test_padding_counts_and_is_dropped() -> None:
    padded = wire.PADDED | wire.END_HEADERS | wire.END_STREAM
    assert read(
        frame(wire.HEADERS, padded, 1, b"\x03block\0\0\0"),
        frame(wire.HEADERS, padded | wire.WITH_PRIORITY, 3, b"\x02\0\0\0\0\x10block\0\0"),
        frame(wire.DATA, wire.PADDED, 1, b"\x04data\0\0\0\0"),
        frame(wire.DATA, wire.PADDED | wire.END_STREAM, 1, b"\x00"),
    ) == [
        ("header_block", 1, b"block", True),
        ("header_block", 3, b"block", True),
        ("data", 1, b"data", 9, False),
        ("data", 1, b"", 1, True),
    ]


HEAD = frame(wire.HEADERS, wire.END_HEADERS, 1, b"block")

BROKEN = {
    "no preface": (b"", b"GET / HTTP/1.1\r\n\r\n", wire.PROTOCOL_ERROR),
    "another preface": (b"", wire.PREFACE[:-1] + b"x", wire.PROTOCOL_ERROR),
    "no settings first": (wire.PREFACE, HEAD, wire.PROTOCOL_ERROR),
    "an acknowledgement first": (wire.PREFACE, wire.SETTINGS_ACK, wire.PROTOCOL_ERROR),
    "a frame that is too large": (START, frame(wire.DATA, 0, 1, bytes(16385)), wire.FRAME_SIZE_ERROR),
    "HEADERS on stream 0": (START, frame(wire.HEADERS, 4, 0, b"b"), wire.PROTOCOL_ERROR),
    "DATA on stream 0": (START, frame(wire.DATA, 0, 0, b"d"), wire.PROTOCOL_ERROR),
    "RST_STREAM on stream 0": (START, wire.reset_frame(0, 8), wire.PROTOCOL_ERROR),
    "RST_STREAM of 3 bytes": (START, frame(wire.RST_STREAM, 0, 1, b"abc"), wire.FRAME_SIZE_ERROR),
    "PRIORITY on stream 0": (START, frame(wire.PRIORITY, 0, 0, bytes(5)), wire.PROTOCOL_ERROR),
    "PING on a stream": (START, frame(wire.PING, 0, 1, bytes(8)), wire.PROTOCOL_ERROR),
    "PING of 7 bytes": (START, frame(wire.PING, 0, 0, bytes(7)), wire.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (START, frame(wire.GOAWAY, 0, 1, bytes(8)), wire.PROTOCOL_ERROR),
    "GOAWAY of 7 bytes": (START, frame(wire.GOAWAY, 0, 0, bytes(7)), wire.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (START, frame(wire.SETTINGS, 0, 1, b""), wire.PROTOCOL_ERROR),
    "SETTINGS of 5 bytes": (START, frame(wire.SETTINGS, 0, 0, bytes(5)), wire.FRAME_SIZE_ERROR),
    "an acknowledgement with settings": (START, frame(wire.SETTINGS, 1, 0, bytes(6)), wire.FRAME_SIZE_ERROR),
    "65 settings in a frame": (START, frame(wire.SETTINGS, 0, 0, bytes(65 * 6)), wire.ENHANCE_YOUR_CALM),
    "ENABLE_PUSH of 2": (START, wire.settings_frame([(wire.ENABLE_PUSH, 2)]), wire.PROTOCOL_ERROR),
    "a window of 2^31": (
        START,
        wire.settings_frame([(wire.INITIAL_WINDOW_SIZE, 1 << 31)]),
        wire.FLOW_CONTROL_ERROR,
    ),
    "frames of 16383 bytes": (
        START,
        wire.settings_frame([(wire.MAX_FRAME_SIZE, 16383)]),
        wire.PROTOCOL_ERROR,
    ),
    "frames of 2^24 bytes": (
        START,
        wire.settings_frame([(wire.MAX_FRAME_SIZE, 1 << 24)]),
        wire.PROTOCOL_ERROR,
    ),
    "a window update of 0": (START, wire.window_frame(0, 0), wire.PROTOCOL_ERROR),
    "a window update of 3 bytes": (START, frame(wire.WINDOW_UPDATE, 0, 1, b"abc"), wire.FRAME_SIZE_ERROR),
    "PUSH_PROMISE": (START, frame(wire.PUSH_PROMISE, 4, 1, bytes(8)), wire.PROTOCOL_ERROR),
    "CONTINUATION alone": (START, frame(wire.CONTINUATION, 4, 1, b"b"), wire.PROTOCOL_ERROR),
    "CONTINUATION of another stream": (
        START,
        frame(wire.HEADERS, 0, 1, b"b") + frame(wire.CONTINUATION, 4, 3, b"b"),
        wire.PROTOCOL_ERROR,
    ),
    "PING within a header block": (
        START,
        frame(wire.HEADERS, 0, 1, b"b") + frame(wire.PING, 0, 0, bytes(8)),
        wire.PROTOCOL_ERROR,
    ),
    "an unknown frame within a header block": (
        START,
        frame(wire.HEADERS, 0, 1, b"b") + frame(0xBE, 0, 0, b""),
        wire.PROTOCOL_ERROR,
    ),
    "a header block that is too large": (
        START,
        frame(wire.HEADERS, 0, 1, bytes(500)) + frame(wire.CONTINUATION, 0, 1, bytes(501)),
        wire.ENHANCE_YOUR_CALM,
    ),
    "a header block of 65 frames": (
        START,
        frame(wire.HEADERS, 0, 1, b"") + frame(wire.CONTINUATION, 0, 1, b"") * 64,
        wire.ENHANCE_YOUR_CALM,
    ),
    "more padding than DATA": (START, frame(wire.DATA, wire.PADDED, 1, b"\x05abc"), wire.PROTOCOL_ERROR),
    "padding in an empty DATA": (START, frame(wire.DATA, wire.PADDED, 1, b""), wire.PROTOCOL_ERROR),
    "more padding than HEADERS": (
        START,
        frame(wire.HEADERS, wire.PADDED, 1, b"\x05abc"),
        wire.PROTOCOL_ERROR,
    ),
    "HEADERS too short for a priority": (START, frame(wire.HEADERS, 0x24, 1, b"abc"), wire.FRAME_SIZE_ERROR),
    "PRIORITY_UPDATE on a stream": (START, frame(wire.PRIORITY_UPDATE, 0, 1, bytes(4)), wire.PROTOCOL_ERROR),
    "PRIORITY_UPDATE of stream 0": (
        START,
        frame(wire.PRIORITY_UPDATE, 0, 0, bytes(4) + b"u=1"),
        wire.PROTOCOL_ERROR,
    ),
    "PRIORITY_UPDATE of 3 bytes": (START, frame(wire.PRIORITY_UPDATE, 0, 0, bytes(3)), wire.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_connection(name: str) -> None:
    start, frames, code = BROKEN[name]
    assert broken(frames, start=start) == code


def test_what_is_wrong_with_a_stream_is_told_and_the_next_frame_read() -> None:
    itself = struct.pack(">IB", 5, 16)
    calls = read(
        wire.window_frame(1, 0),
        frame(wire.PRIORITY, 0, 3, b"abc"),
        frame(wire.PRIORITY, 0, 5, itself),
        frame(wire.HEADERS, wire.END_HEADERS | wire.WITH_PRIORITY, 5, itself + b"block"),
        frame(wire.PING, 0, 0, b"12345678"),
    )
    codes = [(call[1].stream_id, call[1].code) for call in calls if call[0] == "stream_broken"]
    assert codes == [
        (1, wire.PROTOCOL_ERROR),
        (3, wire.FRAME_SIZE_ERROR),
        (5, wire.PROTOCOL_ERROR),
        (5, wire.PROTOCOL_ERROR),
    ]
    assert calls[-1] == ("ping", b"12345678")
    assert isinstance(calls[0][1], StreamBroken)


@pytest.mark.parametrize(
    "flood",
    [
        frame(wire.PING, 0, 0, bytes(8)),
        frame(wire.SETTINGS, 0, 0, b""),
        wire.SETTINGS_ACK,
        frame(wire.PRIORITY, 0, 1, bytes(5)),
        frame(wire.PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1)),
        frame(wire.DATA, 0, 1, b""),
        wire.window_frame(0, 1),
        wire.window_frame(1, 1),
        frame(0xBE, 0, 0, b""),
        wire.goaway_frame(0, 0),
    ],
    ids=[
        "PING",
        "SETTINGS",
        "acknowledgements",
        "PRIORITY",
        "PRIORITY_UPDATE",
        "empty DATA",
        "WINDOW_UPDATE",
        "WINDOW_UPDATE of a stream",
        "unknown",
        "GOAWAY",
    ],
)
def test_frames_that_ask_for_nothing_have_a_bound(flood: bytes) -> None:
    one, _ = reader(idle=100)
    one.feed(START + flood * 90)
    with pytest.raises(Broken) as fault:
        one.feed(flood * 100)
    assert fault.value.code == wire.ENHANCE_YOUR_CALM


def test_window_updates_that_our_data_explains_are_free() -> None:
    told = Told()
    guard = Guard(10, 10)
    one = FrameReader(told, guard, 1000)
    one.feed(START)
    guard.updates = 1000
    one.feed(wire.window_frame(0, 1) * 1000)
    assert len(told.calls) == 1001
