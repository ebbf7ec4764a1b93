"""What the engine demands of a request beyond what the parsers check. Pure functions.

The parsers refuse malformed syntax; here is what a message means: which target forms are
served (RFC 9112 section 3.2), how the body is framed (RFC 9112 section 6), what may be expected
(RFC 9110 section 10.1.1). A request that is refused never reaches the application.
"""

from __future__ import annotations

import re
from typing import Final

from gwctl.masking import masked
from gwctl.workers.exchange.request_rules import SHOWN, Refused, is_host
from gwctl.workers.http1.body_framing import ChunkedFramer, Framer, LengthFramer

_ABSOLUTE: Final = re.compile(r"https?://([^/?]+)((?:[/?].*)?)", re.IGNORECASE)
_LENGTH_DIGITS_MAX: Final = 18
_BAD_TARGET: Final = "the target has a fragment, or bytes that must be percent-encoded"
_CODING: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def check_unusual_method(method: bytes, target: bytes) -> None:
    """Judge a method that is not among the usual ones.

    Raises:
        Refused: CONNECT: this is no proxy. 400 for a target that would have been refused before.
    """
    if not target.isascii():
        raise Refused(400, _BAD_TARGET)
    if method == b"CONNECT":
        raise Refused(501, "CONNECT is for proxies")


def split_target(target: bytes) -> tuple[str, str]:
    """Return the origin form and the authority of a target that does not start with a slash.

    ``OPTIONS *`` keeps its asterisk. The authority of the absolute form replaces Host.

    Raises:
        Refused: Not a form that RFC 9112 knows.
    """
    if not target.isascii() or b"#" in target:
        raise Refused(400, _BAD_TARGET)
    text = target.decode("ascii")
    if text == "*" or text.startswith("/"):
        return text, ""
    match = _ABSOLUTE.fullmatch(text)
    if match is None or not is_host(match[1]):
        raise Refused(
            400, f"the target is neither a path nor a URL of http or https: {masked(text)[:SHOWN]!r}"
        )
    rest = match[2]
    return (rest if rest.startswith("/") else "/" + rest), match[1]


def frame_body(length: bytes | None, coding: bytes | None, http11: bool, limit: int) -> Framer | None:
    """Return what delimits the body of a request, or None when there is none.

    ``length`` and ``coding`` are the values of Content-Length and Transfer-Encoding, the latter
    joined with commas if there are several. The parsers' own reading of them is not used: they
    differ in what they take.

    Raises:
        Refused: 400, 413 (before anything is read), or 501 for codings that end in ``chunked``
            but have others before it (RFC 9112 section 6.1: to be answered with 501; those
            that do not end in it have no end, section 6.3: 400).
    """
    if coding is not None:
        if length is not None:
            raise Refused(400, "Content-Length and Transfer-Encoding exclude each other")
        if not http11:
            raise Refused(400, "HTTP/1.0 has no Transfer-Encoding")
        codings = [each.strip(b" \t") for each in coding.lower().split(b",")]
        if codings == [b"chunked"]:
            return ChunkedFramer()
        sound = all(map(_CODING.fullmatch, codings)) and codings.index(codings[-1]) == len(codings) - 1
        raise Refused(
            501 if sound and codings[-1] == b"chunked" else 400,
            f"the only Transfer-Encoding known here is chunked, not {coding[:SHOWN]!r}",
        )
    if length is None:
        return None
    if not length.isdigit():
        raise Refused(400, f"Content-Length is not a number: {length[:SHOWN]!r}")
    digits = length.lstrip(b"0")
    if len(digits) > _LENGTH_DIGITS_MAX:
        raise Refused(413, "Content-Length is beyond any limit")
    size = int(digits or b"0")
    if limit and size > limit:
        raise Refused(413, f"a body of {size} bytes is larger than body_bytes_max ({limit})")
    return LengthFramer(size) if size else None


def wants_continue(expect: bytes, http11: bool) -> bool:
    """Return whether the client waits for 100 (Continue); HTTP/1.0 cannot.

    Raises:
        Refused: 417, any other expectation.
    """
    if expect.lower() != b"100-continue":
        raise Refused(417, f"the only expectation known is 100-continue, not {expect[:SHOWN]!r}")
    return http11
