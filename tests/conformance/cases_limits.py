"""Sizes: one byte less, one byte more. And mistakes at the limit: the first one counts."""

from __future__ import annotations

from tests.conformance.case import LIMITS, Seen, line, refused, served

LINE_MAX = LIMITS["request_line_bytes_max"]
FIELD_MAX = LIMITS["header_bytes_max"]
COUNT_MAX = LIMITS["headers_max"]
HEAD_MAX = LIMITS["head_bytes_max"]


def long_line(size: int, last: bytes = b"") -> bytes:
    """A request line of ``size`` bytes without its end."""
    room = size - len(b"GET / HTTP/1.1") - len(last)
    return b"GET /" + b"a" * room + last + b" HTTP/1.1"


def long_field(size: int, name: bytes = b"A") -> bytes:
    """A field line of ``size`` bytes with its end."""
    return name + b": " + b"a" * (size - len(name) - 4) + b"\r\n"


def head(*lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(lines) + b"\r\n"


def sized(size: int) -> bytes:
    """A head of ``size`` bytes."""
    fixed = len(head())
    whole, rest = divmod(size - fixed, 250)
    fields = [long_field(250)] * whole
    fields.append(long_field(rest))
    return head(*fields)


LONG = Seen(path="/" + "a" * (LINE_MAX - len("GET / HTTP/1.1")))

SIZES = [
    served("a request line as long as is allowed", "9112 3", line(long_line(LINE_MAX)), LONG),
    refused("a request line of a byte more", "9110 15.5.15", line(long_line(LINE_MAX + 1)), 414),
    refused("a request line twice as long", "9110 15.5.15", line(long_line(LINE_MAX * 2)), 414),
    refused("a request line that does not end", "9110 15.5.15", b"GET /" + b"a" * LINE_MAX * 3, 414),
    refused("a method that does not end", "9110 15.5.15", b"A" * LINE_MAX * 3, 414),
    refused("a mistake within the limit of a line too long", "9112 3", line(b"GET /\0" + b"a" * LINE_MAX + b" HTTP/1.1")),
    refused("a mistake beyond the limit of a line too long", "9110 15.5.15", line(long_line(LINE_MAX * 2, b"\0")), 414),
    served("a field as long as is allowed", "9110 5.4", head(long_field(FIELD_MAX))),
    refused("a field of a byte more", "6585 5", head(long_field(FIELD_MAX + 1)), 431),
    refused("a field that does not end", "6585 5", b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * FIELD_MAX * 3, 431),
    refused("a name that does not end", "6585 5", b"GET / HTTP/1.1\r\n" + b"a" * FIELD_MAX * 3, 431),
    refused("a field of blanks that is too long", "6585 5", head(b"A:" + b" " * FIELD_MAX + b"b\r\n"), 431),
    refused("a mistake within the limit of a field too long", "9112 5", head(b"A\0" + b"a" * FIELD_MAX + b"\r\n")),
    refused("a mistake beyond the limit of a field too long", "6585 5", head(b"A: " + b"a" * FIELD_MAX + b"\0\r\n"), 431),
    refused("a Host that is too long", "6585 5", b"GET / HTTP/1.1\r\n" + long_field(FIELD_MAX + 1, b"Host") + b"\r\n", 431),
    served("as many fields as are allowed", "9110 5.4", head(b"A: b\r\n" * (COUNT_MAX - 1))),
    refused("a field more", "6585 5", head(b"A: b\r\n" * COUNT_MAX), 431),
    refused("300 fields", "6585 5", head(b"A:\r\n" * 300), 431),
    refused("fields without end", "6585 5", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 400, 431),
    refused("a mistake in the last field that is allowed", "9112 5", head(b"A: b\r\n" * (COUNT_MAX - 2) + b"A b\r\n" + b"A: b\r\n" * 5)),
    served("a head as large as is allowed", "9110 5.4", sized(HEAD_MAX)),
    refused("a head of a byte more", "6585 5", sized(HEAD_MAX + 1), 431),
    refused("a head of half as much again", "6585 5", sized(HEAD_MAX * 3 // 2), 431),
]  # fmt: skip
