"""A response as HTTP/2 has it on its way: a header block, DATA, trailers; on a stream, in its turns.

`LoopResponse` gives all of it to the stream and never waits: ``write_paused`` says so. `CallResponse` is a
WSGI call's, which waits for room (`gwctl.workers.exchange.client_wait`):

    threads   what a call writes is *handed over* (`Handed`): the loop, which alone writes to connections,
              takes it in its next turn, that of all threads at once
    sync      the call is in the loop's thread: it writes itself, past the transport, of which nothing waits
              while a call is made. While it waits, it reads what comes on its connection
"""

from __future__ import annotations

import os
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.workers.exchange.client_wait import POLL_S, ClientWait
from gwctl.workers.exchange.response import COUNTED, MARKED, NO_BODY, Fields, Response
from gwctl.workers.http2.output import BODY, HEAD, INTERIM, LAST_BODY, LAST_HEAD
from gwctl.workers.observe.errors import ClientGone

if TYPE_CHECKING:
    from collections.abc import Callable

    from gwctl.workers.context import WorkerContext
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.http2.carrier import Carried
    from gwctl.workers.http2.response_head import BlockBuilder

HELD_BYTES_MAX: Final = 65536
"""So much of a call's response may wait for its client; beyond it the call waits."""
_FILE_BLOCK_BYTES: Final = 65536

Item = tuple[int, Any]


