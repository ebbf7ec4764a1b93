"""The cases of the table as HTTP/2 has them: what HTTP/1 refuses, HTTP/2 refuses, and what it serves is served.

A case is taken if it is about what both have: method, target, fields, a body with a length. What is about lines,
versions, chunks and connections is HTTP/1's own (`as_request` returns None). Where HTTP/1 answers 400 to what
RFC 9113 calls malformed, HTTP/2 resets the stream.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from tests.conformance.case import Case, Seen
from tests.conformance.play import Mismatch
from tests.support.http2 import Http2Client
from tests.support.memory_wire import Reset

GROUPS: Final = ("Request line", "Target", "Fields", "Host", "Expect", "Content-Length", "Sizes")
"""Of the table: those with rules that are shared."""
OWN: Final = frozenset(
    {
        # Fields of HTTP/1's connections, and lines that are none.
        "Fields: a second request line among the fields",
        # What comes first in the bytes counts there, and here what is malformed.
        "Sizes: a mistake beyond the limit of a line too long",
        "Sizes: a mistake beyond the limit of a field too long",
        # Blanks around a value are none of its in HTTP/1, and malformed in HTTP/2.
        "Sizes: a field of blanks that is too long",
        # In HTTP/2 the end of the stream is that of the body, whatever else is there.
        "Content-Length: more body than that: another request",
    }
)


@dataclass(frozen=True)
class Request:
    fields: list[tuple[bytes, bytes]]
    body: bytes
    ends: bool


def as_request(name: str, case: Case) -> Request | None:
    """Return what an HTTP/2 client would send; None if it could not say that."""
    head, separator, body = case.raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    words = lines[0].split(b" ")
    if name in OWN or not separator or len(words) != 3 or words[2] != b"HTTP/1.1" or len(case.seen) > 1:
        return None
    fields: list[tuple[bytes, bytes]] = []
    for line in lines[1:]:
        field, colon, value = line.partition(b":")
        if not colon or field != field.strip() or field.lower() in {b"connection", b"transfer-encoding"}:
            return None
        fields.append((field.lower(), value.strip(b" \t")))
    length = [value for field, value in fields if field == b"content-length"]
    if not case.status and length and length[0].isdigit() and int(length[0]) != len(body):
        return None  # what follows is another request, or comes later
    method, target = words[:2]
    pseudo = [(b":method", method)]
    if method != b"CONNECT":
        pseudo += [(b":scheme", b"http"), (b":path", target)]
        if target.lower().startswith((b"http://", b"https://")):
            return None  # the absolute form is :scheme, :authority and :path here
    ends = bool(body) or not (length and length[0].strip(b"0"))
    return Request([*pseudo, *fields], body, ends)


def play(client: Http2Client, case: Case, request: Request) -> None:
    """Send ``request`` on a stream of its own; compare what comes with ``case``.

    Raises:
        Mismatch: It is something else.
    """
    stream = client.raw(request.fields, body=request.body, ends=request.ends)
    end = stream.end()
    if isinstance(end, Reset):
        if case.status != 400 and not (case.status and stream.events[0] is not end):
            raise Mismatch(f"reset with code {stream.code}, not {case.status or 200}")
        return
    status, _ = stream.head()
    if status != (case.status or 200):
        raise Mismatch(f"{status}, not {case.status or 200}")
    if not case.status and case.seen and case.seen[0].method != "HEAD":
        _compare(json.loads(stream.body), case.seen[0])


def _compare(seen: dict[str, object], expected: Seen) -> None:
    got = Seen(
        str(seen["method"]), str(seen["path"]), str(seen["query"]), {}, str(seen["body"]).encode("latin-1")
    )
    if got != Seen(expected.method, expected.path, expected.query, {}, expected.body):
        raise Mismatch(f"the application saw {got}, not {expected}")
    headers = seen["headers"]
    assert isinstance(headers, dict)
    for name, value in expected.headers.items():
        if headers.get(name) != value:
            raise Mismatch(f"{name} is {headers.get(name)!r}, not {value!r}")
