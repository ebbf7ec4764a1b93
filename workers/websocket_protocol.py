"""One WebSocket connection: uvicorn's sans-IO protocol, made to keep what this server promises.

uvicorn brings the sans-IO connection of the websockets library, its events, and the scope.
What is replaced here differs between the supported versions of uvicorn or bounds nothing:

- Input is fed in slices, and held back while what the application has not received exceeds
  ``queue_bytes_max``. A message grows in one buffer: a million one-byte fragments cost a
  megabyte. While the client does not read, only the latest ping is answered (RFC 6455
  section 5.5.3).
- Every end has a close frame and then the client's answer, or an HTTP response: 1012 on drain,
  1011 when the application raised, 1000 when it returned, 1002, 1007, 1009 for what the
  client did wrong. After ours, input is dropped until the client closes, so that what was on
  its way does not turn the close into a reset. `websocket_watch` bounds how long that takes.
- The application gets websocket.disconnect once as news, and again whenever it asks.

What the application sends is in `websocket_send`.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from gwctl.masking import shower
from gwctl.workers.disconnects import is_disconnect
from gwctl.workers.hangup import hang_up_descriptor
from gwctl.workers.tracebacks import application_traceback, summary
from gwctl.workers.websocket import Answered, Surroundings
from gwctl.workers.websocket_send import DENYING, ENDED, OPEN, OPENING, Sending
from gwctl.workers.websocket_watch import Watch

SLICE_BYTES: Final = 16384
"""Fed to the library at once: it parses all that it is given, which can be thousands of messages."""
PACKED_SLICE_BYTES: Final = 4096
"""The same where messages may be compressed: a slice can unpack to a thousand times its size."""
MESSAGE_BYTES: Final = 256
"""What a waiting message counts beside its content."""

_NORMAL: Final = 1000
_ABNORMAL: Final = 1006
_INVALID_DATA: Final = 1007
_INTERNAL_ERROR: Final = 1011
_RESTART: Final = 1012


class WebSocket(Sending, WebSocketsSansIOProtocol):
    """See the module."""

    def __init__(self, around: Surroundings, facts: dict[str, Any], answered: Answered) -> None:
        super().__init__(around.config, around.shared, around.state, around.loop)
        self._around = around
        self._facts = facts
        self._answered = answered
        self._stage = OPENING
        self._gone = False  # nothing sent reaches the client any more
        self._leave = False  # close as soon as the handshake is complete
        self._end_message: dict[str, Any] | None = None
        self._text = False
        self._message: bytearray | None = None
        self._queued = 0
        self._queue_max = around.settings.websocket.queue_bytes_max
        self._held = b""
        self._unheld = False
        self._late_pong = b""
        self._watch: Watch = None  # type: ignore[assignment] # with the transport

    # ---- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.connections.add(self)
        self.scheme = "ws"  # as the addresses, replaced by what the engine knows
        around = self._around
        self._watch = Watch(
            around.loop, around.settings, transport, self._send_ping, self._vanished, self._stuck
        )

    def data_received(self, data: bytes) -> None:
        self._watch.heard = True
        if self._stage == ENDED:
            self._await_answer(data)
        elif self._held:
            self._held += data
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Have the library parse ``data``, as far as the application keeps up."""
        conn = self.conn
        size = PACKED_SLICE_BYTES if conn.extensions else SLICE_BYTES
        at = 0
        while at < len(data) and self._stage != ENDED:
            if self._queued > self._queue_max:
                self._held = data[at:]
                break
            conn.receive_data(data[at : at + size])
            at += size
            self.handle_events()
            if conn.parser_exc is not None:
                self.handle_parser_exception()
            elif not self.handshake_initiated and conn.handshake_exc is not None:
                self._refuse(400)  # a head that the library does not take
        if self._held or self.read_paused:
            self._adjust_reading()

    def _adjust_reading(self) -> None:
        full = bool(self._held) and self._stage != ENDED
        if full == self.read_paused or self._gone:
            return
        self.read_paused = self._watch.deaf = full
        if full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def eof_received(self) -> bool:  # type: ignore[override] # as asyncio's, which uvicorn's narrows
        """The client closed its side without a close frame, or after ours."""
        self._tell_end(_ABNORMAL)
        self._close_transport()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._gone = self.disconnected = True
        if (sock := self.transport.get_extra_info("socket")) is not None:
            hang_up_descriptor(sock.fileno())
        self._watch.stop()
        self._tell_end(_ABNORMAL)
        self._held = b""
        self.connections.discard(self)
        self.writable.set()  # nobody resumes a lost transport; whoever waits to send must learn of it
        self._tell_answer(0, 0)
        self._stage = ENDED
        self._let_go()
        self._around.changed()

    def _let_go(self) -> None:
        """Free what this connection holds now, and not when the garbage collector gets round to it.

        The library's parser is a cycle with its connection, and the tracebacks of what ended it, and
        of what that was raised from, hold the frame that was too big, with all that was unpacked of it.
        """
        conn = self.conn
        self._message = None
        error: BaseException | None = conn.parser_exc
        while error is not None:
            error.__traceback__ = None
            error = error.__cause__ or error.__context__
        conn.parser.close()
        conn.extensions.clear()

    def pause_writing(self) -> None:
        self.writable.clear()
        self._watch.stalled()

    def resume_writing(self) -> None:
        self.writable.set()
        self._watch.flowing()
        if self._late_pong and self._stage != ENDED:
            self.transport.write(self._late_pong)
        self._late_pong = b""

    # ---- events of the library

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code != 101:  # extensions that nobody can parse
            self._stage = ENDED
            self._watch.ending()
            self._tell_answer(self.response.status_code, len(self.response.body or b""))
            return
        self.scope.update(self._facts)  # type: ignore[typeddict-item]

    def handle_text(self, event: Any) -> None:
        self._text = True
        self._begin(event)

    def handle_bytes(self, event: Any) -> None:
        self._text = False
        self._begin(event)

    def _begin(self, event: Any) -> None:
        if event.fin:
            self._receive(event.data)
        else:
            self._message = bytearray(event.data)

    def handle_cont(self, event: Any) -> None:
        assert self._message is not None
        self._message += event.data
        if event.fin:
            whole, self._message = self._message, None
            self._receive(whole)

    def _receive(self, data: Any) -> None:
        if self._stage == ENDED:
            return
        message: Any
        if self._text:
            try:
                data = str(data, "utf-8")
            except UnicodeDecodeError:
                self._say_close(_INVALID_DATA, "invalid UTF-8")
                return
            message = {"type": "websocket.receive", "text": data}
        else:
            message = {"type": "websocket.receive", "bytes": bytes(data)}
        self._queued += MESSAGE_BYTES + len(data)
        self.queue.put_nowait(message)

    def handle_ping(self) -> None:
        pongs = self.conn.data_to_send()
        if not pongs:
            return
        if self.writable.is_set():
            self.transport.write(b"".join(pongs))
        else:
            self._late_pong = pongs[-1]

    def handle_pong(self, event: Any) -> None:
        """Nothing: that something came is all that counts."""

    def handle_close(self, event: Any) -> None:  # noqa: ARG002 - the library keeps it
        received = self.conn.close_rcvd
        assert received is not None
        self._tell_end(received.code, received.reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._close_transport()

    def handle_parser_exception(self) -> None:
        """The client broke the protocol: the library has made the close frame that says how."""
        sent = self.conn.close_sent
        self._tell_end(sent.code if sent is not None else _ABNORMAL, sent.reason if sent is not None else "")
        self._finish(b"".join(self.conn.data_to_send()))

    def start_keepalive(self) -> None:
        """Not uvicorn's: not in all versions, and it takes a busy application for a dead client."""

    def stop_keepalive(self) -> None:
        """Not uvicorn's."""

    # ---- ends

    def go_away(self) -> None:
        """Say 1012, now or right after the handshake."""
        if self._stage == OPENING:
            self._leave = True
        else:
            self._say_close(_RESTART)

    def shutdown(self) -> None:
        """End now; what fits is still sent."""
        if self._stage == OPEN:
            self._say_close(_RESTART)
        elif self._stage == OPENING:
            self._refuse(503)
        self._close_transport()

    def _say_close(self, code: int, reason: str = "") -> None:
        """Send our close frame, and wait a moment for the client's."""
        if self._stage != OPEN or self.conn.state is not State.OPEN:
            return
        self.conn.send_close(code, reason)
        self._tell_end(code, reason)
        self._stage = ENDED
        self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._drop_input()
        self._watch.ending()

    def _await_answer(self, data: bytes) -> None:
        """Read away what still comes until the client has closed too, in slices: each may unpack to much."""
        conn = self.conn
        size = PACKED_SLICE_BYTES if conn.extensions else SLICE_BYTES
        for at in range(0, len(data), size):
            if conn.state is not State.CLOSING:
                return
            conn.receive_data(data[at : at + size])
            conn.events_received()
            if conn.close_rcvd is not None or conn.parser_exc is not None:
                self._close_transport()
                return

    def _refuse(self, status: int) -> None:
        """Answer the handshake ourselves."""
        data = self._around.heads.error(status)
        self._tell_end(_ABNORMAL)
        self._tell_answer(status, len(data))
        self._finish(data)

    def _finish(self, data: bytes) -> None:
        """Send ``data`` as our last bytes; the client closes."""
        self._stage = ENDED
        self.close_sent = True
        if self._gone:
            return
        if data:
            self.transport.write(data)
        self.transport.write_eof()
        self._drop_input()
        self._watch.ending()

    def _close_transport(self) -> None:
        """Nothing more comes either."""
        self._stage = ENDED
        if not self._gone:
            self._watch.ending()
            self.transport.close()

    def _abort(self) -> None:
        self._stage = ENDED
        if not self._gone:
            self.transport.abort()

    def _drop_input(self) -> None:
        self._held = b""
        self._message = None
        self._adjust_reading()

    def _send_ping(self) -> None:
        self.conn.send_ping(os.urandom(4))
        self.transport.write(b"".join(self.conn.data_to_send()))

    def _vanished(self) -> None:
        """The client has not answered a ping: nobody will read a close frame, but it costs nothing."""
        timeout_s = self._around.settings.websocket.ping_timeout_s
        self._around.log.debug(f"{self._what()}: nothing came within {timeout_s:g} s of a ping; closed")
        self._tell_end(_ABNORMAL, "ping timeout")
        self.conn.fail(_INTERNAL_ERROR, "ping timeout")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._close_transport()

    def _stuck(self) -> None:
        timeout_s = self._around.settings.timeouts.response_timeout_s
        self._around.log.warning(
            f"{self._what()}: the client took no byte for {timeout_s:g} s; connection aborted"
        )

    def _tell_end(self, code: int, reason: str = "") -> None:
        if self._end_message is None:
            self._end_message = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self.queue.put_nowait(self._end_message)  # type: ignore[arg-type]

    def _tell_answer(self, status: int, size: int) -> None:
        answered, self._answered = self._answered, _nobody
        answered(status, size)

    # ---- the application

    async def receive(self) -> Any:
        if self.queue.empty() and self._end_message is not None:
            return self._end_message
        if self._unheld:
            self._unheld = False
            await asyncio.sleep(0)  # others' turn: to an application that keeps up nothing else is a wait
        message: Any = await self.queue.get()
        if message["type"] == "websocket.receive":
            self._queued -= MESSAGE_BYTES + len(message["text"] if "text" in message else message["bytes"])
            if self._held and self._queued <= self._queue_max:
                held, self._held, self._unheld = self._held, b"", True
                self._feed(held)
        return message

    async def run_asgi(self) -> None:
        """Call the application, and end what it did not end."""
        error: BaseException | None = None
        try:
            await self.app(self.scope, self.receive, self.send)
        except BaseException as raised:  # noqa: BLE001 - also SystemExit: a handler that exits must not end the worker
            error = raised
        over = self._end_message is not None
        quiet = over and (is_disconnect(error) or isinstance(error, ClientDisconnected)) if error else over
        stage = self._stage
        if error is not None and not quiet:
            what = f"{summary(error)}\n{application_traceback(error)}"
            self._complain(f"the application raised: {what}")
        elif stage == OPENING and not over:
            self._complain("the application returned without accepting or refusing the handshake")
        elif stage == DENYING and not over:
            self._complain("the application returned in mid-response; connection aborted")
        if stage == OPENING:
            self._refuse(500)
        elif stage == DENYING:
            self._abort()
        elif stage == OPEN:
            self._say_close(_NORMAL if error is None else _INTERNAL_ERROR)

    def _complain(self, what: str) -> None:
        self._around.log.error(f"{self._what()}: {what}")

    def _what(self) -> str:
        query = self._facts["query_string"].decode("latin-1")
        target = self._facts["path"] + (f"?{query}" if query else "")
        return f"WebSocket {shower(log_queries=self._around.settings.log_queries)(target)}"

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._around.changed()


def _nobody(status: int, size: int) -> None:
    """Take the second answer to a handshake, which does not exist."""
