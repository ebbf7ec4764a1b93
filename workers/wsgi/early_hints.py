"""``wsgi.early_hints``: a WSGI application says early which resources its page will need.

    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload; as=style")])

sends 103 (Early Hints, RFC 8297), any number of times until the response has begun. Called
later, or for a client of HTTP/1.0, it does nothing; a field that cannot be sent raises
ValueError. The same as gunicorn's, so frameworks that know that one use this one.

There is one of these for a connection, in what the environs of its requests are copied from:
requests that do not use it pay nothing for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gwctl.workers.exchange.response import Response


class EarlyHints:
    __slots__ = ("_response",)

    def __init__(self, response: Response) -> None:
        self._response: Response | None = response

    def let_go(self) -> None:
        """The client is gone. An application may keep an environ, and so this, but not the connection."""
        self._response = None

    def __call__(self, headers: Any) -> None:
        """Send 103 with ``headers``, pairs of name and value (str, or bytes).

        Fields that are the server's, or describe a body that a 103 has not, are left out.

        Raises:
            HeaderError: A ValueError: a pair cannot be sent as a header field.
        """
        call = None if self._response is None else self._response.call
        if call is not None:
            call.hint(headers)


def as_text(header: Any) -> Any:
    try:
        name, value = header
    except (TypeError, ValueError):
        return header  # who checks it explains what is wrong with it
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return name, value
