"""What the engine demands of a request beyond what the parsers check. Pure functions.

The parsers refuse malformed syntax; here is what a message means: which target forms are
served (RFC 9112 section 3.2), how the body is framed (section 6), what may be expected
(RFC 9110 section 10.1.1). A request that is refused never reaches the application.
"""

from __future__ import annotations

import re
from typing import Any, Final

from gwctl.workers.framing import ChunkedFramer, Framer, LengthFramer

_ABSOLUTE: Final = re.compile(r"https?://([A-Za-z0-9.\-_~!$&'()*+,;=%:\[\]]+)((?:[/?].*)?)", re.IGNORECASE)
_LENGTH_DIGITS_MAX: Final = 18


class Refused(Exception):  # noqa: N818 - a decision, answered with ``status``
    """The request is answered with ``status`` and the connection closed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def split_target(method: bytes, target: bytes) -> tuple[str, str]:
    """Return the origin form and the authority of a target that does not start with a slash.

    ``OPTIONS *`` keeps its asterisk. The authority of the absolute form replaces Host.

    Raises:
        Refused: CONNECT (this is no proxy), or not a form that RFC 9112 knows.
    """
    if method == b"CONNECT":
        raise Refused(501)
    if not target.isascii():
        raise Refused(400)
    text = target.decode("ascii")
    if text == "*" or text.startswith("/"):
        return text, ""
    match = _ABSOLUTE.fullmatch(text)
    if match is None:
        raise Refused(400)
    rest = match[2]
    return (rest if rest.startswith("/") else "/" + rest), match[1]


def frame_body(parser: Any, length: bytes | None, coding: bytes | None, limit: int) -> Framer | None:
    """Return what delimits the body of the request in ``parser``, or None when there is none.

    ``length`` and ``coding`` are the values of Content-Length and Transfer-Encoding. They are
    read again here because the C parser counts lengths modulo 2**64, takes a coding other
    than chunked for none at all, and lets codings through that nobody here decodes.

    Raises:
        Refused: 400, 413 (before anything is read) or 501.
    """
    if coding is not None:
        if not parser.is_chunked or length is not None:
            raise Refused(400)
        if coding.strip(b" \t,").lower() != b"chunked":
            raise Refused(501)
        return ChunkedFramer()
    if length is None:
        return None
    digits = length.lstrip(b"0")
    if len(digits) > _LENGTH_DIGITS_MAX:
        raise Refused(413)
    size = int(digits or b"0")
    if limit and size > limit:
        raise Refused(413)
    return LengthFramer(size) if size else None


def wants_continue(expect: bytes, http11: bool) -> bool:
    """Return whether the client waits for 100 (Continue); HTTP/1.0 cannot.

    Raises:
        Refused: 417, any other expectation.
    """
    if expect.lower() != b"100-continue":
        raise Refused(417)
    return http11
