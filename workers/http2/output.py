"""What leaves on one connection: frames of control at once, those of streams in turns, together in one write.

Each stream has what it is yet to send (`Sender.waiting`): heads, blocks of a body, its end. `Output` takes
from there as much as both windows and the transport have room for. No more than `WRITE_BYTES` is ahead of the
transport, which holds as much at most: what is urgent never has more than that before it.

All of it runs in the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gwctl.workers.http2.guard import UPDATES_FOR_DATA, Guard
from gwctl.workers.http2.turns import TURN_BYTES, Turns
from gwctl.workers.http2.wire import (
    DATA,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_BYTES_MAX,
    WINDOW_DEFAULT,
    WINDOW_MAX,
    Broken,
    frame_head,
    header_frames,
)

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from gwctl.workers.http2.sender import Sender

# What a stream is yet to send.
INTERIM: Final = 0
HEAD: Final = 1
LAST_HEAD: Final = 2
BODY: Final = 3
LAST_BODY: Final = 4

WRITE_BYTES: Final = 65536
WRITES_MAX: Final = 4
"""In one turn of the loop: then it is others' turn."""
TABLE_UPDATE: Final = b"\x20"
"""RFC 7541 section 6.3: a dynamic table of 0 bytes, which is within what any client allows."""
CONTROL_BYTES_MAX: Final = 65536
"""A client that has us answer and does not read is left when so much waits for it."""


