"""Frames as they are on the wire (RFC 9113 sections 4 to 7), and what a connection or a stream ends with."""

from __future__ import annotations

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD_BYTES: Final = 9
FRAME_BYTES_MAX: Final = 16384
"""Of a payload, in both directions: what every peer takes, and we never ask for more."""
WINDOW_MAX: Final = (1 << 31) - 1
WINDOW_DEFAULT: Final = 65535
HEADER_TABLE_DEFAULT: Final = 4096
STREAM_ID_MAX: Final = (1 << 31) - 1

# Types.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
PRIORITY_UPDATE: Final = 0x10  # RFC 9218

# Flags.
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

# Settings.
HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6
ENABLE_CONNECT_PROTOCOL: Final = 0x8  # RFC 8441
NO_RFC7540_PRIORITIES: Final = 0x9  # RFC 9218

# Error codes.
NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

_frame_head: Final = struct.Struct(">IBI").pack
_number: Final = struct.Struct(">I").pack
_setting: Final = struct.Struct(">HI").pack
_going: Final = struct.Struct(">II").pack

SETTINGS_ACK: Final = _frame_head(SETTINGS, ACK, 0)


class Broken(Exception):  # noqa: N818 - what the client did, answered with GOAWAY
    """The connection cannot go on: GOAWAY with ``code``; ``why`` is for the log."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.code = code
        self.why = why


class StreamBroken(Exception):  # noqa: N818 - what the client did, answered with RST_STREAM
    """A stream cannot go on: RST_STREAM with ``code``; ``why`` is for the log."""

    def __init__(self, stream_id: int, code: int, why: str) -> None:
        super().__init__(stream_id, code, why)
        self.stream_id = stream_id
        self.code = code
        self.why = why


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return _frame_head(len(payload) << 8 | kind, flags, stream_id) + payload


def frame_head(kind: int, flags: int, stream_id: int, size: int) -> bytes:
    """Return what stands before a payload of ``size`` bytes."""
    return _frame_head(size << 8 | kind, flags, stream_id)


def header_frames(stream_id: int, block: bytes, flags: int, size_max: int) -> bytes:
    """Return a header block in as many frames as it takes; ``flags``: END_STREAM or 0."""
    if len(block) <= size_max:
        return _frame_head(len(block) << 8 | HEADERS, flags | END_HEADERS, stream_id) + block
    frames = [frame(HEADERS, flags, stream_id, block[:size_max])]
    for at in range(size_max, len(block), size_max):
        last = at + size_max >= len(block)
        frames.append(frame(CONTINUATION, END_HEADERS if last else 0, stream_id, block[at : at + size_max]))
    return b"".join(frames)


def reset_frame(stream_id: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream_id, _number(code))


def window_frame(stream_id: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, _number(size))


def goaway_frame(last_id: int, code: int, why: str = "") -> bytes:
    return frame(GOAWAY, 0, 0, _going(last_id, code) + why.encode())


def settings_frame(pairs: list[tuple[int, int]]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join([_setting(name, value) for name, value in pairs]))
