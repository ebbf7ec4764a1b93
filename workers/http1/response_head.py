"""Response heads: status lines, validation of header fields, Date, framing, connection rules.

`HeadBuilder.build` makes the head of a response for either interface (WSGI gives text, ASGI
bytes) and decides how the body is delimited (RFC 9112 section 6):

    NO_BODY      HEAD, 204, 304: whatever the application yields is not sent
    COUNTED      Content-Length, the application's or ours when the whole body is known
    CHUNKED      HTTP/1.1 without a length
    UNTIL_CLOSE  HTTP/1.0 without a length: the end of the connection is the end of the body

Fields of the connection (Connection, Keep-Alive, Transfer-Encoding) belong to the server: an
application's are taken out, ``Connection: close`` is obeyed. A name or value that could end
its line early is refused. Encoded lines of fields that recur are cached; the caches start
afresh when they are full, so that fields which differ each time cost little and keep nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from time import gmtime, monotonic, time
from typing import Any, Final

NO_BODY: Final = 0
COUNTED: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3

LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_CACHED_LINES_MAX: Final = 512
_CACHED_LINE_BYTES_MAX: Final = 128

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_STATUS: Final = re.compile(r"[2-5][0-9]{2}(?: [\t \x21-\x7e\x80-\xff]*)?")

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

_BODILESS: Final = frozenset({204, 304})
_MORE_FIELDS: Final = {426: ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"))}
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}

Head = tuple[bytes, int, int, bool]
"""The head's bytes, how the body is delimited, its length if COUNTED, whether the connection goes on."""


class HeaderError(ValueError):
    """The application gave a status or header field that cannot be sent."""


def reason(status: int) -> str:
    return _REASONS.get(status, "Unknown")


def http_date(seconds: float) -> str:
    """Return a moment as Date has it (RFC 9110 section 5.6.7); strftime would ask the locale."""
    year, month, day, hour, minute, second, weekday, *_ = gmtime(seconds)
    date = f"{_WEEKDAYS[weekday]}, {day:02d} {_MONTHS[month - 1]} {year:04d}"
    return f"{date} {hour:02d}:{minute:02d}:{second:02d} GMT"


def chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


