"""From bytes to frames, each judged as far as it can be without knowing the streams (RFC 9113).

No transport and no streams: bytes go in by `FrameReader.feed`, and a `FrameHandler` is told what they mean,
in their order. Header blocks are passed on whole. What is wrong with the connection is raised, what is wrong
with one stream is told.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

from gwctl.workers.http2.guard import Guard
from gwctl.workers.http2.wire import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_BYTES_MAX,
    FRAME_HEAD_BYTES,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_MAX,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Broken,
    StreamBroken,
)

SETTINGS_MAX: Final = 64
"""Of one frame."""
FRAGMENTS_MAX: Final = 64
"""A header block of any size that is taken needs fewer frames, unless they are small on purpose."""

_frame_head: Final = struct.Struct(">IBI").unpack_from
_setting: Final = struct.Struct(">HI").iter_unpack
_number: Final = struct.Struct(">I").unpack_from


class FrameHandler(Protocol):
    """Who is told. Each may raise `Broken` or `StreamBroken`, but for `stream_broken`: that only `Broken`."""

    def header_block(self, stream_id: int, block: bytes, *, ends: bool) -> None: ...
    def data(self, stream_id: int, data: bytes, size: int, *, ends: bool) -> None:
        """``size``: with padding, as flow control counts it."""

    def reset(self, stream_id: int, code: int) -> None: ...
    def settings(self, pairs: list[tuple[int, int]]) -> None: ...
    def settings_acknowledged(self) -> None: ...
    def ping(self, payload: bytes) -> None: ...
    def ping_answered(self, payload: bytes) -> None: ...
    def going_away(self, code: int) -> None: ...
    def window(self, stream_id: int, size: int) -> None:
        """The stream, or 0: the connection, takes ``size`` bytes more."""

    def priority(self, stream_id: int, value: bytes) -> None:
        """``value``: as the field Priority has it (RFC 9218 section 7.1)."""

    def stream_broken(self, fault: StreamBroken) -> None: ...


class FrameReader:
    """Of one connection. It expects the preface first."""

    def __init__(self, handler: FrameHandler, guard: Guard, block_bytes_max: int) -> None:
        self._handler = handler
        self._guard = guard
        self._block_bytes_max = block_bytes_max
        self._kept = bytearray()  # of a frame that has come in part
        self._wanted = len(PREFACE)  # so much must be there before there is anything to do
        self._in_preface = True
        self._has_settings = False
        self._block: list[bytes] = []
        self._block_id = 0  # 0: no header block is under way
        self._block_size = 0
        self._block_ends = False

    @property
    def in_block(self) -> bool:
        """Tell whether a header block has come in part."""
        return self._block_id != 0

    @property
    def in_preface(self) -> bool:
        """Tell whether the client has yet to say that it speaks HTTP/2, and its settings."""
        return not self._has_settings

    def feed(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            Broken: The connection cannot go on.
        """
        if self._kept:
            self._kept += data
            if len(self._kept) < self._wanted and not self._in_preface:
                return
            data = bytes(self._kept)
            self._kept.clear()
        at = 0
        if self._in_preface:
            start = data[: len(PREFACE)]
            if start != PREFACE[: len(start)]:
                raise Broken(PROTOCOL_ERROR, "the connection does not begin with the preface")
            if len(start) < len(PREFACE):
                self._kept += data
                return
            self._in_preface = False
            at = len(PREFACE)
        self._read_frames(data, at)

    def _read_frames(self, data: bytes, at: int) -> None:
        end = len(data)
        wanted = FRAME_HEAD_BYTES
        while end - at >= FRAME_HEAD_BYTES:
            size_and_kind, flags, stream_id = _frame_head(data, at)
            size: int = size_and_kind >> 8
            if size > FRAME_BYTES_MAX:
                raise Broken(FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            begin = at + FRAME_HEAD_BYTES
            after = begin + size
            if after > end:
                wanted = FRAME_HEAD_BYTES + size
                break
            kind: int = size_and_kind & 255
            try:
                self._frame(kind, flags, stream_id & WINDOW_MAX, data[begin:after])
            except StreamBroken as fault:
                self._handler.stream_broken(fault)
            at = after
        self._wanted = wanted
        if at < end:
            self._kept += data[at:] if at else data

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block_id and (kind != CONTINUATION or stream_id != self._block_id):
            raise Broken(PROTOCOL_ERROR, "a header block is interrupted")
        if not self._has_settings and (kind != SETTINGS or flags & ACK):
            raise Broken(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind == HEADERS:
            self._headers(flags, stream_id, payload)
        elif kind == DATA:
            self._data(flags, stream_id, payload)
        elif kind == WINDOW_UPDATE:
            self._window_update(stream_id, payload)
        elif kind == RST_STREAM:
            if len(payload) != 4:
                raise Broken(FRAME_SIZE_ERROR, "RST_STREAM of another size than 4")
            _on_stream(stream_id, "RST_STREAM")
            self._handler.reset(stream_id, _number(payload)[0])
        elif kind == CONTINUATION:
            self._continuation(flags, stream_id, payload)
        elif kind == PUSH_PROMISE:
            raise Broken(PROTOCOL_ERROR, "PUSH_PROMISE from a client")
        else:
            self._guard.idle()
            self._idle_frame(kind, flags, stream_id, payload)

    def _idle_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == SETTINGS:
            self._settings(flags, stream_id, payload)
        elif kind == PING:
            self._ping(flags, stream_id, payload)
        elif kind == GOAWAY:
            _on_connection(stream_id, "GOAWAY")
            if len(payload) < 8:
                raise Broken(FRAME_SIZE_ERROR, "GOAWAY of less than 8 bytes")
            self._handler.going_away(_number(payload, 4)[0])
        elif kind == PRIORITY:
            self._priority(stream_id, payload)
        elif kind == PRIORITY_UPDATE:
            _on_connection(stream_id, "PRIORITY_UPDATE")
            if len(payload) < 4:
                raise Broken(FRAME_SIZE_ERROR, "PRIORITY_UPDATE of less than 4 bytes")
            prioritized: int = _number(payload)[0] & WINDOW_MAX
            if not prioritized:
                raise Broken(PROTOCOL_ERROR, "PRIORITY_UPDATE of stream 0")  # RFC 9218 section 7.1
            self._handler.priority(prioritized, payload[4:])

    # ---- of streams

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        _on_stream(stream_id, "HEADERS")
        if flags & PADDED:
            payload = _unpadded(payload)
        depends_on_itself = False
        if flags & WITH_PRIORITY:
            if len(payload) < 5:
                raise Broken(FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            depends_on_itself = _number(payload)[0] & WINDOW_MAX == stream_id
            payload = payload[5:]
        if flags & END_HEADERS:
            self._handler.header_block(stream_id, payload, ends=bool(flags & END_STREAM))
        else:
            self._block = [payload]
            self._block_id = stream_id
            self._block_size = len(payload)
            self._block_ends = bool(flags & END_STREAM)
        if depends_on_itself:
            raise StreamBroken(stream_id, PROTOCOL_ERROR, "a stream that depends on itself")

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._block_id:
            raise Broken(PROTOCOL_ERROR, "CONTINUATION without a header block")
        self._block.append(payload)
        self._block_size += len(payload)
        if self._block_size > self._block_bytes_max or len(self._block) > FRAGMENTS_MAX:
            raise Broken(ENHANCE_YOUR_CALM, f"a header block of more than {self._block_bytes_max} bytes")
        if flags & END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._block_id = 0
            self._handler.header_block(stream_id, block, ends=self._block_ends)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        _on_stream(stream_id, "DATA")
        size = len(payload)
        if flags & PADDED:
            payload = _unpadded(payload)
        if not payload and not flags & END_STREAM:
            self._guard.idle()
        self._handler.data(stream_id, payload, size, ends=bool(flags & END_STREAM))

    def _window_update(self, stream_id: int, payload: bytes) -> None:
        self._guard.update()
        if len(payload) != 4:
            raise Broken(FRAME_SIZE_ERROR, "WINDOW_UPDATE of another size than 4")
        size: int = _number(payload)[0] & WINDOW_MAX
        if size:
            self._handler.window(stream_id, size)
        elif stream_id:
            raise StreamBroken(stream_id, PROTOCOL_ERROR, "a window update of 0")
        else:
            raise Broken(PROTOCOL_ERROR, "a window update of 0")

    def _priority(self, stream_id: int, payload: bytes) -> None:
        """Judge what RFC 9113 section 5.3 has left of it: we said that we do not use these."""
        _on_stream(stream_id, "PRIORITY")
        if len(payload) != 5:
            raise StreamBroken(stream_id, FRAME_SIZE_ERROR, "PRIORITY of another size than 5")
        if _number(payload)[0] & WINDOW_MAX == stream_id:
            raise StreamBroken(stream_id, PROTOCOL_ERROR, "a stream that depends on itself")

    # ---- of the connection

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        _on_connection(stream_id, "SETTINGS")
        if flags & ACK:
            if payload:
                raise Broken(FRAME_SIZE_ERROR, "SETTINGS that acknowledge and say something")
            self._handler.settings_acknowledged()
            return
        if len(payload) % 6:
            raise Broken(FRAME_SIZE_ERROR, "SETTINGS of a size that is no multiple of 6")
        if len(payload) > SETTINGS_MAX * 6:
            raise Broken(ENHANCE_YOUR_CALM, f"more than {SETTINGS_MAX} settings in one frame")
        pairs = list(_setting(payload))
        for name, value in pairs:
            if name == ENABLE_PUSH and value > 1:
                raise Broken(PROTOCOL_ERROR, f"ENABLE_PUSH of {value}")
            if name == INITIAL_WINDOW_SIZE and value > WINDOW_MAX:
                raise Broken(FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE of {value}")
            if name == MAX_FRAME_SIZE and not FRAME_BYTES_MAX <= value < 1 << 24:
                raise Broken(PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
        self._has_settings = True
        self._handler.settings(pairs)

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _on_connection(stream_id, "PING")
        if len(payload) != 8:
            raise Broken(FRAME_SIZE_ERROR, "PING of another size than 8")
        if flags & ACK:
            self._handler.ping_answered(payload)
        else:
            self._handler.ping(payload)


def _on_stream(stream_id: int, what: str) -> None:
    if not stream_id:
        raise Broken(PROTOCOL_ERROR, f"{what} on stream 0")


def _on_connection(stream_id: int, what: str) -> None:
    if stream_id:
        raise Broken(PROTOCOL_ERROR, f"{what} on a stream")


def _unpadded(payload: bytes) -> bytes:
    size = len(payload) - 1 - payload[0] if payload else -1
    if size < 0:
        raise Broken(PROTOCOL_ERROR, "more padding than there is room for")
    return payload[1 : 1 + size]
