"""From the fields of a header block to a request (RFC 9113 section 8), judged as HTTP/1 judges its own.

What RFC 9113 calls malformed ends the stream with PROTOCOL_ERROR. What HTTP/1 refuses with a status (a method
nobody knows, a target, a Host, a field that is too long) is refused with the same one: such a request has a
``refusal``, and is answered in its turn. Host, Content-Length, Expect and bodies are judged where they are in
HTTP/1, when the request begins.
"""

from __future__ import annotations

import re
from typing import Final

from gwctl.config.model.settings import Limits
from gwctl.workers.exchange.heads import OF_CONNECTIONS
from gwctl.workers.exchange.request_rules import SHOWN, SINGLE, Refused
from gwctl.workers.http1.request_rules import check_unusual_method, split_target

Fields = list[tuple[bytes, bytes]]

URGENCY_DEFAULT: Final = 3
URGENCY_MAX: Final = 7

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_METHOD: Final = re.compile(rb"[!$%&'*+\-.^_`|~0-9A-Z]{3,20}")
"""What the parsers of HTTP/1 take for one."""
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PATH: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*|\*")
_VALUE: Final = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_SCHEMES: Final = frozenset({b"http", b"https"})
_URGENCY: Final = re.compile(rb"(?:^|,)[ \t]*u[ \t]*=[ \t]*([0-7])[ \t]*(?=$|[,;])")
_INCREMENTAL: Final = re.compile(rb"(?:^|,)[ \t]*i[ \t]*(?:=[ \t]*\?1[ \t]*)?(?=$|[,;])")
_LINE_BYTES: Final = 10
"""Of a request line, besides method and target: two blanks and the version."""
_FIELD_LINE_BYTES: Final = 4
"""Of a field's line, besides name and value: a colon, a blank and the end of the line."""


