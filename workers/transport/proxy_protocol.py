"""The PROXY protocol, versions 1 and 2: who the client is, told before its first byte.

Rules (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt)
    - Where it is on, every connection must begin with a header: guessing would let a client
      choose its own address. It is only taken from ``trusted_proxies``; others are closed.
    - A header that is malformed, too long or late closes the connection: nobody to answer yet.
    - LOCAL (a health check of the proxy's own) leaves the connection as it is. A client that the
      header does not name (UNKNOWN, UNSPEC, a Unix socket) is unknown: not the proxy, whose word on
      forwarded headers would otherwise be the client's.
    - What version 2 may say beyond the addresses (TLVs) must be well formed and is skipped.

`read` is pure; `ProxyPreamble` stands before whatever else the connection begins with.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gwctl.config.trusted_proxies import Trusted
    from gwctl.log.event_log import Log
    from gwctl.workers.http1.protocol import Connection

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
V1_BYTES_MAX: Final = 107
V2_BYTES_MAX: Final = 4096
TELL_S: Final = 60.0
"""Connections that were closed are told of so often."""

_V1_START: Final = b"PROXY "
_V1_ADDRESSES: Final = re.compile(r"(TCP4|TCP6) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})")
_V2_HEAD_BYTES: Final = 16
_TLV_HEAD_BYTES: Final = 3
_LOCAL, _PROXY = 0, 1
_STREAM: Final = 1
_FAMILIES: Final = {1: (socket.AF_INET, 4), 2: (socket.AF_INET6, 16)}
_UNIX: Final = 3
_UNIX_BYTES: Final = 216
_PORT_MAX: Final = 65535

Address = tuple[str, int]


class ProxyProtocolError(ValueError):
    """Not a header of the PROXY protocol; the message says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """``size`` is how long the header is. ``local``: it changes nothing; else no ``client`` means unknown."""

    size: int
    local: bool = False
    client: Address | None = None
    server: Address | None = None


def read(data: bytes) -> Header | None:
    """Read the header at the start of ``data``; None if there is more to come.

    Raises:
        ProxyProtocolError: This is none, and will not become one.
    """
    if data.startswith(SIGNATURE[: len(data)]):
        return _read_v2(data) if len(data) >= _V2_HEAD_BYTES else None
    if data.startswith(_V1_START[: len(data)]):
        return _read_v1(data)
    raise ProxyProtocolError("does not begin with a PROXY header")


# ---- version 1: a line


def _read_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, V1_BYTES_MAX)
    if end < 0:
        if len(data) >= V1_BYTES_MAX:
            raise ProxyProtocolError("PROXY line too long")
        return None
    try:
        line = data[len(_V1_START) : end].decode("ascii")
    except UnicodeDecodeError:
        raise ProxyProtocolError("PROXY line is not ASCII") from None
    size = end + 2
    if line == "UNKNOWN" or line.startswith("UNKNOWN "):
        return Header(size)
    match = _V1_ADDRESSES.fullmatch(line)
    if match is None:
        raise ProxyProtocolError("malformed PROXY line")
    version = 4 if match[1] == "TCP4" else 6
    client, server = (_v1_address(version, match[at], match[at + 2]) for at in (2, 3))
    return Header(size, client=client, server=server)


def _v1_address(version: int, text: str, port: str) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ProxyProtocolError("malformed address in the PROXY line") from None
    if address.version != version or "%" in text or int(port) > _PORT_MAX:
        raise ProxyProtocolError("malformed address in the PROXY line")
    return str(address), int(port)


# ---- version 2: binary


def _read_v2(data: bytes) -> Header | None:
    version, command = data[12] >> 4, data[12] & 15
    family, kind = data[13] >> 4, data[13] & 15
    size = _V2_HEAD_BYTES + int.from_bytes(data[14:16], "big")
    if version != 2 or command not in (_LOCAL, _PROXY):
        raise ProxyProtocolError(f"PROXY version {version}, command {command}")
    if size > V2_BYTES_MAX:
        raise ProxyProtocolError("PROXY header too long")
    if len(data) < size:
        return None
    body = data[_V2_HEAD_BYTES:size]
    if command == _LOCAL:
        return Header(size, local=True)
    if kind != _STREAM or family not in (*_FAMILIES, _UNIX):
        return Header(size)
    if family == _UNIX:
        _check_rest(body, _UNIX_BYTES)
        return Header(size)
    number, width = _FAMILIES[family]
    used = 2 * width + 4
    _check_rest(body, used)
    client = socket.inet_ntop(number, body[:width]), int.from_bytes(body[2 * width : 2 * width + 2], "big")
    server = socket.inet_ntop(number, body[width : 2 * width]), int.from_bytes(body[used - 2 : used], "big")
    return Header(size, client=client, server=server)


def _check_rest(body: bytes, used: int) -> None:
    """Check that the addresses fit, and that what follows them consists of whole TLVs."""
    if len(body) < used:
        raise ProxyProtocolError("PROXY header too short for its addresses")
    at = used
    while at < len(body):
        at += _TLV_HEAD_BYTES + int.from_bytes(body[at + 1 : at + _TLV_HEAD_BYTES], "big")
    if at != len(body):
        raise ProxyProtocolError("malformed field (TLV) in the PROXY header")


# ---- a connection


class Closed:
    """Tells of connections that were closed, at most once in `TELL_S`."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._untold = 0
        self._tell_at = 0.0

    def note(self, peer: Any, listener: str, why: str) -> None:
        self._untold += 1
        now = monotonic()
        if now < self._tell_at:
            return
        self._tell_at = now + TELL_S
        who = peer[0] if isinstance(peer, tuple) else "a peer"
        more = f" ({self._untold} connections since this was last said)" if self._untold > 1 else ""
        self._log.warning(f"{listener}: closed a connection of {who}: {why}{more}")
        self._untold = 0


class ProxyPreamble(asyncio.Protocol):
    """Reads the header, sets the connection's addresses, and gives way to ``inner``.

    Until then the connection is FRESH and bound by ``header_timeout_s`` like any other.
    """

    def __init__(
        self, connection: Connection, inner: asyncio.Protocol, trusted: Trusted, closed: Closed
    ) -> None:
        self._connection = connection
        self._inner = inner
        self._trusted = trusted
        self._closed = closed
        self._data = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._connection.transport = transport
        if not self._trusted.peer(self._connection.peer):
            self._close("proxy_protocol is on, and this address is not one of trusted_proxies")

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._data += data
        try:
            header = read(self._data)
        except ProxyProtocolError as error:
            self._close(str(error))
            return
        if header is not None:
            self._give_way(header)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def _give_way(self, header: Header) -> None:
        connection = self._connection
        if not header.local:
            connection.peer = header.client
            connection.local = header.server
        rest = self._data[header.size :]
        self._transport.set_protocol(self._inner)
        self._inner.connection_made(self._transport)
        if rest and not self._transport.is_closing():
            self._inner.data_received(rest)

    def _close(self, why: str) -> None:
        connection = self._connection
        self._closed.note(connection.peer, connection.listener.url, why)
        self._transport.close()
