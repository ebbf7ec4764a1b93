"""``wsgi.early_hints``: a WSGI application says early which resources its page will need.

    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload; as=style")])

sends 103 (Early Hints, RFC 8297), any number of times until the response has begun. Called
later, or for a client of HTTP/1.0, it does nothing; a field that cannot be sent raises
ValueError. The same as gunicorn's, so frameworks that know that one use this one.

There is one of these for a connection, in what the environs of its requests are copied from:
requests that do not use it pay two stores, of the call that it speaks for and of its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from gwctl.workers.http1.response_head import HeadBuilder

_NOT_HINTS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-connection",
        b"server",
        b"transfer-encoding",
    }
)


class Hinting(Protocol):
    """The call in progress (`gwctl.workers.wsgi.call.WsgiCall`)."""

    def hint(self, headers: Any) -> None: ...


class EarlyHints:
    __slots__ = ("call",)

    def __init__(self) -> None:
        self.call: Hinting | None = None

    def __call__(self, headers: Any) -> None:
        """Send 103 with ``headers``, pairs of name and value (str, or bytes).

        Raises:
            HeaderError: A ValueError: a pair cannot be sent as a header field.
        """
        call = self.call
        if call is not None:
            call.hint(headers)


def hints(heads: HeadBuilder, headers: Any) -> bytes:
    """Return a 103 with ``headers``, empty when there is nothing to hint at.

    Fields that are the server's, or describe a body that a 103 has not, are left out.

    Raises:
        HeaderError: A field cannot be sent as it is.
    """
    lines = [heads.field(_as_text(header)) for header in headers]
    lines = [line for line in lines if line.partition(b":")[0].lower() not in _NOT_HINTS]
    return b"HTTP/1.1 103 Early Hints\r\n" + b"".join(lines) + b"\r\n" if lines else b""


def _as_text(header: Any) -> Any:
    try:
        name, value = header
    except (TypeError, ValueError):
        return header  # the builder of heads explains what is wrong with it
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return name, value
