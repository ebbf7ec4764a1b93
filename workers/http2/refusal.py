"""A client of HTTP/2 that finds no room: it is told so, and that nothing it may have asked was seen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gwctl.workers.http2.wire import NO_ERROR, goaway_frame, settings_frame

if TYPE_CHECKING:
    from gwctl.workers.http1.protocol import Connection

_ANSWER: Final = settings_frame([]) + goaway_frame(0, NO_ERROR, "no room for connections")


class Refusal(asyncio.Protocol):
    """Stands before a connection that does not serve: that one lingers and ends as over HTTP/1."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = self._connection
        connection.transport = transport
        connection.transport.write(_ANSWER)
        connection.linger()

    def data_received(self, data: bytes) -> None:
        self._connection.data_received(data)  # which drops it

    def eof_received(self) -> bool:
        connection = self._connection
        connection.eof = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.write_paused = True

    def resume_writing(self) -> None:
        self._connection.write_paused = False