class Handed:
    """What calls in other threads have written and the loop has not taken. One per worker.

    `put` is any thread's, `work` the loop's.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._loop = context.loop
        self._context = context.neutral_context
        self._items: deque[tuple[Carried, tuple[Item, ...]]] = deque()
        self._asked = False

    def put(self, stream: Carried, items: tuple[Item, ...]) -> None:
        self._items.append((stream, items))
        if not self._asked:  # looked at after they are there: the loop clears it before it looks
            self._asked = True
            self._loop.call_soon_threadsafe(self._work_asked, context=self._context)

    def _work_asked(self) -> None:
        self._asked = False
        self.work()

    def work(self) -> None:
        """Give to the streams what was written for them."""
        items = self._items
        while items:
            stream, what = items.popleft()
            if stream.lost or stream.seized:
                continue
            output = stream.connection.out
            if len(what) == 2 and what[0][0] == HEAD and what[1][0] == LAST_BODY and not stream.waiting:
                output.send_whole(stream, what[0][1], what[1][1])
            else:
                output.add(stream, *what)


class StreamResponse(Response):
    """Base of both: what an application gives becomes items of `gwctl.workers.http2.output`."""

    __slots__ = ("_block", "_blocks", "_ended", "_exchange", "_fields")

    def __init__(self, blocks: BlockBuilder, exchange: Exchange) -> None:
        super().__init__(blocks)
        self._blocks = blocks
        self._exchange = exchange
        self._block = b""  # made and not written
        self._ended = False
        self._fields: list[tuple[bytes, bytes]] = []

    def put(self, *items: Item) -> None:
        """Send ``items`` behind what was sent before; those of a body are counted."""
        raise NotImplementedError

    def _put_whole(self, block: bytes, body: bytes) -> None:
        self.put((HEAD, block), (LAST_BODY, body))

    def whole(self, line: bytes, status: int, headers: Fields, body: bytes, length: int, now: float) -> bool:
        exchange = self._exchange
        if exchange.is_head or exchange.expecting:
            return False
        block = self._blocks.usual(line, status, headers, len(body), length, now)
        if block is None:
            return False
        self.keep_alive = True
        self._ended = True
        self._put_whole(block, body)
        return True

    def begin(self, line: bytes, status: int, headers: Fields, known: int) -> None:
        exchange = self._exchange
        exchange.expecting = False
        self._block, self.framing, self.left = self._blocks.build(
            line, status, headers, known, is_head=exchange.is_head
        )
        self.keep_alive = True

    def _with_head(self, data: bytes | memoryview) -> list[Item]:
        items: list[Item] = []
        if self._block:
            items.append((HEAD, self._block))
            self._block = b""
        if len(data) and self.framing != NO_BODY:
            items.append((BODY, data if type(data) is bytes else bytes(data)))
        return items

    def block(self, data: bytes | memoryview) -> None:
        items = self._with_head(data)
        if self.framing == NO_BODY and items and not self._ended:
            self._ended = True
            items = [(LAST_HEAD, items[0][1])]
        if items:
            self.put(*items)

    def large_block(self, size: int) -> None:  # noqa: ARG002 - frames are as large as they can be
        items = self._with_head(b"")
        if items:
            self.put(*items)

    def end(self, data: bytes = b"", *, trailers: bool = False) -> None:
        block, self._block = self._block, b""
        if self._ended:
            return
        if trailers:
            self._block = block
            items = self._with_head(data)
            if items:
                self.put(*items)
            return
        self._ended = True
        if self.framing == NO_BODY:
            data = b""
        if not block:
            self.put((LAST_BODY, data))
        elif data:
            self._put_whole(block, data)
        else:
            self.put((LAST_HEAD, block))

    def trailers(self, fields: list[tuple[bytes, bytes]], *, last: bool) -> None:
        self._fields += fields
        if last and not self._ended:
            self._ended = True
            block = self._blocks.trailers(self._fields)
            self.put((LAST_HEAD, block) if block and self.framing == MARKED else (LAST_BODY, b""))

    def hints(self, headers: Fields, *, too_late: bool = False) -> None:
        block = self._blocks.interim(103, headers)
        if block and not too_late:
            self.put((INTERIM, block))

    def ask_for_body(self) -> None:
        self.put((INTERIM, self._blocks.interim(100)))

    def error(self, status: int) -> int:
        block, body = self._blocks.error(status, is_head=self._exchange.is_head)
        self._block = b""
        self._ended = True
        self.keep_alive = False
        self.put((HEAD, block), (LAST_BODY, body))
        return len(block) + len(body)


class DistantResponse(StreamResponse):
    """Made in another thread than the one that has the stream: pieces are the items of one `put`."""

    __slots__ = ("_put",)

    def __init__(self, blocks: BlockBuilder, far: Exchange, put: Callable[[Any, int], None]) -> None:
        super().__init__(blocks, far)
        self._put = put

    def put(self, *items: Item) -> None:
        self._put(items, sum([len(data) for _, data in items]))


class LoopResponse(StreamResponse):
    """The stream takes all of it."""

    __slots__ = ("stream",)

    def __init__(self, stream: Carried) -> None:
        super().__init__(stream.connection.service.http2.blocks, stream)
        self.stream = stream

    def put(self, *items: Item) -> None:
        stream = self.stream
        for kind, data in items:
            if kind >= BODY:
                stream.put_bytes += len(data)
        stream.connection.out.add(stream, *items)
        stream.check_room()

    def _put_whole(self, block: bytes, body: bytes) -> None:
        stream = self.stream
        stream.put_bytes += len(body)
        if stream.waiting:
            stream.connection.out.add(stream, (HEAD, block), (LAST_BODY, body))
        else:
            stream.connection.out.send_whole(stream, block, body)


class CallResponse(StreamResponse):
    """A call's: see the module."""

    __slots__ = ("_begun", "_changed", "_gone", "_in_loop", "_wants_room", "client_wait", "stream")

    def __init__(self, stream: Carried, *, in_loop: bool) -> None:
        super().__init__(stream.connection.service.http2.blocks, stream)
        self.stream = stream
        self._in_loop = in_loop
        self._changed = None if in_loop else threading.Event()
        self._wants_room = False
        self._begun = False
        self._gone = False
        self.client_wait: ClientWait | None = None

    @property
    def client_gone(self) -> bool:
        stream = self.stream
        return self._gone or stream.lost or stream.seized

    def put(self, *items: Item) -> None:
        stream = self.stream
        if self._in_loop and self._begun and not stream.connection.poll(0.0):
            self._gone = True  # nobody else would see that before the end
        self._begun = True
        self._check()
        for kind, data in items:
            if kind >= BODY:
                stream.put_bytes += len(data)
        if self._in_loop:
            stream.connection.out.add(stream, *items)
            self._push()
        else:
            stream.connection.service.http2.handed.put(stream, items)
        while stream.put_bytes - stream.sent_bytes > HELD_BYTES_MAX:
            self._wait()
            self._check()

    def distant(self, far: Any, put: Callable[[Any, int], None]) -> DistantResponse:
        return DistantResponse(self._blocks, far, put)

    def begins(self, pieces: list[Any]) -> bool:
        return any(kind != INTERIM for piece in pieces for kind, _ in piece)

    def pass_on(self, pieces: list[Any]) -> None:
        self.put(*[item for piece in pieces for item in piece])

    def _put_whole(self, block: bytes, body: bytes) -> None:
        stream = self.stream
        if not self._in_loop or stream.waiting:
            self.put((HEAD, block), (LAST_BODY, body))
            return
        self._check()
        stream.put_bytes += len(body)
        stream.connection.out.send_whole(stream, block, body)
        self._push()

    def _push(self) -> None:
        """Have what was written leave, unless calls are so fast that their responses go together."""
        if self.outbox is None or not self._ended:
            self.stream.connection.push()

    def _check(self) -> None:
        if self.client_gone:
            raise ClientGone("the client does not take the response")

    def on_room(self) -> None:
        """Some of what was written is sent, or will not be; the loop's thread."""
        if self._wants_room and self._changed is not None:
            self._changed.set()

    def _wait(self) -> None:
        """Wait until the client may have taken something, or until it is time to look at who else waits."""
        stream = self.stream
        wait = self.waiting()
        wait.begin(stream.put_bytes - stream.sent_bytes)
        try:
            if self._changed is None:
                self._gone = not stream.connection.poll(POLL_S) or stream.is_stuck or self._gone
            else:
                self._changed.clear()
                self._wants_room = True  # then looked at again: the loop counts first, and then looks at this
                if stream.put_bytes - stream.sent_bytes > HELD_BYTES_MAX and not self.client_gone:
                    self._changed.wait(POLL_S)
                self._wants_room = False
        finally:
            wait.end(stream.put_bytes - stream.sent_bytes)
        why = wait.judge()
        if why:
            context = stream.connection.service.context
            context.throttled.warning("slow reader", f"{stream.what()}: {why}; {stream.aborted_as}")
            self._gone = True

    # ---- of calls

    def waiting(self) -> ClientWait:
        if self.client_wait is None:
            self.client_wait = ClientWait(self.stream.connection.service, self.stream)
        return self.client_wait

    def waited_s(self, now: float) -> float:
        wait = self.client_wait
        return 0.0 if wait is None else wait.waited(now)

    def file(self, fd: int, position: int, count: int) -> int:
        while count and (block := os.pread(fd, min(count, _FILE_BLOCK_BYTES), position)):
            self.block(block)
            position += len(block)
            count -= len(block)
        return count

    def finish(self, *, keep_alive: bool) -> None:
        stream = self.stream
        if not self._in_loop:
            stream.connection.service.http2.handed.work()
        if not self._ended and self.framing == COUNTED:
            self._ended = True  # the application raised when its response had all of its bytes
            stream.connection.out.add(stream, (LAST_BODY, b""))
        self.client_wait = None
        stream.responded(keep_alive, monotonic())

    def cut(self, *, shows: bool) -> None:
        self.client_wait = None
        if not self.stream.cut(b"", shows):
            self.stream.responded(False, monotonic())

    def drop(self) -> None:
        pass
