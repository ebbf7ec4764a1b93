"""Response heads: status lines, validation of header fields, Date, framing, connection rules.

`HeadBuilder.build` makes the head of a response for either interface (WSGI gives text, ASGI
bytes) and decides how the body is delimited (RFC 9112 section 6):

    NO_BODY      HEAD, 204, 304: whatever the application yields is not sent
    COUNTED      Content-Length, the application's or ours when the whole body is known
    MARKED       HTTP/1.1 without a length: in chunks, of which the last is empty
    UNTIL_CLOSE  HTTP/1.0 without a length: the end of the connection is the end of the body

Fields of the connection (Connection, Keep-Alive, Transfer-Encoding) belong to the server: an
application's are taken out, ``Connection: close`` is obeyed. A name or value that could end
its line early is refused. Encoded lines of fields that recur are cached; the caches start
afresh when they are full, so that fields which differ each time cost little and keep nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic, time
from typing import Any, Final

from gwctl.workers.exchange.heads import BODILESS, REMEMBERED_MAX, HeaderError, Heads, http_date, reason
from gwctl.workers.exchange.response import COUNTED, MARKED, NO_BODY, UNTIL_CLOSE

LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_CACHED_LINE_BYTES_MAX: Final = 128

# Fields with a meaning for framing or for the connection.
_SPECIAL: Final = frozenset(
    {
        b"content-length",
        b"date",
        b"server",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"set-cookie",
    }
)

_MORE_FIELDS: Final = {426: ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"))}
Head = tuple[bytes, int, int, bool]
"""The head's bytes, how the body is delimited, its length if COUNTED, whether the connection goes on."""


Line = tuple[Any, bytes | None, int]
"""What is known of a header field: itself, as first seen, and its line; or None, and a Content-Length."""


def chunk(block: bytes | memoryview) -> bytes:
    return b"".join((b"%x\r\n" % len(block), block, b"\r\n"))


