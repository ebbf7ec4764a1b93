"""Header blocks of responses: fields checked, encoded, and remembered where they recur.

No entry is ever added to the dynamic table. So a block means the same on every connection and at any time: it
is made in whatever thread answers, and what was encoded for one client is there for all
(docs/adr/0049-http2.md).

How a body is delimited is decided as in HTTP/1.1 (`gwctl.workers.http1.response_head`); its end is that of
the stream. Fields of HTTP/1's connections are taken out, as there.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic, time
from typing import Any, Final

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

from gwctl.workers.exchange.heads import (
    BODILESS,
    OF_CONNECTIONS,
    REMEMBERED_MAX,
    HeaderError,
    Heads,
    http_date,
    reason,
)
from gwctl.workers.exchange.response import COUNTED, MARKED, NO_BODY

_CACHED_FIELD_BYTES_MAX: Final = 128
_SPECIAL: Final = OF_CONNECTIONS | {b"content-length", b"date", b"server", b"set-cookie"}
_INTERIM: Final = OF_CONNECTIONS | {b"content-length", b"date", b"server"}
"""Not in a 103, as in HTTP/1."""
_SECRET: Final = frozenset({b"set-cookie"})
"""Never to be put into a table by whoever passes it on (RFC 7541 section 7.1.3)."""
_TRAILERS_NOT: Final = OF_CONNECTIONS | {b"content-length"}

_NAMES: Final[dict[bytes, int]] = {}
for _number, (_name, _) in enumerate(HeaderTable.STATIC_TABLE, 1):
    _NAMES.setdefault(_name, _number)
_STATUS_INDEXED: Final = {200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}
_LENGTH_NAME: Final = b"\x0f\x0d"  # content-length is 28 in the static table
_huffman: Final = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

Known = tuple[Any, bytes | None, int]
"""What is known of a header field: itself, as first seen, and its bytes; or None, and a Content-Length."""


def encode_integer(number: int, bits: int, first: int) -> bytes:
    """RFC 7541 section 5.1: ``number`` with a prefix of ``bits``, in a byte that has ``first`` above it."""
    limit = (1 << bits) - 1
    if number < limit:
        return bytes((first | number,))
    rest = bytearray((first | limit,))
    number -= limit
    while number >= 128:
        rest.append(number & 127 | 128)
        number >>= 7
    rest.append(number)
    return bytes(rest)


def encode_text(text: bytes, *, packed: bool) -> bytes:
    """RFC 7541 section 5.2; ``packed``: by Huffman's code where that is shorter. It takes time."""
    if packed:
        short = _huffman.encode(text)
        if len(short) < len(text):
            return encode_integer(len(short), 7, 0x80) + short
    return encode_integer(len(text), 7, 0) + text


def encode_field(name: bytes, value: bytes, *, packed: bool = False) -> bytes:
    """Return a field, with its name in lower case, as a literal that is not put into the table."""
    first = 0x10 if name in _SECRET else 0
    number = _NAMES.get(name)
    if number is not None:
        return encode_integer(number, 4, first) + encode_text(value, packed=packed)
    return bytes((first,)) + encode_text(name, packed=packed) + encode_text(value, packed=packed)


def encode_status(status: int) -> bytes:
    number = _STATUS_INDEXED.get(status)
    return bytes((0x80 | number,)) if number is not None else b"\x08\x03%d" % status