class Output:
    """Of one connection.

    Attributes:
        window: How much of bodies the client takes at present, on all streams together.
        stream_window: How much it takes on a new one.
        paused: The transport is full.
        held: Bytes of frames that are made and not written.
    """

    __slots__ = (
        "_before_block",
        "_context",
        "_due",
        "_guard",
        "_loop",
        "_parts",
        "_write",
        "held",
        "paused",
        "stream_window",
        "turns",
        "window",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context, guard: Guard) -> None:
        self._loop = loop
        self._context = context
        self._guard = guard
        self._parts: list[Any] = []
        self._write: Callable[[bytes], Any] | None = None
        self._due = False
        self._before_block = b""
        self.held = 0
        self.turns = Turns()
        self.window = WINDOW_DEFAULT
        self.stream_window = WINDOW_DEFAULT
        self.paused = False

    def open(self, write: Callable[[bytes], Any]) -> None:
        """Write to the transport from now on."""
        self._write = write

    def close(self) -> None:
        """Write nothing any more."""
        self._write = None
        self._parts.clear()
        self.held = 0

    # ---- frames

    def put(self, frames: bytes) -> None:
        """Send frames that no window bounds.

        Raises:
            Broken: Too much waits already: the client has us answer, and does not read.
        """
        if self._write is None:
            return
        self._parts.append(frames)
        self.held += len(frames)
        if self.paused and self.held > CONTROL_BYTES_MAX + WRITE_BYTES:
            raise Broken(ENHANCE_YOUR_CALM, "the client does not read the answers that it asks for")
        if self.held > WRITE_BYTES:
            self.flush()
        self.soon()

    def soon(self) -> None:
        """Write at the end of this turn of the loop."""
        if not self._due:
            self._due = True
            self._loop.call_soon(self._flush_due, context=self._context)

    def _flush_due(self) -> None:
        self._due = False
        self.flush()

    def send_whole(self, stream: Sender, block: bytes, body: bytes) -> None:
        """Send a whole response of one block, at once if there is room; its first bytes."""
        size = len(body)
        if (
            self.paused
            or self.turns.count
            or size > stream.window
            or size > self.window
            or size > FRAME_BYTES_MAX
            or len(block) > FRAME_BYTES_MAX
            or self._write is None
            or self.held > WRITE_BYTES
        ):
            self.add(stream, (HEAD, block), (LAST_BODY, body))
            return
        parts, stream_id = self._parts, stream.stream_id
        if self._before_block:
            block = self._with_update(block)
        if size:
            stream.window -= size
            self.window -= size
            self._guard.updates += UPDATES_FOR_DATA
            parts.append(header_frames(stream_id, block, 0, FRAME_BYTES_MAX))
            parts.append(frame_head(DATA, END_STREAM, stream_id, size))
            parts.append(body)
        else:
            parts.append(header_frames(stream_id, block, END_STREAM, FRAME_BYTES_MAX))
        self.held += len(block) + size + 18
        stream.sent_bytes += size
        stream.sent_end = True
        if not self._due:
            self._due = True
            self._loop.call_soon(self._flush_due, context=self._context)

    def add(self, stream: Sender, *items: tuple[int, Any]) -> None:
        """Send ``items`` on ``stream``, behind what it is yet to send."""
        if self._write is None or stream.sent_end:
            return
        stream.waiting.extend(items)
        if stream.window > 0 or stream.waiting[0][0] < BODY or not stream.waiting[0][1]:
            self.turns.add(stream)
            self.soon()

    def hasten(self, stream: Sender) -> None:
        """Make frames of what goes now of ``stream``: it is about to be cut, and behind these."""
        if not self.paused and stream.waiting and self.held < WRITE_BYTES:
            self._serve(stream)

    def forget(self, stream: Sender) -> None:
        """Nothing more is sent on ``stream``, what waits included."""
        stream.waiting.clear()
        self.turns.remove(stream)

    def leave_table(self) -> None:
        """The client's dynamic table is to be smaller: say in the next block that we use none of it."""
        self._before_block = TABLE_UPDATE

    def _with_update(self, block: bytes) -> bytes:
        before, self._before_block = self._before_block, b""
        return before + block

    # ---- windows

    def enlarge(self, size: int) -> None:
        """The client takes ``size`` bytes more, on all streams together.

        Raises:
            Broken: That is more than a window can be.
        """
        self.window += size
        if self.window > WINDOW_MAX:
            raise Broken(FLOW_CONTROL_ERROR, "a window of more than 2^31-1")
        if self.turns.count:
            self.soon()

    # ---- writing

    def flush(self) -> None:
        """Write what goes now."""
        for _ in range(WRITES_MAX):
            if not self.paused and self.turns.count:
                self._take_turns()
            if not self._parts or self.paused or self._write is None:
                return
            self._write(self.take())
            if not self.turns.count or self.window <= 0:
                return
        self.soon()

    def take(self) -> bytes:
        """Return what was made, to be written by whoever asks."""
        data = b"".join(self._parts)
        self._parts.clear()
        self.held = 0
        return data

    def take_turns(self) -> bytes:
        """Make what goes now, and return it: of a call that writes for itself."""
        if self.turns.count:
            self._take_turns()
        return self.take()

    def _take_turns(self) -> None:
        """Make frames of what streams are yet to send, in their turns.

        Where the connection's window is at its end, who has had some of it comes behind who has had nothing:
        else one would have all that a client gives in pieces smaller than a turn.
        """
        turns = self.turns
        blocked: list[Sender] = []
        behind: list[Sender] = []
        while turns.count and self.held < WRITE_BYTES:
            stream: Sender = turns.take()
            before = stream.sent_bytes
            self._serve(stream)
            if stream.waiting:
                kind, data = stream.waiting[0]
                if kind >= BODY and data and self.window <= 0:
                    (blocked if stream.sent_bytes == before else behind).append(stream)
                elif kind < BODY or not data or stream.window > 0:
                    turns.add(stream)
        for stream in (*blocked, *behind):
            turns.add(stream)

    def _serve(self, stream: Sender) -> None:
        """Make frames of one stream, as many as belong to a turn."""
        parts, waiting, stream_id = self._parts, stream.waiting, stream.stream_id
        left = FRAME_BYTES_MAX if stream.incremental else TURN_BYTES
        while waiting and left > 0:
            kind, data = waiting[0]
            if kind < BODY:
                if self._before_block:
                    data = self._with_update(data)
                frames = header_frames(
                    stream_id, data, END_STREAM if kind == LAST_HEAD else 0, FRAME_BYTES_MAX
                )
                parts.append(frames)
                self.held += len(frames)
                stream.sent_end = kind == LAST_HEAD
                waiting.popleft()
                continue
            size = len(data)
            part = min(size, FRAME_BYTES_MAX, stream.window, self.window) if size else 0
            if size and part <= 0:
                break
            whole = part == size
            ends = whole and kind == LAST_BODY
            if whole:
                waiting.popleft()
            else:
                view = memoryview(data)
                data, rest = view[:part], view[part:]
                waiting[0] = (kind, rest)
            if part or ends:
                parts.append(frame_head(DATA, END_STREAM if ends else 0, stream_id, part))
                if part:
                    parts.append(data)
            self.held += part + 9
            left -= part
            stream.window -= part
            self.window -= part
            self._guard.updates += UPDATES_FOR_DATA
            stream.sent_bytes += part
            stream.sent_end = ends
        stream.sent()
