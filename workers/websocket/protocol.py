"""One WebSocket connection: from the transport to the application's messages, and its end.

Frames are read by `websocket.frames`, in steps. What comes is read

- when the handshake has been answered: until then it is kept, so that a ping or a close in the
  packet of the handshake is answered behind the 101;
- as far as the application keeps up: no more than ``queue_bytes_max`` waits for it;
- as far as there is room in the worker's budget (`websocket.memory`);
- for no more than `TURN_WORK` in one turn of the loop, and all WebSockets together for no more than
  `surroundings.ALL_WORK`, so that neither a flood of tiny frames nor a thousand clients whose messages
  unpack to much make others wait.

Else reading stops. While the client does not read, only the latest ping is answered (RFC 6455
section 5.5.3).

Every end has a close frame, or an HTTP response: 1012 on drain, 1011 when the application raised,
1000 when it returned, 1002, 1007, 1009 for what the client did wrong, 1013 where memory is short.
Behind our last byte comes the end of our side (shutdown), and what still comes is read and dropped
until the client has closed too: a socket that is closed with input unread is reset, which can cost
the client the close frame. `websocket.keepalive` bounds how long that takes.

The application gets websocket.disconnect once as news, and again whenever it asks. What it sends
is in `websocket.send`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from typing import Any, Final

from gwctl.workers.app import fork_hooks
from gwctl.workers.http1.hangup import hang_up_descriptor
from gwctl.workers.observe.disconnects import is_disconnect
from gwctl.workers.observe.tracebacks import fault, summary, tell_once
from gwctl.workers.websocket.answers import Answer
from gwctl.workers.websocket.deflate import Inflater
from gwctl.workers.websocket.frames import (
    CLOSE,
    NO_STATUS,
    NORMAL,
    NOTHING,
    PING,
    PONG,
    PROGRESS,
    TEXT,
    Broken,
    FrameReader,
    close_frame,
    frame,
)
from gwctl.workers.websocket.handshake import Opening
from gwctl.workers.websocket.keepalive import Watch
from gwctl.workers.websocket.send import DENYING, ENDED, OPEN, OPENING, Sending
from gwctl.workers.websocket.surroundings import Answered, Surroundings

TURN_WORK: Final = 131_072
"""Work (`FrameReader.work`) done for one connection in one turn of the loop: some 250 frames."""
MESSAGE_BYTES: Final = 256
"""What a waiting message counts beside its content."""
EARLY_BYTES_MAX: Final = 65536
"""Reading pauses when so much has come before the handshake was answered."""
RUN_BYTES_MAX: Final = 32768
"""An application that never has to wait for a message does so after this much: others get their turn."""
ABORT_BYTES: Final = 65536
"""With so much unsent, a close frame would come too late to free it: such a connection is aborted."""
OPENING_GRACE_S: Final = 1.0
"""How long a handshake may stay unanswered once the worker wants to be rid of it."""
QUIT_GRACE_S: Final = 0.5
"""How long clients may take what they are told at a quick stop."""

# Why nothing is read.
_READING: Final = 0
_BEHIND: Final = 1  # the application is
_NO_ROOM: Final = 2  # in the budget
_TURN_OVER: Final = 3
_EARLY: Final = 4  # before the handshake was answered

_ABNORMAL: Final = 1006
_INTERNAL_ERROR: Final = 1011
_RESTART: Final = 1012
_TRY_AGAIN: Final = 1013


class WebSocket(Sending, asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_answered",
        "_closing",
        "_end_message",
        "_pongs",
        "_queue",
        "_queue_max",
        "_queued",
        "_read_paused",
        "_reader",
        "_run",
        "_spent",
        "_stopped",
        "_task",
        "_timer",
        "_turn",
        "_waiters",
        "size",
    )

    def __init__(
        self,
        around: Surroundings,
        opening: Opening,
        scope: dict[str, Any],
        transport: asyncio.Transport,
        answer: Answer,
        answered: Answered,
    ) -> None:
        super().__init__(around, opening, scope, transport, answer)
        self._answered = answered
        agreement = opening.agreement
        self._reader = FrameReader(
            around.settings.websocket.message_bytes_max,
            Inflater(agreement) if agreement is not None else None,
        )
        self._closing = False  # our close frame is sent, the client's is awaited
        self._stopped = _READING
        self._read_paused = False
        self._turn = -1
        self._spent = 0  # of the turn's work
        self._queue: deque[tuple[dict[str, Any], int]] = deque()
        self._queued = 0
        self._queue_max = around.settings.websocket.queue_bytes_max
        self._run = 0  # bytes received since the application had to wait
        self._waiters: list[asyncio.Future[None]] = []
        self._end_message: dict[str, Any] | None = None
        self._pongs: list[bytes] = []
        self.size = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch = Watch(
            around.loop, around.settings, transport, self._send_ping, self._vanished, self._stuck
        )

    # ---- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: ARG002 - it is known already
        around = self._around
        around.connections.add(self)
        around.holders.add(self)
        self._queue.append(({"type": "websocket.connect"}, 0))
        coroutine = self._call_application()
        try:
            task = around.loop.create_task(coroutine)
            task.add_done_callback(self._task_done)
        except BaseException as error:  # noqa: BLE001 - the application's task factory may raise anything
            coroutine.close()
            around.loop.call_soon(self._not_begun, error)
            return
        self._task = task
        around.tasks.add(task)

    def data_received(self, data: bytes) -> None:
        self._watch.heard = True
        stage = self._stage
        if stage == OPEN and self._stopped == _READING and self._read_whole(data):
            return
        if stage == DENYING or (stage == ENDED and not self._closing):
            return
        self._reader.feed(data)
        if stage == OPENING:
            self._count()
            if self._reader.held > EARLY_BYTES_MAX:
                self._stop(_EARLY)
        elif self._stopped == _READING:
            self._read()
        else:
            self._count()

    def eof_received(self) -> bool:
        """The client closed its side: without a close frame, or after ours."""
        self._tell_end(_ABNORMAL)
        self._close_transport()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._gone = True
        self._stage = ENDED
        self._closing = False
        if (sock := self.transport.get_extra_info("socket")) is not None:
            hang_up_descriptor(sock.fileno())
        self._watch.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._tell_end(_ABNORMAL)
        self._reader.forget()
        self._pongs.clear()
        self._count()
        around = self._around
        around.memory.wait_no_more(self)
        around.connections.discard(self)
        around.carried.discard(self)
        if self._task is None:
            around.holders.discard(self)
        self._has_room()  # nobody resumes a lost transport; whoever waits to send must learn of it
        self._tell_answer(0, 0)
        around.changed()

    def pause_writing(self) -> None:
        if self._full is None:
            self._full = asyncio.Event()
        self._watch.stalled()

    def _has_room(self) -> None:
        full, self._full = self._full, None
        if full is not None:
            full.set()

    def resume_writing(self) -> None:
        self._has_room()
        self._watch.flowing()
        if self._stage == OPEN:
            self._write_pongs()
        self._pongs.clear()

    # ---- reading

    def _read_whole(self, data: bytes) -> bool:
        """Pass on what is one whole message at once; return False if it is not.

        One read of the socket has only one such message, so that no other has to wait for a flood of them.
        """
        try:
            kind = self._reader.whole(data)
        except Broken as fault:
            self._fail(fault)
            return True
        if kind == NOTHING:
            return False
        size = self._deliver(kind)
        self.size += size
        memory = self._around.memory
        memory.total += size
        if memory.total + memory.output > memory.ease and memory.must_wait(self):
            self._stop(_NO_ROOM)
        elif self._queued > self._queue_max:
            self._stop(_BEHIND)
        return True

    def _read(self) -> None:
        """Read what has come, up to whatever says stop."""
        around, reader = self._around, self._reader
        turn = around.turn
        number = turn.current()
        if number != self._turn:
            self._turn, self._spent = number, 0
        end = reader.work if turn.used_up else reader.work + TURN_WORK - self._spent
        before = reader.work
        stop = _READING
        try:
            while self._stage == OPEN or self._closing:
                if reader.work >= end:
                    stop = _TURN_OVER
                    turn.wait(self._next_turn)
                    break
                if self._queued > self._queue_max and not self._closing:
                    stop = _BEHIND
                    break
                kind = reader.step()
                if kind == NOTHING:
                    break
                if not self._take(kind):
                    stop = _NO_ROOM
                    break
        except Broken as fault:
            self._fail(fault)
        self._spent += reader.work - before
        turn.work += reader.work - before
        if self._pongs:
            self._write_pongs()
        self._count()
        self._stop(stop)

    def _take(self, kind: int) -> bool:
        """Act on what a step has given; return False if there is no room for more."""
        if kind in {PING, PONG}:  # of a pong, that something came is all that counts
            if kind == PING and self._stage == OPEN:
                self._pongs.append(self._reader.value)
            return True
        if kind == CLOSE:
            self._client_closes(*self._reader.value)
            return True
        if kind != PROGRESS:
            self._deliver(kind)
        memory = self._around.memory
        self._count()
        if memory.total + memory.output > memory.ease:
            return not memory.must_wait(self)
        return True

    def _deliver(self, kind: int) -> int:
        """Give the application what was read; return what it counts as long as it waits."""
        reader = self._reader
        value = reader.value
        reader.value = None
        size = MESSAGE_BYTES + sys.getsizeof(value)
        self._queued += size
        self._queue.append(({"type": "websocket.receive", "text" if kind == TEXT else "bytes": value}, size))
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        return size

    def _next_turn(self) -> None:
        if self._stopped == _TURN_OVER:
            self._read()

    def _count(self) -> None:
        """Have the budget know what is held here."""
        size = self._reader.held + self._queued
        if size != self.size:
            memory = self._around.memory
            memory.total += size - self.size
            grown, self.size = size > self.size, size
            if not grown:
                memory.shrank()

    def _stop(self, why: int) -> None:
        """Read from the socket, or don't."""
        if self._stage == ENDED and not self._closing:
            why = _READING  # to drop it
        self._stopped = why
        paused = why != _READING
        if paused == self._read_paused or self._gone or self.transport.is_closing():
            return
        self._read_paused = self._watch.reading_paused = paused
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _write_pongs(self) -> None:
        """Answer pings; while the client does not read only the last is owed."""
        pongs = self._pongs
        if self._full is not None:
            del pongs[:-1]
        elif pongs:
            self._write(b"".join([frame(PONG, payload) for payload in pongs]))
            pongs.clear()

    # ---- told by the budget

    def unsent(self) -> int:
        return 0 if self._gone else self.transport.get_write_buffer_size()

    def go_on(self) -> None:
        if self._stopped == _NO_ROOM:
            self._read()

    def give_way(self, reason: str) -> None:
        self._queue.clear()
        self._queued = 0
        self._reader.forget()
        self._tell_end(_TRY_AGAIN, reason)
        if self._gone:
            return
        if self._stage == OPENING:
            self._refuse(503)
        elif self._stage == OPEN and self.unsent() <= ABORT_BYTES:
            self._finish(close_frame(_TRY_AGAIN, reason))
        else:
            self._abort()

    def name(self) -> str:
        return self._what

    # ---- ends

    def _client_closes(self, code: int, reason: str) -> None:
        if self._closing:
            if self._reader.pending:  # it goes on all the same
                self._finish(b"")
            else:
                self._close_transport()  # it has read ours
            return
        self._write_pongs()
        self._tell_end(code, reason)
        self._finish(close_frame(None if code == NO_STATUS else code, reason))

    def _fail(self, fault: Broken) -> None:
        """Say what the client did wrong; nothing that follows can be understood."""
        if self._closing:
            self._finish(b"")
            return
        self._write_pongs()
        self._tell_end(fault.code, fault.why)
        self._finish(close_frame(fault.code, fault.why))

    def go_away(self) -> None:
        """Say 1012, now or right after the handshake; a handshake that is not answered soon is refused."""
        if self._stage != OPENING:
            self._say_close(_RESTART)
        elif not self._leave:
            self._leave = True
            self._timer = self._around.loop.call_later(OPENING_GRACE_S, self._no_answer)

    def stay(self) -> None:
        """Do not leave after all."""
        self._leave = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _no_answer(self) -> None:
        if self._stage == OPENING:
            self._refuse(503)

    def shutdown(self) -> None:
        """End now; clients have a moment to take what they are told."""
        if self._stage == OPEN:
            self._say_close(_RESTART)
        elif self._stage == OPENING:
            self._refuse(503)
        elif self._stage == DENYING:
            self._abort()
        if not self._gone:
            self._around.loop.call_later(QUIT_GRACE_S, self._abort)

    def _say_close(self, code: int | None, reason: str = "") -> None:
        """Send our close frame, and wait a moment for the client's."""
        if self._stage != OPEN:
            return
        self._tell_end(NO_STATUS if code is None else code, reason)
        self._stage = ENDED
        self._closing = True
        self._pongs.clear()
        if self._gone:
            return
        self._write(close_frame(code, reason))
        self._reader.skip()
        self._watch.ending()
        self._read()

    def _refuse(self, status: int) -> None:
        """Answer the handshake ourselves."""
        self._tell_end(_ABNORMAL)
        if not (self._gone or self.transport.is_closing()):
            self._tell_answer(status, self._answer.refuse(status))
        self._tell_answer(status, 0)  # if nothing was said
        self._finish(b"")

    def _finish(self, data: bytes) -> None:
        """Send ``data`` as our last bytes; what comes is dropped until the client closes."""
        self._stage = ENDED
        self._closing = False
        self._pongs.clear()
        self._reader.forget()
        self._count()
        if self._gone or self.transport.is_closing():
            return
        if data:
            self._write(data)
        with contextlib.suppress(OSError):  # asyncio's does it at once; the client may be gone
            self.transport.write_eof()
        self._stop(_READING)
        self._watch.ending()

    def _close_transport(self) -> None:
        """Nothing more comes either."""
        self._stage = ENDED
        self._closing = False
        self._reader.forget()
        if not self._gone:
            self._watch.ending()
            self.transport.close()

    def _abort(self) -> None:
        self._stage = ENDED
        self._closing = False
        if not self._gone:
            self._gone = True
            self._reader.forget()
            self._count()
            self.transport.abort()

    def _send_ping(self) -> None:
        self._write(frame(PING, os.urandom(4)))

    def _vanished(self) -> None:
        """The client has not answered a ping: nobody will read a close frame, but it costs nothing."""
        timeout_s = self._around.settings.websocket.ping_timeout_s
        self._around.log.debug(f"{self._what}: nothing came within {timeout_s:g} s of a ping; closed")
        self._tell_end(_ABNORMAL, "ping timeout")
        self._write(close_frame(_INTERNAL_ERROR, "ping timeout"))
        self._close_transport()

    def _stuck(self) -> None:
        timeout_s = self._around.settings.timeouts.response_timeout_s
        self._around.throttled.warning(
            "slow reader", f"{self._what}: the client took no byte for {timeout_s:g} s; connection aborted"
        )

    def _tell_end(self, code: int, reason: str = "") -> None:
        if self._end_message is None:
            self._end_message = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self._wake()

    def _tell_answer(self, status: int, size: int) -> None:
        answered, self._answered = self._answered, _nobody
        answered(status, size)

    # ---- the application

    async def receive(self) -> Any:
        if self._run > RUN_BYTES_MAX:
            self._run = 0
            await asyncio.sleep(0)  # to an application that keeps up nothing else is a wait
        queue, waiters = self._queue, self._waiters
        while not queue:
            if self._end_message is not None:
                return self._end_message
            self._run = 0
            waiter = self._around.loop.create_future()
            waiters.append(waiter)
            try:
                await waiter
            finally:
                waiters.remove(waiter)
        message, size = queue.popleft()
        self._queued -= size
        self._run += size
        if self._stopped == _BEHIND and self._queued <= self._queue_max:
            self._read()
        else:
            self._count()
        return message

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _call_application(self) -> None:
        """Call the application, and end what it did not end."""
        error: BaseException | None = None
        try:
            await self._around.call(self.scope, self.receive, self.send)
        except BaseException as raised:  # noqa: BLE001 - also SystemExit: a handler that exits must not end the worker
            error = raised
        over = self._end_message is not None
        quiet = over and is_disconnect(error) if error else over
        stage = self._stage
        if error is not None and not quiet:
            tell_once(error)
            self._complain(f"the application raised: {summary(error)}", error)
        elif stage == OPENING and not over:
            self._complain("the application returned without accepting or refusing the handshake")
        elif stage == DENYING and not over:
            self._complain("the application returned in mid-response; connection aborted")
        if stage == OPENING:
            self._refuse(500)
        elif stage == DENYING:
            self._abort()
        elif stage == OPEN:
            self._say_close(NORMAL if error is None else _INTERNAL_ERROR)

    def _not_begun(self, error: BaseException) -> None:
        """Say that there is no task for this connection."""
        fork_hooks.end_if_child(error)
        self._complain(f"the application's task factory raised: {summary(error)}", error)
        self._task = None
        if self._gone:
            self._around.holders.discard(self)
        elif self._stage == OPENING:
            self._refuse(500)

    def _complain(self, what: str, error: BaseException | None = None) -> None:
        behind = fault(error) if error is not None else None
        self._around.log.error(f"{self._what}: {what}", fault=behind)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._queue.clear()
        self._queued = 0
        self._count()
        around = self._around
        around.tasks.discard(task)
        if self._gone:
            around.holders.discard(self)
        around.changed()


def _nobody(status: int, size: int) -> None:
    """Take the second answer to a handshake, which does not exist."""