class BlockBuilder(Heads):
    """Builds header blocks of responses; one per worker process. Safe to use from several threads."""

    def __init__(self, kind: type, retry_after_s: int) -> None:
        super().__init__(kind)
        self._retry_after_s = retry_after_s
        self._known: dict[Any, Known] = {}
        self._lengths: dict[int, bytes] = {}
        self._statuses = {status: encode_status(status) for status in range(100, 600)}
        self._date_until = 0.0
        self._date = b""

    def line(self, status: str) -> bytes:  # noqa: ARG002 - the code says it all
        """Return nothing: what a response's line holds besides are fields of the server's own."""
        return b""

    def build(
        self, line: bytes, status: int, headers: Iterable[Any], known: int, *, is_head: bool
    ) -> tuple[bytes, int, int]:
        """Return the block of a response, how its body is delimited, and its length if COUNTED.

        ``line``: fields of the server's own, as lines. ``known``: as in HTTP/1's `HeadBuilder.build`.

        Raises:
            HeaderError: A field cannot be sent as it is.
        """
        parts = [self._statuses[status], _own(line)]
        length = -1
        dated = served = False
        for header in headers:
            cached = None
            if (
                type(header) is tuple
                and len(header) == 2
                and type(header[0]) is self._kind is type(header[1])
            ):
                cached = self._known.get(header)
            if cached is not None:
                if cached[1] is None:
                    length = _one_length(cached[2], length)
                else:
                    parts.append(cached[1])
                continue
            name, value = self.encode(header)
            name = name.lower()
            value = value.strip(b" \t")
            if name not in _SPECIAL:
                parts.append(self._remember(header, name, value))
            elif name == b"content-length":
                length = _one_length(self._remember_length(header, value), length)
            elif name not in OF_CONNECTIONS:
                dated = dated or name == b"date"
                served = served or name == b"server"
                parts.append(encode_field(name, value))
        if not dated and not served:
            now = monotonic()
            parts.append(self._date if now < self._date_until else self._new_date(now))
        elif not dated:
            parts.append(encode_field(b"date", http_date(time()).encode()))
        framing = NO_BODY
        if status in BODILESS:
            if status == 304 and length >= 0:
                parts.append(self._length(length))
        elif length >= 0 or known > 0 or (known == 0 and not is_head):
            framing = COUNTED
            length = known if length < 0 else length
            parts.append(self._length(length))
        elif not is_head:
            framing = MARKED
        return b"".join(parts), NO_BODY if is_head else framing, length

    def usual(
        self, line: bytes, status: int, headers: Any, size: int, length: int, now: float
    ) -> bytes | None:
        """Return the block of a whole response of ``size`` bytes; None where `build` must look closer.

        As HTTP/1's `HeadBuilder.usual`.
        """
        known_fields, kind = self._known, self._kind
        parts = [self._statuses[status]]
        if line:
            parts.append(_own(line))
        try:
            for header in headers:
                seen, cached, known = known_fields[header]
                if seen is not header and not (
                    type(header) is tuple and type(header[0]) is kind is type(header[1])
                ):
                    return None
                if cached is None:
                    length = known
                else:
                    parts.append(cached)
        except Exception:  # noqa: BLE001 - not known, no key, or what a subclass's own methods raise
            return None
        if length != size or status in BODILESS:
            return None
        parts.append(self._date if now < self._date_until else self._new_date(now))
        parts.append(self._lengths.get(size) or self._length(size))
        return b"".join(parts)

    def interim(self, status: int, headers: Iterable[Any] = ()) -> bytes:
        """Return the block of a 1xx; empty for a 103 that would say nothing.

        Raises:
            HeaderError: A field cannot be sent as it is.
        """
        fields = [(name.lower(), value.strip(b" \t")) for name, value in map(self.encode, headers)]
        parts = [encode_field(name, value) for name, value in fields if name not in _INTERIM]
        if status == 103 and not parts:
            return b""
        return self._statuses[status] + b"".join(parts)

    @staticmethod
    def trailers(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return the block behind a body."""
        lowered = [(name.lower(), value.strip(b" \t")) for name, value in fields]
        return b"".join([encode_field(name, value) for name, value in lowered if name not in _TRAILERS_NOT])

    def error(self, status: int, *, is_head: bool) -> tuple[bytes, bytes]:
        """Return block and body of a short response of our own."""
        body = f"{status} {reason(status)}\n".encode()
        fields: Any = [(b"content-type", b"text/plain; charset=utf-8")]
        if status == 503 and self._retry_after_s:
            fields.append((b"retry-after", b"%d" % self._retry_after_s))
        parts = [self._statuses[status], *[encode_field(name, value) for name, value in fields]]
        now = monotonic()
        parts += [self._date if now < self._date_until else self._new_date(now), self._length(len(body))]
        return b"".join(parts), b"" if is_head else body

    def _length(self, size: int) -> bytes:
        """Return the field that says ``size``."""
        known = self._lengths.get(size)
        if known is None:
            if len(self._lengths) >= REMEMBERED_MAX:
                self._lengths = {}
            digits = b"%d" % size
            known = self._lengths[size] = _LENGTH_NAME + bytes((len(digits),)) + digits
        return known

    def _is_plain(self, header: Any) -> bool:
        """Tell whether ``header`` is nothing but its text: another type says itself what it equals."""
        return type(header) is tuple and type(header[0]) is self._kind and type(header[1]) is self._kind

    def _remember(self, header: Any, name: bytes, value: bytes) -> bytes:
        if len(name) + len(value) > _CACHED_FIELD_BYTES_MAX or not self._is_plain(header):
            return encode_field(name, value)
        if len(self._known) >= REMEMBERED_MAX:
            self._known = {}
        encoded = encode_field(name, value, packed=True)
        self._known[header] = header, encoded, -1
        return encoded

    def _remember_length(self, header: Any, value: bytes) -> int:
        if not value.isdigit():
            raise HeaderError(f"not a Content-Length: {value!r}")
        length = int(value)
        if self._is_plain(header):
            if len(self._known) >= REMEMBERED_MAX:
                self._known = {}
            self._known[header] = header, None, length
        return length

    def _new_date(self, now: float) -> bytes:
        """Make Date and Server for the present second of the wall clock; ``now`` is monotonic."""
        second = time()
        date = encode_field(b"date", http_date(second).encode(), packed=True)
        self._date = date + encode_field(b"server", b"gwctl", packed=True)
        self._date_until = now + 1.0 - second % 1.0
        return self._date


def _own(line: bytes) -> bytes:
    """Encode the server's own fields, which come as lines of HTTP/1."""
    if not line:
        return b""
    fields = [each.partition(b": ") for each in line.split(b"\r\n") if each]
    return b"".join([encode_field(name.lower(), value) for name, _, value in fields])


def _one_length(length: int, before: int) -> int:
    if before not in {-1, length}:
        raise HeaderError(f"two Content-Length fields that differ: {before} and {length}")
    return length
