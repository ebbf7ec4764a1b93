"""permessage-deflate (RFC 7692): what is agreed on, and unpacking in bounded pieces.

Windows have 12 bits, as few as still compress JSON well: with 15, each connection would cost up
to 300 KB. zlib's memory is taken when the first message needs it.
"""

from __future__ import annotations

import re
import zlib
from typing import Any, Final, NamedTuple

UNPACK_BYTES: Final = 65536
"""Most that one step of unpacking gives."""
_BITS: Final = 12
_MEMORY_LEVEL: Final = 5
_CLIENT_BITS: Final = 15
"""The window of a client that does not offer to bound it."""
_BITS_VALUES: Final = {b"%d" % bits: bits for bits in range(8, 16)}
_LEAST_BITS: Final = 9
"""zlib cannot pack with less."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_NAME: Final = re.compile(rb"(" + _TOKEN + rb")[ \t]*")
_PARAMETER: Final = re.compile(
    rb";[ \t]*(" + _TOKEN + rb")[ \t]*(?:=[ \t]*(?:(" + _TOKEN + rb')|"(' + _TOKEN + rb')")[ \t]*)?'
)
FLUSH: Final = b"\x00\x00\xff\xff"
"""What is taken off the end of a packed message (RFC 7692 section 7.2.1)."""

_Parameters = list[tuple[bytes, bytes | None]]


class UnpackError(Exception):
    """What the client sent as compressed is not."""


class MalformedError(ValueError):
    """The field does not match its grammar."""


class Agreement(NamedTuple):
    """What both sides do. ``answer`` is the value of the field that says so."""

    answer: str
    server_bits: int
    server_takeover: bool
    client_bits: int
    client_takeover: bool


def agree(offers: list[bytes]) -> Agreement | None:
    """Take the first offer of compression that can be kept, of the values of Sec-WebSocket-Extensions.

    Raises:
        MalformedError: They are no list of extensions.
    """
    for name, parameters in [item for value in offers for item in _parse(value)]:
        agreement = _accept(parameters) if name == b"permessage-deflate" else None
        if agreement is not None:
            return agreement
    return None


def _parse(value: bytes) -> list[tuple[bytes, _Parameters]]:
    """Return each extension with its parameters (RFC 6455 section 9.1)."""
    found: list[tuple[bytes, _Parameters]] = []
    at = 0
    while at < len(value):
        if value[at] in b" \t,":
            at += 1
            continue
        name = _NAME.match(value, at)
        if name is None:
            raise MalformedError
        at = name.end()
        parameters: _Parameters = []
        while (one := _PARAMETER.match(value, at)) is not None:
            parameters.append((one[1], one[2] or one[3]))
            at = one.end()
        if at < len(value) and value[at] != 44:
            raise MalformedError
        found.append((name[1], parameters))
    return found


def _accept(parameters: _Parameters) -> Agreement | None:
    """Answer one offer (RFC 7692 section 7.1), or decline it."""
    if len({name for name, _ in parameters}) != len(parameters):
        return None
    server_bits, client_bits = _BITS, _CLIENT_BITS
    server_takeover = client_takeover = True
    for name, value in parameters:
        bits = _BITS_VALUES.get(value or b"")
        if name == b"server_no_context_takeover" and value is None:
            server_takeover = False
        elif name == b"client_no_context_takeover" and value is None:
            client_takeover = False
        elif name == b"server_max_window_bits" and bits is not None:
            server_bits = min(bits, _BITS)
        elif name == b"client_max_window_bits" and (value is None or bits is not None):
            client_bits = min(bits or _BITS, _BITS)
        else:
            return None
    if server_bits < _LEAST_BITS:
        return None
    answer = ["permessage-deflate"]
    answer += [] if server_takeover else ["server_no_context_takeover"]
    answer += [] if client_takeover else ["client_no_context_takeover"]
    answer.append(f"server_max_window_bits={server_bits}")
    answer += [] if client_bits == _CLIENT_BITS else [f"client_max_window_bits={client_bits}"]
    return Agreement("; ".join(answer), server_bits, server_takeover, client_bits, client_takeover)


class Inflater:
    """Unpacks the client's messages."""

    __slots__ = ("_bits", "_takeover", "_zlib")

    def __init__(self, agreement: Agreement) -> None:
        self._bits = -max(agreement.client_bits, _LEAST_BITS)
        self._takeover = agreement.client_takeover
        self._zlib: Any = None

    def begin(self) -> None:
        """Another message begins."""
        if self._zlib is None or not self._takeover:
            self._zlib = zlib.decompressobj(self._bits)

    def step(self, packed: bytes) -> tuple[bytes, bytes, bool]:
        """Unpack some of ``packed``.

        Returns:
            What came out, at most `UNPACK_BYTES`; the packed rest; and whether there is more to
            come of it, which may be so without a rest.

        Raises:
            UnpackError: It is not what the agreement says.
        """
        decoder = self._zlib
        try:
            out = decoder.decompress(packed, UNPACK_BYTES)
        except zlib.error:
            raise UnpackError from None
        if decoder.eof:  # a block said to be the last: another stream may follow (RFC 7692 section 7.2.3.4)
            rest = decoder.unused_data
            self._zlib = zlib.decompressobj(self._bits)
            return out, rest, bool(rest)
        rest = decoder.unconsumed_tail
        return out, rest, bool(rest) or len(out) == UNPACK_BYTES


class Deflater:
    """Packs what the application sends."""

    __slots__ = ("_bits", "_takeover", "_zlib")

    def __init__(self, agreement: Agreement) -> None:
        self._bits = -agreement.server_bits
        self._takeover = agreement.server_takeover
        self._zlib: Any = None

    def pack(self, data: bytes | bytearray) -> bytes:
        """Return the payload of a whole message."""
        self.begin()
        return self.add(data) + self.end()

    def begin(self) -> None:
        """Another message begins."""
        if self._zlib is None or not self._takeover:
            self._zlib = zlib.compressobj(wbits=self._bits, memLevel=_MEMORY_LEVEL)

    def add(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return what is known of the payload when ``data`` comes next in the message."""
        packed: bytes = self._zlib.compress(data)
        return packed

    def end(self) -> bytes:
        """Return the rest of the payload."""
        packed: bytes = self._zlib.flush(zlib.Z_SYNC_FLUSH)
        return packed[: -len(FLUSH)]

    def drop(self) -> None:
        """The message is not sent after all: nothing that follows may refer to it."""
        self._zlib = None
