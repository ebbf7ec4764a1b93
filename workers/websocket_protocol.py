"""uvicorn's WebSocketsSansIOProtocol with what `websocket` promises beyond it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn import Config
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from gwctl.workers.websocket import CLOSE_WAIT_S

_RESTART = 1012
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class WebSocket(WebSocketsSansIOProtocol):
    """One connection. ``changed`` is called when it is lost and when its application returned."""

    def __init__(
        self,
        config: Config,
        shared: ServerState,
        state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(config, shared, state, loop)
        self._changed = changed
        self._going_away = False
        self._lost = False

    def go_away(self) -> None:
        """Say 1012 and wait a moment for the client's answer before closing."""
        if self.transport.is_closing() or self._going_away:
            return
        if self.close_sent or not self.handshake_complete:
            self.shutdown()
            return
        self._going_away = True
        self._stop_pings()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": _RESTART})
        self.conn.send_close(_RESTART)
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        # Under this name uvicorn finds it too: it then leaves the closing to the handshake.
        self.close_timer = self.loop.call_later(CLOSE_WAIT_S, self.transport.close)

    def _stop_pings(self) -> None:
        stop = getattr(self, "stop_keepalive", None)  # uvicorn 0.42 has no pings of its own
        if stop is not None:
            stop()

    def data_received(self, data: bytes) -> None:
        if not self._going_away:
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                # A head that the library does not take (too many headers): uvicorn would answer nothing.
                self.transport.write(_BAD_REQUEST)
                self.transport.close()
            return
        # The application was told of the end: what still comes is read away until the answer.
        self.conn.receive_data(data)
        self.conn.events_received()
        if self.conn.close_rcvd is not None or self.conn.parser_exc is not None:
            self.transport.close()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    async def send(self, message: ASGISendEvent) -> None:
        if self._lost:  # uvicorn 0.42 would let an application that only sends go round for ever
            raise ClientDisconnected
        await super().send(message)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._going_away and self.close_timer is not None:
            self.close_timer.cancel()
        super().connection_lost(exc)
        self._lost = True
        self.writable.set()  # nobody resumes a lost transport; whoever waits to send must learn of it
        self._changed()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._changed()
