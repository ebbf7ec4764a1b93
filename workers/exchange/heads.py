"""Status and header fields of a response, as an application gives them: checked, and made bytes.

A name or value that could end its line early is refused. What is found sound is remembered where it recurs.
`gwctl.workers.http1.response_head` makes lines of them.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from time import gmtime
from typing import Any, Final

REMEMBERED_MAX: Final = 512
BODILESS: Final = frozenset({204, 304})
"""Statuses of responses that have no body, whatever their fields say."""
OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
"""Fields of HTTP/1's connections, which HTTP/2 has no place for (RFC 9113 section 8.2.2)."""

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_STATUS: Final = re.compile(r"[2-5][0-9]{2}(?: [\t \x21-\x7e\x80-\xff]*)?")
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


class HeaderError(ValueError):
    """The application gave a status or header field that cannot be sent."""


def reason(status: int) -> str:
    return _REASONS.get(status, "Unknown")


def http_date(seconds: float) -> str:
    """Return a moment as Date has it (RFC 9110 section 5.6.7); strftime would ask the locale."""
    year, month, day, hour, minute, second, weekday, *_ = gmtime(seconds)
    date = f"{_WEEKDAYS[weekday]}, {day:02d} {_MONTHS[month - 1]} {year:04d}"
    return f"{date} {hour:02d}:{minute:02d}:{second:02d} GMT"


class Heads:
    """One per worker process. Safe to use from several threads.

    ``kind`` is what names and values of headers must be: str for WSGI, bytes for ASGI.
    """

    def __init__(self, kind: type) -> None:
        self._kind: Any = kind
        self._text = kind is str
        self._wsgi_status: dict[str, tuple[bytes, int]] = {}
        self._asgi_status: dict[int, tuple[bytes, int]] = {}

    def line(self, status: str) -> bytes:
        """Return how a response begins whose status, code and reason, is ``status``."""
        return status.encode("latin-1")

    def wsgi_status(self, status: Any) -> tuple[bytes, int]:
        """Return the line (see `line`) and code of ``"200 OK"``.

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
        known = (self.line(f"{status}{blank}"), int(status[:3]))
        if len(self._wsgi_status) >= REMEMBERED_MAX:
            self._wsgi_status.clear()
        self._wsgi_status[status] = known
        return known

    def asgi_status(self, status: Any) -> tuple[bytes, int]:
        """Return the line (see `line`) and code of an ASGI response.

        Raises:
            HeaderError: Not a status that an application may send.
        """
        known = self._asgi_status.get(status) if type(status) is int else None
        if known is None:
            # Neither what only compares equal (200.0), nor a subclass's own idea of its text.
            code = int.__int__(status) if isinstance(status, int) else 0
            if not 200 <= code <= 599:
                raise HeaderError(f"not a response status: {status!r}")
            known = self._asgi_status[code] = self.line(f"{code} {reason(code)}"), code
        return known

    def encode(self, header: Any) -> tuple[bytes, bytes]:
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