class HeadBuilder(Heads):
    """Builds response heads."""

    def __init__(self, kind: type) -> None:
        super().__init__(kind)
        self.retry_after_s = 0
        self._lines: dict[Any, Line] = {}
        self._lengths: dict[int, bytes] = {}
        self._date_until = 0.0
        self._date = b""

    def line(self, status: str) -> bytes:
        return f"HTTP/1.1 {status}\r\n".encode("latin-1")

    def build(
        self,
        line: bytes,
        status: int,
        headers: Iterable[Any],
        known: int,
        http11: bool,
        is_head: bool,
        keep_alive: bool,
    ) -> Head:
        """Build the head of one response.

        ``known`` is the length of the body if all of it is at hand, else -1. For a HEAD
        request it only counts when it is not 0: an application that answers HEAD with an
        empty body has not said that GET's is empty.

        Raises:
            HeaderError: A field cannot be sent as it is.
        """
        lines, kind = self._lines, self._kind
        parts = [line]
        length = -1
        dated = served = False
        for header in headers:
            cached = None
            if type(header) is tuple and len(header) == 2 and type(header[0]) is kind is type(header[1]):
                cached = lines.get(header)  # what is of another type says itself what it is equal to
            if cached is not None:
                if cached[1] is None:
                    length = _one_length(cached[2], length)
                else:
                    parts.append(cached[1])
            else:
                name, value = self.encode(header)
                lower = name.lower()
                if lower not in _SPECIAL:
                    parts.append(self._remember(header, name + b": " + value + b"\r\n"))
                elif lower == b"content-length":
                    length = _one_length(self._remember_length(header, value), length)
                elif lower == b"connection":
                    keep_alive = keep_alive and b"close" not in value.lower()
                elif lower in {b"date", b"server", b"set-cookie"}:
                    dated = dated or lower == b"date"
                    served = served or lower == b"server"
                    parts.append(name + b": " + value + b"\r\n")
        if not dated and not served:
            now = monotonic()
            parts.append(self._date if now < self._date_until else self._new_date(now))
        elif not dated:
            parts.append(f"Date: {http_date(time())}\r\n".encode())
        if length > 0 and keep_alive and http11 and not is_head and status not in BODILESS:
            parts.append(b"Content-Length: %d\r\n\r\n" % length)
            return b"".join(parts), COUNTED, length, True
        return self._delimit(parts, status, length, known, http11, is_head, keep_alive)

    def usual(
        self, line: bytes, status: int, headers: Any, body: bytes, length: int, now: float
    ) -> bytes | None:
        """Return a whole response on a connection that stays open; None where `build` must look closer.

        That is: a header field that was not sent before (or must not be remembered), or that is no tuple of
        two of exactly that kind (a subclass says itself what it is equal to), a length that is not the body's
        (``length`` where ``headers`` don't give one), a status without a body.
        ``now`` is monotonic.
        """
        lines, kind = self._lines, self._kind
        parts = [line]
        size = len(body)
        try:
            for header in headers:
                seen, cached, known = lines[header]
                if seen is not header and not (
                    type(header) is tuple and type(header[0]) is kind is type(header[1])
                ):
                    return None
                if cached is None:
                    length = known
                else:
                    parts.append(cached)
        except Exception:  # noqa: BLE001 - not known, no key, or what a subclass's own methods raise
            return None
        if length != size or status in BODILESS:
            return None
        parts.append(self._date if now < self._date_until else self._new_date(now))
        parts.append(self._lengths.get(size) or self._length_line(size))
        parts.append(body)
        return b"".join(parts)

    def _length_line(self, size: int) -> bytes:
        """Return the line that says ``size``, and the end of a head."""
        if len(self._lengths) >= REMEMBERED_MAX:
            self._lengths = {}
        line = self._lengths[size] = b"Content-Length: %d\r\n\r\n" % size
        return line

    @staticmethod
    def _delimit(
        parts: list[bytes],
        status: int,
        length: int,
        known: int,
        http11: bool,
        is_head: bool,
        keep_alive: bool,
    ) -> Head:
        framing = COUNTED
        if status in BODILESS:
            framing = NO_BODY
            if status == 304 and length >= 0:
                parts.append(b"Content-Length: %d\r\n" % length)
        elif length >= 0 or known > 0 or (known == 0 and not is_head):
            if length < 0:
                length = known
            parts.append(b"Content-Length: %d\r\n" % length)
        elif is_head:
            framing = NO_BODY
        elif http11:
            framing = MARKED
            parts.append(b"Transfer-Encoding: chunked\r\n")
        else:
            framing = UNTIL_CLOSE
            keep_alive = False
        if is_head:
            framing = NO_BODY
        if not keep_alive:
            parts.append(b"Connection: close\r\n\r\n")
        elif not http11:
            parts.append(b"Connection: keep-alive\r\n\r\n")
        else:
            parts.append(b"\r\n")
        return b"".join(parts), framing, length, keep_alive

    def field(self, header: Any) -> bytes:
        """Return one field as a line, outside of a head: in a 103, or as a trailer.

        Raises:
            HeaderError: It cannot be sent as it is.
        """
        name, value = self.encode(header)
        return name + b": " + value + b"\r\n"

    def origin(self, fields: Iterable[bytes]) -> bytes:
        """Return the lines of Date and Server that ``fields``, as `field` returns them, do not have."""
        names = {line.partition(b":")[0].lower() for line in fields}
        if b"server" in names:
            return b"" if b"date" in names else f"Date: {http_date(time())}\r\n".encode()
        if b"date" in names:
            return b""
        now = monotonic()
        return self._date if now < self._date_until else self._new_date(now)

    def _is_plain(self, header: Any) -> bool:
        """Tell whether ``header`` is nothing but its text: another type says itself what it equals."""
        return type(header) is tuple and type(header[0]) is self._kind and type(header[1]) is self._kind

    def _remember(self, header: Any, line: bytes) -> bytes:
        if len(line) <= _CACHED_LINE_BYTES_MAX and self._is_plain(header):
            self._make_room()
            self._lines[header] = header, line, -1
        return line

    def _remember_length(self, header: Any, value: bytes) -> int:
        if not value.isdigit():
            raise HeaderError(f"not a Content-Length: {value!r}")
        length = int(value)
        if self._is_plain(header):
            self._make_room()
            self._lines[header] = header, None, length
        return length

    def _make_room(self) -> None:
        if len(self._lines) >= REMEMBERED_MAX:
            self._lines = {}

    def _new_date(self, now: float) -> bytes:
        """Make the line for the present second of the wall clock; ``now`` is monotonic, as is its end."""
        second = time()
        self._date = f"Date: {http_date(second)}\r\nServer: gwctl\r\n".encode()
        self._date_until = now + 1.0 - second % 1.0
        return self._date

    def error(self, status: int, is_head: bool = False, keep_alive: bool = False) -> bytes:
        """Return a whole short response that says ``status``."""
        body = f"{status} {reason(status)}\n".encode()
        line = self.line(f"{status} {reason(status)}")
        fields: Any = [(b"Content-Type", b"text/plain; charset=utf-8"), *_MORE_FIELDS.get(status, ())]
        if status == 503 and self.retry_after_s:
            fields.append((b"Retry-After", b"%d" % self.retry_after_s))
        if self._text:
            fields = [(name.decode(), value.decode()) for name, value in fields]
        head = self.build(line, status, fields, len(body), True, is_head, keep_alive)[0]
        return head if is_head else head + body


def _one_length(length: int, before: int) -> int:
    if before not in {-1, length}:
        raise HeaderError(f"two Content-Length fields that differ: {before} and {length}")
    return length
