"""The request head parser in Python: a short way for heads that are plainly sound, gunicorn's for the rest.

Two regular expressions take a head apart at once if it is whole, has a usual method, a target
that begins with a slash, and fields that all differ in name and say nothing remarkable about
the connection or the body. That is nearly every head, at a seventh of the time. Anything else,
and anything that could be wrong, goes to `gunicorn.asgi.parser.PythonProtocol`: what is refused
is decided there and in `gwctl.workers.http1.head_validator`, never here.

Same interface and use as `gwctl.workers.http1.parser.HeadParser`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

_REQUEST_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[\x21-\x7e]*) HTTP/1\.([01])\r\n"
)
_FIELDS: Final = re.compile(
    rb"^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)\r$", re.MULTILINE
)
_VERSIONS: Final = {b"0": (1, 0), b"1": (1, 1)}
_PERSISTENCE: Final = {b"keep-alive": True, b"close": False}
_UNQUICK: Final = frozenset({b"transfer-encoding", b"upgrade", b"expect"})


class PythonParser:
    """``slow`` makes gunicorn's parser; ``fields_max`` is its limit of fields."""

    __slots__ = (
        "_fields_max",
        "_make_slow",
        "_rest",
        "_slow",
        "headers",
        "http_version",
        "is_complete",
        "method",
        "path",
        "should_keep_alive",
    )

    def __init__(self, slow: Callable[[], Any], fields_max: int) -> None:
        self._make_slow = slow
        self._fields_max = fields_max
        self._slow: Any = None  # while the present head is its business
        self._rest = b""
        self.method = self.path = b""
        self.http_version = (1, 1)
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_complete = False
        self.should_keep_alive = True

    def feed(self, data: bytes) -> None:
        """Take ``data``; raises what gunicorn's parser raises."""
        if self._slow is not None or not self._quick(data):
            self._feed_slow(data)

    def _quick(self, data: bytes) -> bool:
        """Take the head apart if it is whole and plainly sound; else change nothing."""
        line = _REQUEST_LINE.match(data)
        end = data.find(b"\r\n\r\n") + 2
        if line is None or end < line.end():
            return False
        fields = _FIELDS.findall(data, line.end(), end)
        if data.count(b"\n", line.end(), end) != len(fields) or len(fields) > self._fields_max:
            return False
        headers = [(name.lower(), value.rstrip(b" \t")) for name, value in fields]
        named = dict(headers)
        if len(named) != len(headers) or not _UNQUICK.isdisjoint(named):
            return False
        length = named.get(b"content-length", b"0")
        version = line[3]
        keep_alive: bool | None = version == b"1"
        if b"connection" in named:
            keep_alive = _PERSISTENCE.get(named[b"connection"].lower())
        if keep_alive is None or not length.isdigit() or len(length) > 18:
            return False
        self.method, self.path = line[1], line[2]
        self.http_version = _VERSIONS[version]
        self.headers = headers
        self.should_keep_alive = keep_alive
        self._rest = data[end + 2 :]
        self.is_complete = True
        return True

    def _feed_slow(self, data: bytes) -> None:
        slow = self._slow
        if slow is None:
            slow = self._slow = self._make_slow()
        slow.feed(data)
        if slow.is_complete:
            self.method, self.path = slow.method, slow.path
            self.http_version = slow.http_version
            self.headers = slow.headers
            self.should_keep_alive = slow.should_keep_alive
            self._rest = slow.remaining()
            self.is_complete = True

    @property
    def asgi_headers(self) -> list[tuple[bytes, bytes]]:
        """The same list: its names are in lower case, of whichever parser they are."""
        return self.headers

    def remaining(self) -> bytes:
        """Return what was fed after the head."""
        return self._rest

    def reset(self) -> None:
        self.is_complete = False
        self._slow = None
        self._rest = b""
