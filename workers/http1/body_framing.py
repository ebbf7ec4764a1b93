"""Where a request body ends: by Content-Length or by chunks (RFC 9112 section 6 and 7).

A framer is fed what arrives, hands the body's blocks to a sink, and returns what follows the
body once it is complete. Nothing is guessed: a chunk size is hexadecimal digits and nothing
else, lines end in CRLF, an extension must match the grammar, and fields that steer routing,
framing or authentication are refused in trailers. Lines, trailers and sizes are bounded, and
so are extensions. One call takes at most `CHUNKS_MAX` chunks and leaves the framer ``behind``: a
body of one byte a chunk cannot keep a server busy while a thousand others wait.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

CHUNK_LINE_BYTES_MAX: Final = 1024
"""Chunk size with its extensions."""
TRAILER_BYTES_MAX: Final = 16384
CHUNK_DIGITS_MAX: Final = 16
CHUNK_EXCESS_BYTES_MAX: Final = 16384
"""By so much the chunk lines of a body may outweigh its data; only long ones count."""

CHUNKS_MAX: Final = 256
"""So many chunks are taken at once, which is about half a millisecond."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_CHUNK_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]+)(?:[ \t]*;[ \t]*"
    + _TOKEN
    + rb"(?:[ \t]*=[ \t]*(?:"
    + _TOKEN
    + rb"|"
    + _QUOTED
    + rb"))?)*"
)
_TRAILER: Final = re.compile(rb"(" + _TOKEN + rb"):[\t \x21-\x7e\x80-\xff]*")
_FORBIDDEN_TRAILERS: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"trailer", b"authorization", b"te"}
)


class FramingError(Exception):
    """The body is not framed as RFC 9112 says. Answered with 400."""


class Sink(Protocol):
    """What takes the blocks of a body."""

    def feed(self, block: bytes) -> None: ...


class LengthFramer:
    """Content-Length: the next ``left`` bytes."""

    __slots__ = ("behind", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.behind = False

    def feed(self, data: bytes, sink: Sink) -> bytes | None:
        """Return None while more is to come, else what follows the body."""
        size = len(data)
        if size < self.left:
            self.left -= size
            sink.feed(data)
            return None
        end = self.left
        self.left = 0
        if size == end:
            sink.feed(data)
            return b""
        sink.feed(data[:end])
        return data[end:]


class ChunkedFramer:
    """Transfer-Encoding: chunked. While it is ``behind`` it is to be fed again, if only with nothing."""

    __slots__ = ("_chunk", "_excess", "_line", "_trailer", "_trailers", "behind", "left")

    def __init__(self) -> None:
        self._line = b""  # part of a line, or of the CRLF after a chunk
        self._chunk = False  # within a chunk or before the CRLF that ends it
        self._trailer = False
        self._trailers = 0
        self._excess = 0
        self.left = 0
        self.behind = False

    def feed(self, data: bytes, sink: Sink) -> bytes | None:
        """Return None while more is to come, else what follows the body.

        Raises:
            FramingError: Neither this nor anything that follows can be trusted.
        """
        at = 0
        if self._line:
            data = self._line + data
            self._line = b""
        size = len(data)
        chunks = CHUNKS_MAX
        self.behind = False
        while at < size:
            in_chunk = self._chunk
            if in_chunk:
                at = self._block(data, at, size, sink)
                if self._chunk:
                    self._line = data[at:]
                    return None
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._keep_line(data[at:])
                return None
            if end == at or data[end - 1] != 13:
                raise FramingError("a line of the chunked body does not end in CRLF")
            if not chunks:
                self._line = data[at:]
                self.behind = True
                return None
            chunks -= 1
            line = data[at : end - 1]
            at = end + 1
            if not self._trailer:
                self._size(line)
            elif not line:
                return data[at:]
            else:
                self._check_trailer(line)
        return None

    def hold(self, data: bytes) -> None:
        """Take ``data`` for the next `feed`, while it is behind."""
        self._line += data

    def _block(self, data: bytes, at: int, size: int, sink: Sink) -> int:
        """Pass on what is there of the chunk, then its CRLF; return the new position."""
        if self.left:
            take = min(self.left, size - at)
            sink.feed(data[at : at + take] if take < size else data)
            self.left -= take
            at += take
            if self.left:
                return at
        ending = data[at : at + 2]
        if not b"\r\n".startswith(ending):
            raise FramingError("chunk data is longer than its size says")
        if len(ending) == 2:
            self._chunk = False
            return at + 2
        return at

    def _size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None or len(line) > CHUNK_LINE_BYTES_MAX:
            raise FramingError("not a chunk size")
        digits = match[1].lstrip(b"0")
        if len(digits) >= CHUNK_DIGITS_MAX:
            raise FramingError("chunk size is too large")
        self.left = int(digits or b"0", 16)
        if len(line) > CHUNK_DIGITS_MAX:
            self._excess = max(self._excess + len(line) - self.left, 0)
            if self._excess > CHUNK_EXCESS_BYTES_MAX:
                raise FramingError("more chunk extensions than data")
        if self.left:
            self._chunk = True
        else:
            self._trailer = True

    def _check_trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        match = _TRAILER.fullmatch(line)
        if match is None or self._trailers > TRAILER_BYTES_MAX:
            raise FramingError("not a trailer field")
        if match[1].lower() in _FORBIDDEN_TRAILERS:
            raise FramingError(f"{match[1].decode()} is not allowed as a trailer")

    def _keep_line(self, rest: bytes) -> None:
        if len(rest) > (TRAILER_BYTES_MAX if self._trailer else CHUNK_LINE_BYTES_MAX):
            raise FramingError("a line of the chunked body is too long")
        self._line = rest


Framer = LengthFramer | ChunkedFramer