class HeadBuilder:
    """Builds response heads; one per worker process. Safe to use from several threads.

    ``kind`` is what names and values of headers must be: str for WSGI, bytes for ASGI.
    """

    def __init__(self, kind: type) -> None:
        self.retry_after_s = 0
        self._kind: Any = kind
        self._text = kind is str
        self._lines: dict[Any, bytes | int] = {}  # Content-Length by its number
        self._lengths: dict[int, bytes] = {}
        self._wsgi_status: dict[str, tuple[bytes, int]] = {}
        self._asgi_status: dict[int, tuple[bytes, int]] = {}
        self._date_until = 0.0
        self._date = b""

    def wsgi_status(self, status: Any) -> tuple[bytes, int]:
        """Return the status line and code of ``"200 OK"``.

        Raises:
            HeaderError: Not a status that an application may send.
        """
        known = self._wsgi_status.get(status) if type(status) is str else None  # not what only compares equal
        if known is not None:
            return known
        if not isinstance(status, str):
            raise HeaderError(f"the status must be str (PEP 3333), not {type(status).__name__}: {status!r}")
        # Of a subclass: an application's own object is no key for others' requests.
        status = str.__str__(status)
        if _STATUS.fullmatch(status) is None:
            raise HeaderError(f"not a status line: {status!r}. Give a code and a reason, such as '200 OK'")
        # It is there also where no reason follows (RFC 9112 section 4).
        blank = " " if len(status) == 3 else ""
        known = (f"HTTP/1.1 {status}{blank}\r\n".encode("latin-1"), int(status[:3]))
        if len(self._wsgi_status) >= _CACHED_LINES_MAX:
            self._wsgi_status.clear()
        self._wsgi_status[status] = known
        return known

    def asgi_status(self, status: Any) -> tuple[bytes, int]:
        """Return the status line and code of an ASGI response.

        Raises:
            HeaderError: Not a status that an application may send.
        """
        known = self._asgi_status.get(status) if type(status) is int else None
        if known is None:
            # Neither what only compares equal (200.0), nor a subclass's own idea of its text.
            code = int.__int__(status) if isinstance(status, int) else 0
            if not 200 <= code <= 599:
                raise HeaderError(f"not a response status: {status!r}")
            known = self._asgi_status[code] = f"HTTP/1.1 {code} {reason(code)}\r\n".encode(), code
        return known

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
        append = parts.append
        length = -1
        dated = served = False
        for header in headers:
            cached = None
            if type(header) is tuple and len(header) == 2 and type(header[0]) is kind is type(header[1]):
                cached = lines.get(header)  # what is of another type says itself what it is equal to
            if isinstance(cached, bytes):
                append(cached)
            elif cached is not None:
                length = _one_length(cached, length)
            else:
                name, value = self._encode(header)
                lower = name.lower()
                if lower not in _SPECIAL:
                    append(self._remember(header, name + b": " + value + b"\r\n"))
                elif lower == b"content-length":
                    length = _one_length(self._remember_length(header, value), length)
                elif lower == b"connection":
                    keep_alive = keep_alive and b"close" not in value.lower()
                elif lower in {b"date", b"server", b"set-cookie"}:
                    dated = dated or lower == b"date"
                    served = served or lower == b"server"
                    append(name + b": " + value + b"\r\n")
        if not dated and not served:
            now = monotonic()
            append(self._date if now < self._date_until else self._new_date(now))
        elif not dated:
            append(f"Date: {http_date(time())}\r\n".encode())
        if length > 0 and keep_alive and http11 and not is_head and status not in _BODILESS:
            append(b"Content-Length: %d\r\n\r\n" % length)
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
                cached = lines[header]  # first: a pair may be an iterator, which gives its items once
                if type(header) is not tuple:
                    return None
                name, value = header
                if type(name) is not kind or type(value) is not kind:
                    return None
                if isinstance(cached, bytes):
                    parts.append(cached)
                else:
                    length = cached
        except Exception:  # noqa: BLE001 - not known, no key, or what a subclass's own methods raise
            return None
        if length != size or status in _BODILESS:
            return None
        parts.append(self._date if now < self._date_until else self._new_date(now))
        parts.append(self._lengths.get(size) or self._length_line(size))
        parts.append(body)
        return b"".join(parts)

    def _length_line(self, size: int) -> bytes:
        """Return the line that says ``size``, and the end of a head."""
        if len(self._lengths) >= _CACHED_LINES_MAX:
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
        if status in _BODILESS:
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
            framing = CHUNKED
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
        name, value = self._encode(header)
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

    def _encode(self, header: Any) -> tuple[bytes, bytes]:
        """Return name and value as bytes that fit on one line.

        Raises:
            HeaderError: They don't, or are not two values of the interface's kind.
        """
        name: Any
        value: Any
        try:
            name, value = header
        except (TypeError, ValueError):
            raise HeaderError(f"a header must be a pair of name and value, not {header!r}") from None
        if not self._text:  # a view that can be hashed is found among the lines that are known, as bytes are
            name = bytes(name) if isinstance(name, memoryview) else name
            value = bytes(value) if isinstance(value, memoryview) else value
        if not isinstance(name, self._kind) or not isinstance(value, self._kind):
            raise HeaderError(f"name and value of a header must be {self._kind.__name__}: {header!r}")
        if not self._text:  # of a subclass its bytes, and none of its own methods
            name, value = b"".join((name, b"")), b"".join((value, b""))
        else:
            try:
                name = str.encode(name, "latin-1")
                value = str.encode(value, "latin-1")
            except UnicodeEncodeError:
                raise HeaderError(f"a header must be text that Latin-1 can express: {header!r}") from None
        if _NAME.fullmatch(name) is None:
            raise HeaderError(f"not a header name: {name!r}")
        if _VALUE.fullmatch(value) is None:
            raise HeaderError(f"control characters in the value of the header {name!r}: {value!r}")
        return name, value

    def _may_be_kept(self, header: Any) -> bool:
        """Tell whether ``header`` is nothing but its text: later requests' are compared with it."""
        return type(header) is tuple and type(header[0]) is self._kind and type(header[1]) is self._kind

    def _remember(self, header: Any, line: bytes) -> bytes:
        if len(line) <= _CACHED_LINE_BYTES_MAX and self._may_be_kept(header):
            self._make_room()
            self._lines[header] = line
        return line

    def _remember_length(self, header: Any, value: bytes) -> int:
        if not value.isdigit():
            raise HeaderError(f"not a Content-Length: {value!r}")
        length = int(value)
        if self._may_be_kept(header):
            self._make_room()
            self._lines[header] = length
        return length

    def _make_room(self) -> None:
        if len(self._lines) >= _CACHED_LINES_MAX:
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
        line = f"HTTP/1.1 {status} {reason(status)}\r\n".encode()
        fields: Any = [(b"Content-Type", b"text/plain; charset=utf-8"), *_MORE_FIELDS.get(status, ())]
        if status == 503 and self.retry_after_s:
            fields.append((b"Retry-After", b"%d" % self.retry_after_s))
        if self._text:
            fields = [(name.decode(), value.decode()) for name, value in fields]
        head = self.build(line, status, fields, len(body), True, is_head, keep_alive)[0]
        return head if is_head else head + body


def as_list(headers: Any) -> list[Any]:
    """Return header fields that were given in any iterable, once and for all.

    Raises:
        HeaderError: They were not. And whatever an application's iterator raises.
    """
    if headers is None:
        return []
    try:
        fields = iter(headers)
    except TypeError:
        kind = type(headers).__name__
        raise HeaderError(f"headers must be an iterable of pairs of name and value, not {kind}") from None
    return list(fields)


def _one_length(length: int, before: int) -> int:
    if before not in {-1, length}:
        raise HeaderError(f"two Content-Length fields that differ: {before} and {length}")
    return length
