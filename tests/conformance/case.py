"""What a case of the conformance table is. The table itself is in the modules ``cases_*``.

A case is bytes that a client sends on a fresh connection, and all that must come of it: which
requests the application has seen, in their order, whether a refusal follows, with which status,
and whether the connection goes on. `tests.conformance.play` plays it.

All cases are played with `LIMITS`, so that what is too long is short enough to be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LIMITS = {
    "request_line_bytes_max": 200,
    "header_bytes_max": 300,
    "headers_max": 20,
    "head_bytes_max": 2000,
    "body_bytes_max": 1000,
    "body_memory_bytes": 100,
}


@dataclass(frozen=True)
class Seen:
    """A request as the application saw it.

    ``path`` is without its percent-encoding. ``headers`` are some of them, by lower-case name;
    None: it must not be there.
    """

    method: str = "GET"
    path: str = "/"
    query: str = ""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Case:
    """``name`` says what is sent, ``section`` which RFC speaks of it, as in ``9112 3.2``.

    ``status`` is that of the refusal, 0 if all is served; ``seen`` is what was served before it.
    """

    name: str
    section: str
    raw: bytes
    status: int = 0
    seen: tuple[Seen, ...] = ()
    closes: bool = False


def refused(name: str, section: str, raw: bytes, status: int = 400, *before: Seen) -> Case:
    return Case(name, section, raw, status, before, closes=True)


def served(name: str, section: str, raw: bytes, *seen: Seen, closes: bool = False) -> Case:
    return Case(name, section, raw, 0, seen or (Seen(),), closes)


# ---- bytes


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def line(request_line: bytes) -> bytes:
    """A request with this request line."""
    return request_line + b"\r\nHost: x\r\n\r\n"


def fields(*lines: bytes, version: bytes = b"1.1") -> bytes:
    """A GET with Host and these field lines."""
    return (
        b"GET / HTTP/" + version + b"\r\nHost: x\r\n" + b"".join(each + b"\r\n" for each in lines) + b"\r\n"
    )


def host(*values: bytes, version: bytes = b"1.1") -> bytes:
    """A GET with a Host field for each of ``values``."""
    hosts = b"".join(b"Host: " + value + b"\r\n" for value in values)
    return b"GET / HTTP/" + version + b"\r\n" + hosts + b"\r\n"


def post(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """A POST with Host, these field lines and ``body`` as it is."""
    head = b"POST / HTTP/" + version + b"\r\nHost: x\r\n"
    return head + b"".join(each + b"\r\n" for each in lines) + b"\r\n" + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    """A POST in chunks; ``body`` is the chunks as they are sent."""
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


def posted(body: bytes = b"", **headers: str | None) -> Seen:
    return Seen("POST", headers=headers, body=body)
