"""Trailers: header fields behind the body of a response (RFC 9112 section 7.1.2).

An application announces them in http.response.start. They are sent if the client asked for
them (``TE: trailers``) and speaks HTTP/1.1, which makes the body chunked even if it is known at
once; otherwise they are checked and dropped.
"""

from __future__ import annotations

from typing import Any, Final

from gwctl.workers.exchange.heads import HeaderError, Heads, as_list
from gwctl.workers.exchange.response import MARKED
from gwctl.workers.observe.errors import NotAsgiError

_FORBIDDEN: Final = frozenset(
    # RFC 9110 section 6.5.1: framing, routing, request modifiers, authentication, what steers the response.
    {
        b"age",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"date",
        b"expires",
        b"host",
        b"keep-alive",
        b"location",
        b"retry-after",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"vary",
        b"warning",
        b"www-authenticate",
    }
)


class Trailers:
    """The state of one response's trailers."""

    __slots__ = ("_heads", "body_over", "wanted")

    def __init__(self, heads: Heads, wanted: bool) -> None:
        self._heads = heads
        self.wanted = wanted
        self.body_over = False

    def check_body_open(self) -> None:
        """Raise NotAsgiError if the body was said to be complete."""
        if self.body_over:
            raise NotAsgiError("http.response.body was sent after the body was complete")

    def follow(self, framing: int) -> bool:
        """Take note that the body is complete; return whether trailers end the response."""
        self.check_body_open()
        self.body_over = self.wanted and framing == MARKED
        return self.body_over

    def fields(self, message: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        """Return the fields of ``message``.

        Raises:
            HeaderError: A field cannot be sent as it is, or not behind the body.
        """
        fields = []
        for header in as_list(message.get("headers")):
            field = self._heads.encode(header)
            if field[0].lower() in _FORBIDDEN:
                raise HeaderError(f"not allowed as a trailer (RFC 9110 section 6.5.1): {header!r}")
            fields.append(field)
        return fields
