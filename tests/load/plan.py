"""What the connections of a load do: one plan for all of them, several plans for a mixed load.

Habits: ``keep-alive`` never sends ``Connection: close`` and uses a connection for as long as it
may; ``short`` says ``Connection: close`` on each request; ``websocket`` sends messages on one
that it keeps, expects each to come back, and comes again when it is told 1012; ``http2`` has several
requests at a time on one that it keeps, by prior knowledge.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Habit = Literal["keep-alive", "short", "websocket", "http2"]


@dataclass(frozen=True)
class Plan:
    """What every connection does."""

    url: str
    """``http://HOST:PORT/path`` or ``unix:/path/to/socket:/path``."""
    think_s: float = 0.02
    """Mean pause between requests; each is between half and one and a half of it."""
    timeout_s: float = 10.0
    """For one request, from the connect (when one is needed) to the last byte."""
    expect_status: int = 200
    expect_body: bytes | None = None
    """None accepts any."""
    body: bytes = b""
    """When not empty, requests are POSTs of this."""
    habit: Habit = "keep-alive"
    read_bytes_per_s: int = 0
    """Of responses, as a slow client takes them. 0: as fast as they come."""
    label: str = ""
    """Names this load among others of one client."""

    @property
    def address(self) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
        if self.url.startswith("unix:"):
            return socket.AF_UNIX, self.url.split(":")[1]
        parts = urlsplit(self.url)
        assert parts.hostname
        family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
        return family, (parts.hostname, parts.port or 80)

    @property
    def request(self) -> bytes:
        if self.url.startswith("unix:"):
            host, target = "localhost", self.url.split(":")[2]
        else:
            parts = urlsplit(self.url)
            host, target = parts.netloc, parts.path or "/"
            target += f"?{parts.query}" if parts.query else ""
        head = f"{'POST' if self.body else 'GET'} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: load\r\n"
        if self.habit == "short":
            head += "Connection: close\r\n"
        if self.body:
            head += f"Content-Length: {len(self.body)}\r\n"
        return head.encode() + b"\r\n" + self.body


@dataclass(frozen=True)
class Part:
    """So many connections with one plan."""

    plan: Plan
    connections: int


def encode_parts(parts: Sequence[Part]) -> str:
    """As one argument; bytes in base 64."""
    documents = []
    for part in parts:
        fields = dataclasses.asdict(part)
        for name in _BYTES:
            if fields["plan"][name] is not None:
                fields["plan"][name] = base64.b64encode(fields["plan"][name]).decode()
        documents.append(fields)
    return json.dumps(documents)


def decode_parts(text: str) -> list[Part]:
    parts = []
    for fields in json.loads(text):
        for name in _BYTES:
            if fields["plan"][name] is not None:
                fields["plan"][name] = base64.b64decode(fields["plan"][name])
        parts.append(Part(Plan(**fields["plan"]), fields["connections"]))
    return parts


_BYTES = ("expect_body", "body")