class Malformed(Exception):  # noqa: N818 - what the client did, answered with RST_STREAM
    """The request, or its trailers, is none (RFC 9113 section 8.1.1); ``why`` is for the log."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class RequestHead:
    """What a header block says. Shared by all requests that have the same: nobody changes it.

    Attributes:
        fields: Without those of the pseudo-header; Host first, if it was there in any form.
        head: As the scoreboard has it.
        protocol: Of an extended CONNECT (RFC 8441); empty: it is none.
        size: Of names and values together.
    """

    __slots__ = (
        "fields",
        "head",
        "incremental",
        "is_head",
        "method",
        "protocol",
        "refusal",
        "size",
        "target",
        "urgency",
    )

    def __init__(self, method: str, target: str, protocol: str, fields: Fields, size: int) -> None:
        self.method = method
        self.target = target
        self.protocol = protocol
        self.fields = fields
        self.size = size
        self.head = f"{method} {target} HTTP/2.0\r\n".encode("latin-1")
        self.is_head = method == "HEAD"
        self.refusal: Refused | None = None
        self.urgency = URGENCY_DEFAULT
        self.incremental = False


def read_request(given: Fields, limits: Limits) -> RequestHead:
    """Return the request that the fields ``given`` make.

    Raises:
        Malformed: They make none.
    """
    pseudo: dict[bytes, bytes] = {}
    fields: Fields = []
    cookies: list[bytes] = []
    singles: dict[bytes, bytes] = {}
    repeated = priority = b""
    size = longest = 0
    for name, value in given:
        length = len(name) + len(value)
        size += length
        if length > longest and name != b":path":
            longest = length
        if name[:1] == b":":
            if fields or cookies or name not in _PSEUDO or name in pseudo:
                raise Malformed(f"pseudo-header field {name[:SHOWN]!r}, unknown, late or twice")
            pseudo[name] = value
            continue
        _check_field(name, value)
        if name == b"cookie":
            if not cookies:
                fields.append((name, value))
            cookies.append(value)
            continue
        if name in SINGLE:
            if name in singles:
                repeated = name
            singles[name] = value
        elif name == b"priority":
            priority = value
        fields.append((name, value))
    if len(cookies) > 1:
        fields = _with_one_cookie(fields, b"; ".join(cookies))
    host = singles.get(b"host")
    head = _head_of(pseudo, host, fields, size)
    head.urgency, head.incremental = read_priority(priority)
    try:
        _check_sizes(pseudo, len(given), size, longest, limits)
        _check_target(pseudo)
        _check_singles(pseudo, host, repeated)
    except Refused as refusal:
        head.refusal = refusal.with_traceback(None)  # which refers to this very frame, and so to itself
    return head


def _head_of(pseudo: dict[bytes, bytes], host: bytes | None, fields: Fields, size: int) -> RequestHead:
    method = pseudo.get(b":method")
    if method is None or _TOKEN.fullmatch(method) is None:
        raise Malformed("no :method, or one that is no token")
    authority = pseudo.get(b":authority")
    protocol = pseudo.get(b":protocol")
    if protocol is not None and method != b"CONNECT":
        raise Malformed(":protocol without CONNECT")
    path = pseudo.get(b":path")
    if method == b"CONNECT" and protocol is None:
        if path is not None or b":scheme" in pseudo:
            raise Malformed("CONNECT with :path or :scheme")
        path = authority or b""
    elif not path or b":scheme" not in pseudo:
        raise Malformed("no :path, or no :scheme")
    elif b"\0" in path or b"\r" in path or b"\n" in path:
        raise Malformed("a character in :path that no field may have")
    if authority is not None:
        if _VALUE.fullmatch(authority) is None:
            raise Malformed("a character in :authority that no field may have, or blanks around it")
        if host is None:
            fields.insert(0, (b"host", authority))
    return RequestHead(
        method.decode("ascii"), path.decode("latin-1"), (protocol or b"").decode("latin-1"), fields, size
    )


def _check_field(name: bytes, value: bytes) -> None:
    if _NAME.fullmatch(name) is None:
        raise Malformed(f"not a field name in lower case: {name[:SHOWN]!r}")
    if _VALUE.fullmatch(value) is None:
        raise Malformed(f"control characters in the field {name[:SHOWN]!r}, or blanks around it")
    if name in OF_CONNECTIONS:
        raise Malformed(f"a field of HTTP/1's connections: {name.decode()}")
    if name == b"te" and value.lower() != b"trailers":
        raise Malformed("TE of something else than trailers")


def _check_sizes(pseudo: dict[bytes, bytes], count: int, size: int, longest: int, limits: Limits) -> None:
    """Judge as HTTP/1 does the lines that it would have had.

    Raises:
        Refused: 414 or 431.
    """
    line_bytes = len(pseudo[b":method"]) + len(pseudo.get(b":path", b"")) + _LINE_BYTES
    if line_bytes > limits.request_line_bytes_max:
        raise Refused(414, f"the request line would be longer than {limits.request_line_bytes_max} bytes")
    if longest + _FIELD_LINE_BYTES > limits.header_bytes_max:
        raise Refused(431, f"a field is longer than header_bytes_max ({limits.header_bytes_max})")
    lines = count - len(pseudo) + (b":authority" in pseudo)
    if lines > limits.headers_max:
        raise Refused(431, f"there are more than headers_max ({limits.headers_max}) fields")
    fields_bytes = size - sum([len(name) + len(value) for name, value in pseudo.items()])
    if b":authority" in pseudo:
        fields_bytes += len(b"host") + len(pseudo[b":authority"])
    if line_bytes + 4 + fields_bytes + _FIELD_LINE_BYTES * lines > limits.head_bytes_max:
        raise Refused(431, f"the head is larger than head_bytes_max ({limits.head_bytes_max})")


def _check_target(pseudo: dict[bytes, bytes]) -> None:
    """Judge method and target.

    Raises:
        Refused: 400 or 501, as in HTTP/1.
    """
    method = pseudo[b":method"]
    path = pseudo.get(b":path", b"")
    protocol = pseudo.get(b":protocol")
    if protocol is not None:
        if protocol != b"websocket":
            raise Refused(501, f"an extended CONNECT for {protocol[:SHOWN]!r}")
    elif _METHOD.fullmatch(method) is None:
        raise Refused(501, f"a method that nobody knows: {method[:SHOWN]!r}")
    else:
        check_unusual_method(method, path)
    if pseudo[b":scheme"].lower() not in _SCHEMES:
        raise Refused(400, "a scheme that is neither http nor https")
    if path == b"*" and method != b"OPTIONS":
        raise Refused(400, "the target * is for OPTIONS alone")
    if _PATH.fullmatch(path) is None:
        split_target(path)  # says what is wrong with most
        raise Refused(400, f"the target is no path: {path[:SHOWN]!r}")


def _check_singles(pseudo: dict[bytes, bytes], host: bytes | None, repeated: bytes) -> None:
    """Judge fields that are there once at most; ``repeated``: one that is not.

    Raises:
        Refused: 400.
    """
    if repeated:
        raise Refused(400, f"{repeated.decode()} is there more than once")
    authority = pseudo.get(b":authority")
    if authority is not None and host is not None and authority != host:
        raise Refused(400, f"Host differs from :authority: {host[:SHOWN]!r}")


def _with_one_cookie(fields: Fields, joined: bytes) -> Fields:
    """RFC 9113 section 8.2.3: whoever is not HTTP/2 sees one field."""
    return [(name, joined if name == b"cookie" else value) for name, value in fields]


def check_trailers(given: Fields) -> None:
    """Judge the fields behind a body; nobody sees them.

    Raises:
        Malformed: They have no place there.
    """
    for name, value in given:
        if name[:1] == b":":
            raise Malformed("a pseudo-header field among trailers")
        _check_field(name, value)


def read_priority(value: bytes) -> tuple[int, bool]:
    """Return urgency, and whether parts are of use (RFC 9218 section 4); what is unknown says nothing."""
    if not value:
        return URGENCY_DEFAULT, False
    urgency = _URGENCY.search(value)
    return int(urgency[1]) if urgency is not None else URGENCY_DEFAULT, _INCREMENTAL.search(value) is not None
