"""What any request is held to, whatever protocol it came by. Pure functions.

A request that is refused never reaches the application.
"""

from __future__ import annotations

import re
import socket
from typing import Final

SHOWN: Final = 60
"""So much of what a client sent is shown in the log."""

# RFC 3986 section 3.2.2, but for the comma: "a,b" is what two Host fields become when joined.
_HOST: Final = re.compile(
    r"(?:(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{0,5}))?"
)
_PORT_MAX: Final = 65535

SINGLE: Final = (b"host", b"content-length", b"content-type")
"""RFC 9110 section 5.3: fields that are no lists, of which a second one is refused."""
FOLDED: Final = "a field goes on in a second line, which is obsolete (RFC 9112 section 5.2)"

HOSTS_MAX: Final = 1024
"""Values of Host that a runner remembers as sound, so that each is judged once."""


class Refused(Exception):  # noqa: N818 - a decision, answered with ``status``
    """The request is answered with ``status`` and the connection closed; ``why`` is for the log."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status, why)
        self.status = status
        self.why = why


def is_host(value: str) -> bool:
    """Tell whether ``value`` is a host with or without a port: a name or an address, not a list, no user.

    A name may have what RFC 3986 allows, but for the comma; a port is at most 65535.
    """
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    if match[1] is not None:
        try:
            socket.inet_pton(socket.AF_INET6, match[1])
        except OSError:
            return False
    return int(match[2] or 0) <= _PORT_MAX


def check_host(value: str | None, http11: bool) -> None:
    """Judge the value of Host, None when there is none.

    An empty one is sent where the target has no authority (RFC 9112 section 3.2).

    Raises:
        Refused: Missing in HTTP/1.1, or invalid.
    """
    if value is None:
        if http11:
            raise Refused(400, "there is no Host")
    elif value and not is_host(value):
        raise Refused(400, f"Host is not a name or address with or without a port: {value[:SHOWN]!r}")
