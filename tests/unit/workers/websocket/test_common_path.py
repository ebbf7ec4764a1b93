"""What nearly all messages take: whole in one read, out in a frame that may be sent to many."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gwctl.workers.observe.errors import NotAsgiError
from gwctl.workers.websocket.encoder import KEPT_BYTES_MAX, Encoder
from gwctl.workers.websocket.frames import NOTHING, PROGRESS, STEP_BYTES, Broken, FrameReader
from tests.support.websocket import BINARY, CLOSE, CONT, PING, TEXT, frame

MESSAGE_MAX = 20_000


def in_steps(reader: FrameReader, data: bytes) -> list[Any]:
    events: list[Any] = []
    reader.feed(data)
    try:
        while (kind := reader.step()) != NOTHING:
            if kind != PROGRESS:
                events.append((kind, reader.value))
            if kind == CLOSE:
                return events
    except Broken as broken:
        return [*events, broken.code]
    return [*events, reader.held]


def at_once(reader: FrameReader, data: bytes) -> list[Any]:
    try:
        kind = reader.whole(data)
    except Broken as broken:
        return [broken.code]
    return [(kind, reader.value), reader.held] if kind != NOTHING else []


payloads = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(str.encode),
    st.sampled_from([0, 1, 125, 126, 127, STEP_BYTES, STEP_BYTES + 1, MESSAGE_MAX + 1]).map(bytes),
)


@st.composite
def reads(draw: st.DrawFn) -> bytes:
    """What one read of a socket may bring: mostly one frame, which may be wrong, cut or have more behind it."""
    payload = draw(payloads)
    data = frame(
        draw(st.sampled_from([CONT, TEXT, BINARY, PING, 3, 8, 11])),
        payload,
        fin=draw(st.sampled_from([True, True, False])),
        rsv=draw(st.sampled_from([0, 0, 0, 1, 4])),
        mask=draw(st.sampled_from([b"mask", b"\0\xff\x10\x80", None])),
        length=draw(st.sampled_from([None, None, 0, 126, 65535, 65536])),
    )
    if draw(st.booleans()):
        return data[: draw(st.integers(0, len(data)))]
    return data + draw(st.binary(max_size=8))


@given(reads())
@example(frame(TEXT, b"whole"))
@example(frame(TEXT, b"\xff"))
@example(frame(BINARY, bytes(MESSAGE_MAX + 1)))
def test_what_is_read_at_once_is_what_steps_would_give(data: bytes) -> None:
    reader = FrameReader(MESSAGE_MAX)
    got = at_once(reader, data)
    if got:
        assert got == in_steps(FrameReader(MESSAGE_MAX), data)
        if len(got) == 1:
            return  # broken
        data = frame(BINARY, b"another")
    assert in_steps(reader, data) == in_steps(FrameReader(MESSAGE_MAX), data)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [1, 125, 126, 4096, STEP_BYTES])
def test_a_small_message_is_read_at_once(opcode: int, size: int) -> None:
    reader = FrameReader(MESSAGE_MAX)
    text = "ö" * (size // 2) + "." * (size % 2)
    assert reader.whole(frame(opcode, text.encode())) == opcode
    assert reader.value == (text if opcode == TEXT else text.encode())


@pytest.mark.parametrize("before", [frame(TEXT, b"begun", fin=False), frame(TEXT, b"begun")[:-1], b"\x81"])
def test_nothing_overtakes_what_has_begun(before: bytes) -> None:
    reader = FrameReader(MESSAGE_MAX)
    assert in_steps(reader, before) == [reader.held]
    assert reader.whole(frame(BINARY, b"another")) == NOTHING


def test_a_broadcast_is_encoded_once() -> None:
    encoder = Encoder()
    first = encoder.frame({"type": "websocket.send", "text": "hello"})
    assert first == b"\x81\x05hello"
    assert encoder.frame({"type": "websocket.send", "text": str(b"hello", "ascii"), "bytes": None}) is first
    assert encoder.frame({"type": "websocket.send", "bytes": b"hello"}) == b"\x82\x05hello"
    assert encoder.frame({"type": "websocket.send", "text": "other"}) == b"\x81\x05other"
    assert encoder.frame({"type": "websocket.send", "text": "hello"}) is not first


def test_a_large_frame_is_not_kept() -> None:
    encoder = Encoder()
    message = {"type": "websocket.send", "text": "x" * KEPT_BYTES_MAX}
    assert encoder.frame(message) == encoder.frame(message)
    assert encoder.frame(message) is not encoder.frame(message)


def test_a_text_that_compares_as_it_likes_is_sent_as_it_is() -> None:
    class Alike(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    encoder = Encoder()
    encoder.frame({"text": "hello"})
    assert encoder.frame({"text": Alike("other")}) == b"\x81\x05other"


def test_a_message_has_one_content_after_one_that_is_kept_too() -> None:
    encoder = Encoder()
    encoder.frame({"text": "hello"})
    with pytest.raises(NotAsgiError, match="either bytes or text"):
        encoder.frame({"text": "hello", "bytes": b"hello"})
