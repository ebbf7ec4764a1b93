"""Where bodies end: framers fed in every possible way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.config.model.settings import Limits
from gwctl.workers.exchange.body_buffer import BodyBuffer, BodyTooLarge, Discard
from gwctl.workers.http1.body_framing import CHUNKS_MAX, ChunkedFramer, FramingError, LengthFramer
from gwctl.workers.http1.response_head import LAST_CHUNK


class Collector:
    def __init__(self) -> None:
        self.data = b""

    def feed(self, block: bytes) -> None:
        assert block, "a sink is given no empty blocks"
        self.data += block


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    parts = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    return [part for part in parts if part]


def run(framer: ChunkedFramer | LengthFramer, parts: list[bytes]) -> tuple[bytes, bytes | None]:
    sink = Collector()
    for number, part in enumerate(parts):
        rest = framer.feed(part, sink)
        while framer.behind:
            assert rest is None
            rest = framer.feed(b"", sink)
        if rest is not None:
            return sink.data, rest + b"".join(parts[number + 1 :])
    return sink.data, None


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.binary(max_size=20),
    st.lists(st.integers(0, 999)),
)
def test_chunks_survive_any_cut(chunks: list[bytes], tail: bytes, cuts: list[int]) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nA: b\r\n\r\n" + tail
    assert run(ChunkedFramer(), pieces(wire, cuts)) == (b"".join(chunks), tail)


@given(st.binary(min_size=1, max_size=100), st.binary(max_size=20), st.lists(st.integers(0, 999)))
def test_a_length_survives_any_cut(body: bytes, tail: bytes, cuts: list[int]) -> None:
    assert run(LengthFramer(len(body)), pieces(body + tail, cuts)) == (body, tail)


@given(st.binary(max_size=60), st.lists(st.integers(0, 999)))
def test_cuts_never_change_the_verdict(wire: bytes, cuts: list[int]) -> None:
    """Whole or in pieces, rubbish is refused or taken alike, and nothing else is raised."""

    def verdict(parts: list[bytes]) -> object:
        try:
            return run(ChunkedFramer(), parts)
        except FramingError:
            return "refused"

    whole = verdict([wire] if wire else [])
    in_pieces = verdict(pieces(wire, cuts))
    if whole != "refused" and whole[1] is None:  # type: ignore[index]
        assert in_pieces == whole
    else:
        assert (in_pieces == "refused") == (whole == "refused")


@pytest.mark.parametrize("line", [b"5", b"005", b"5;a", b"5 ; a=b", b'5;a="q\\"u;o"', b"5;a=b;c", b"5\t;a"])
def test_chunk_lines_that_are_right(line: bytes) -> None:
    assert run(ChunkedFramer(), [line + b"\r\nhello\r\n0\r\n\r\n"]) == (b"hello", b"")


@pytest.mark.parametrize(
    "line",
    [b"", b" 5", b"5 ", b"+5", b"-5", b"0x5", b"5_0", b"5;", b"5;=b", b'5;a="b', b"5;a\0", b"g", b"5\r", b"f" * 16,
     b"5;" + b"a" * 1100],
)  # fmt: skip
def test_chunk_lines_that_are_wrong(line: bytes) -> None:
    with pytest.raises(FramingError):
        run(ChunkedFramer(), [line + b"\r\nhello\r\n0\r\n\r\n"])


@pytest.mark.parametrize(
    "name", [b"Host", b"content-length", b"Transfer-Encoding", b"Authorization", b"TE", b"Trailer"]
)
def test_trailers_that_steer_are_refused(name: bytes) -> None:
    with pytest.raises(FramingError):
        run(ChunkedFramer(), [b"0\r\n" + name + b": x\r\n\r\n"])


@pytest.mark.parametrize("trailer", [b"no colon", b" folded: x", b"a b: c", b"a: \0", b"a:" + b"b" * 20000])
def test_trailers_that_are_no_fields_are_refused(trailer: bytes) -> None:
    with pytest.raises(FramingError):
        run(ChunkedFramer(), [b"0\r\n" + trailer + b"\r\n\r\n"])


@pytest.mark.parametrize("wire", [b"a" * 2000, b"0\r\n" + b"a" * 20000, b"0\r\n" + b"a: b\r\n" * 5000])
def test_what_never_ends_is_bounded(wire: bytes) -> None:
    with pytest.raises(FramingError):
        run(ChunkedFramer(), [wire])


@given(st.integers(0, 3 * CHUNKS_MAX), st.binary(max_size=10), st.lists(st.integers(0, 9999)))
def test_many_chunks_are_taken_in_parts(count: int, tail: bytes, cuts: list[int]) -> None:
    """Each call takes some and no more than it may; what comes meanwhile is held, in order."""
    wire = b"1\r\nx\r\n" * count + LAST_CHUNK + tail
    framer, sink = ChunkedFramer(), Collector()
    ends = []
    for part in pieces(wire, cuts):
        before = len(sink.data)
        if ends:
            ends[0] += part
        elif framer.behind:
            framer.hold(part)
        elif (rest := framer.feed(part, sink)) is not None:
            ends.append(rest)
        assert len(sink.data) - before <= CHUNKS_MAX + 1  # the end of the one that had begun
    while not ends:
        assert framer.behind
        before = len(sink.data)
        if (rest := framer.feed(b"", sink)) is not None:
            ends.append(rest)
        assert 0 < len(sink.data) - before <= CHUNKS_MAX or ends
    assert (sink.data, ends) == (b"x" * count, [tail])
    assert not framer.behind


@pytest.mark.parametrize("memory", [0, 3, 10, 100])
def test_a_buffer_reads_back_what_was_fed(memory: int) -> None:
    buffer = BodyBuffer(Limits(body_memory_bytes=memory, body_bytes_max=12))
    for block in (b"abc", b"defg", b"hijkl"):
        buffer.feed(block)
    assert buffer.size == 12
    assert buffer.reader().read() == b"abcdefghijkl"
    with pytest.raises(BodyTooLarge):
        buffer.feed(b"m")
    buffer.close()


def test_discard_has_a_limit() -> None:
    discard = Discard(10)
    discard.feed(b"x" * 10)
    with pytest.raises(BodyTooLarge):
        discard.feed(b"x")
