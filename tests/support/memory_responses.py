"""How responses of the protocol in memory are written (`tests.support.memory_protocol`)."""

from __future__ import annotations

import os
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from gwctl.workers.exchange.client_wait import POLL_S, ClientWait
from gwctl.workers.exchange.heads import HeaderError, reason
from gwctl.workers.exchange.response import COUNTED, MARKED, NO_BODY, Response
from gwctl.workers.observe.errors import ClientGone
from tests.support.memory_wire import Continue, Data, End, Event, Head, Hints, Reset, Trailers, Wire

if TYPE_CHECKING:
    from gwctl.workers.exchange import response
    from tests.support.memory_protocol import MemoryExchange

HELD_BYTES_MAX: Final = 65536
"""So much of a call's response may wait for its client; beyond it the call waits."""
_BODILESS: Final = frozenset({204, 304})
_CONNECTIONS: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding"})
_FILE_BLOCK_BYTES: Final = 65536


class Frames:
    """What is to be sent on one stream, in order. Any thread, but for `send`: the loop's.

    Attributes:
        held: Bytes of blocks that wait.
        window: How many the client takes at present.
        closed: Nothing is sent any more; what is put here goes nowhere.
        changed: Told when one of these has changed.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._waiting: deque[Event] = deque()
        self.held = 0
        self.window = wire.window
        self.closed = False
        self.changed = threading.Condition()

    @property
    def empty(self) -> bool:
        return not self._waiting

    def held_bytes(self) -> int:
        return self.held

    def put(self, *events: Event) -> None:
        with self.changed:
            if not self.closed:
                self._waiting.extend(events)
                self.held += sum([len(event.data) for event in events if isinstance(event, Data)])

    def send(self) -> None:
        with self.changed:
            while self._waiting:
                event = self._waiting.popleft()
                if isinstance(event, Data):
                    now, later = event.data[: self.window], event.data[self.window :]
                    self.held -= len(now)
                    self.window -= len(now)
                    if now:
                        self._wire.events.append(Data(now))
                    if later:
                        self._waiting.appendleft(Data(later))
                        break
                else:
                    self._wire.events.append(event)
            self.changed.notify_all()

    def reset(self, why: str) -> None:
        """Drop what waits, and say so."""
        with self.changed:
            self.close()
            self._wire.events.append(Reset(why))

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self._waiting.clear()
            self.held = 0
            self.changed.notify_all()


def error_events(status: int, is_head: bool) -> tuple[list[Event], int]:
    """Return a short response of our own, and its size."""
    body = f"{status} {reason(status)}\n".encode()
    fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    return [Head(status, fields), *([] if is_head else [Data(body)]), End()], len(body)


class MemoryResponse(Response):
    """Base of both: what an application gives becomes events, which `put` sends."""

    __slots__ = ("_ended", "_head", "_trailers", "exchange")

    def __init__(self, exchange: MemoryExchange) -> None:
        super().__init__(exchange.connection.heads)
        self.exchange = exchange
        self._head: Head | None = None
        self._ended = False
        self._trailers: list[tuple[bytes, bytes]] = []

    def put(self, *events: Event) -> None:
        """Send ``events`` behind what was sent before."""
        raise NotImplementedError

    def whole(
        self, line: bytes, status: int, headers: response.Fields, body: bytes, length: int, now: float
    ) -> bool:
        try:
            self.begin(line, status, headers, length)
        except HeaderError:
            return False
        if self.framing != COUNTED or self.left != len(body):
            self._head = None
            return False
        self.left = 0
        self.end(body)
        return True

    def begin(self, line: bytes, status: int, headers: response.Fields, known: int) -> None:
        fields, length = self._fields(headers)
        if self.exchange.is_head or status in _BODILESS:
            self.framing = NO_BODY
        elif length >= 0 or known >= 0:
            if length < 0:
                length = known
                fields.append((b"content-length", b"%d" % known))
            self.framing = COUNTED
        else:
            self.framing = MARKED
        self.left = max(length, 0)
        self.keep_alive = True
        self.exchange.expecting = False
        self._head = Head(status, fields)

    def _fields(self, headers: response.Fields) -> tuple[list[tuple[bytes, bytes]], int]:
        """Return what is sent of ``headers``, and the length that they say, or -1."""
        fields, length = [], -1
        for header in headers:
            name, value = self.heads.encode(header)
            name = name.lower()
            if name == b"content-length":
                if not value.isdigit():
                    raise HeaderError(f"not a Content-Length: {value!r}")
                length = int(value)
            if name not in _CONNECTIONS:
                fields.append((name, value))
        return fields, length

    def _with_head(self, data: bytes | memoryview) -> list[Event]:
        events: list[Event] = [] if self._head is None else [self._head]
        self._head = None
        if data and self.framing != NO_BODY:
            events.append(Data(bytes(data)))
        return events

    def block(self, data: bytes | memoryview) -> None:
        events = self._with_head(data)
        if events:
            self.put(*events)

    def large_block(self, size: int) -> None:
        self.block(b"")

    def end(self, data: bytes = b"", *, trailers: bool = False) -> None:
        events = self._with_head(data)
        if not trailers:
            self._ended = True
            events.append(End())
        self.put(*events)

    def trailers(self, fields: list[tuple[bytes, bytes]], *, last: bool) -> None:
        self._trailers += [(name.lower(), value) for name, value in fields]
        if last:
            self._ended = True
            self.put(Trailers(self._trailers), End())

    def hints(self, headers: response.Fields, *, too_late: bool = False) -> None:
        fields = [
            (name, value)
            for name, value in self._fields(headers)[0]
            if name not in {b"content-length", b"date"}
        ]
        if fields and not too_late:
            self.put(Hints(fields))

    def ask_for_body(self) -> None:
        self.put(Continue())

    def error(self, status: int) -> int:
        events, size = error_events(status, self.exchange.is_head)
        self._head = None
        self._ended = True
        self.keep_alive = False
        self.put(*events)
        return size


class LoopResponse(MemoryResponse):
    """The exchange takes all of it; ``write_paused`` says when to wait."""

    __slots__ = ()

    def put(self, *events: Event) -> None:
        self.exchange.put(*events)


class CallResponse(MemoryResponse):
    """A call's, in the loop's thread or in another: it waits where the client does not take enough."""

    __slots__ = ("_in_loop", "_seized", "client_wait")

    def __init__(self, exchange: MemoryExchange, *, in_loop: bool) -> None:
        super().__init__(exchange)
        self._in_loop = in_loop
        self._seized = False
        self.client_wait: ClientWait | None = None

    def seize(self, seized: bool) -> None:
        """From now on what the call writes goes nowhere, or somewhere again; the loop's thread."""
        with self.exchange.frames.changed:
            self._seized = seized

    @property
    def client_gone(self) -> bool:
        return self._seized or self.exchange.frames.closed

    def put(self, *events: Event) -> None:
        frames = self.exchange.frames
        if self._in_loop and not self.exchange.look(0.0):  # else nobody would see that before the end
            frames.close()
        with frames.changed:
            self._check()
            frames.put(*events)
        if self._in_loop:
            self.exchange.flush()
        else:
            self.exchange.service.context.loop.call_soon_threadsafe(self.exchange.flush)
        while frames.held > HELD_BYTES_MAX:
            self._wait()
            self._check()

    def _check(self) -> None:
        if self.client_gone:
            raise ClientGone("the client does not take the response")

    def _wait(self) -> None:
        """Wait until the client may have taken something, or until it is time to look at who else waits."""
        frames = self.exchange.frames
        wait = self.waiting()
        wait.begin(frames.held)
        try:
            if not self._in_loop:
                with frames.changed:
                    frames.changed.wait_for(lambda: frames.held <= HELD_BYTES_MAX or self.client_gone, POLL_S)
            elif not self.exchange.look(POLL_S):
                frames.close()
        finally:
            wait.end(frames.held)
        why = wait.judge()
        if why:
            context = self.exchange.service.context
            context.throttled.warning("slow reader", f"{self.exchange.what()}: {why}; exchange cut")
            frames.close()

    # ---- of calls

    def waiting(self) -> ClientWait:
        if self.client_wait is None:
            self.client_wait = ClientWait(self.exchange.service, self.exchange)
        return self.client_wait

    def waited_s(self, now: float) -> float:
        return 0.0 if self.client_wait is None else self.client_wait.waited(now)

    def file(self, fd: int, position: int, count: int) -> int:
        while count and (block := os.pread(fd, min(count, _FILE_BLOCK_BYTES), position)):
            self.block(block)
            position += len(block)
            count -= len(block)
        return count

    def finish(self, *, keep_alive: bool) -> None:
        if not self._ended:  # the application raised when its response had all of its bytes
            self.exchange.frames.put(End())
        self.exchange.responded(keep_alive, monotonic())

    def cut(self, *, shows: bool) -> None:
        if not self.exchange.cut(b"", shows):
            self.exchange.responded(False, monotonic())

    def drop(self) -> None:
        pass
