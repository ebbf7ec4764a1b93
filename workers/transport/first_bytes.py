"""Which HTTP a client speaks without TLS: by its first bytes (RFC 9113 section 3.3).

The preface of HTTP/2 is no request of HTTP/1: the first byte that differs tells them apart. There is no
Upgrade; a client knows beforehand what is spoken.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gwctl.workers.http2.wire import PREFACE

if TYPE_CHECKING:
    from gwctl.workers.http1.protocol import Connection
    from gwctl.workers.http2.shared import Http2


class FirstBytes(asyncio.Protocol):
    """Reads up to where it is clear, and gives way.

    Until then the connection is FRESH and bound by ``header_timeout_s`` like any other.
    """

    def __init__(self, connection: Connection, http2: Http2, *, http1: bool) -> None:
        """``http1``: it is spoken, too; else all are taken for clients of HTTP/2."""
        self._connection = connection
        self._http2 = http2
        self._http1 = http1
        self._data = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._connection.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._data += data
        start = self._data[: len(PREFACE)]
        if not self._http1 or start == PREFACE:
            self._give_way(self._http2.take_over(self._connection))
        elif start != PREFACE[: len(start)]:
            self._give_way(self._connection)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def _give_way(self, to: asyncio.Protocol) -> None:
        self._transport.set_protocol(to)
        to.connection_made(self._transport)
        if not self._transport.is_closing():
            to.data_received(self._data)
