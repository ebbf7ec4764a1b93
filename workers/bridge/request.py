"""An ASGI request in the hands of a WSGI runner: `gwctl.workers.asgi.request.AsgiRequest`, at a distance.

The request is a task of the application's event loop (`gwctl.workers.bridge.event_loop`), which turns in
a thread of its own; the connection belongs to the thread that makes the call
(`gwctl.workers.bridge.call`). What `AsgiRequest` takes for its connection is a
`BridgedConnection`: it has the same methods, and passes on what is said.

    response    goes into a `Pipe`, at most `PIPE_BYTES_MAX` ahead of the client: then send() waits.
                The call takes it from there, and rings in return when there is room
    body        is poured from the `Source` into the request as it is received
    the end     of the response ends the call; the task may go on (background work)
    the client  that leaves is told by the call: `detach`, `finish_reading`

All of it runs in the application's loop, but for `Pipe.take` and `Pipe.close`, and what says so.
"""

from __future__ import annotations

import asyncio
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from gwctl.config.model.settings import Limits
from gwctl.workers.asgi.extensions import TIMEOUT
from gwctl.workers.asgi.request import RECEIVE_BYTES_MAX, AsgiRequest
from gwctl.workers.exchange.body_budget import BodyBudget
from gwctl.workers.exchange.exchange import NO_RESPONSE
from gwctl.workers.http1.connection import ConnectionBase

if TYPE_CHECKING:
    from collections.abc import Callable

    from gwctl.workers.balancing.queue_limit import QueueLimit
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.service import Service

PIPE_BYTES_MAX = 65536
_UNBOUNDED = BodyBudget(Limits(bodies_memory_bytes_max=0))


class Bell(Protocol):
    """Wakes the thread that makes the call."""

    def ring(self) -> None: ...


class Source(Protocol):
    """Where the body comes from."""

    def pour(self, request: AsgiRequest) -> None:
        """Feed what there is and ``request`` has room for, and its end."""

    def close(self) -> None:
        """Nobody wants the rest."""


class Pipe:
    """What takes the place of a transport: pieces of a response, from the application's loop to the call.

    Attributes:
        size: How much is in it.
        closed: Nobody takes any more.
    """

    def __init__(self, connection: BridgedConnection, bell: Bell) -> None:
        self._connection: BridgedConnection | None = connection
        self._bell = bell
        self._lock = threading.Lock()
        self._pieces: list[Any] = []
        self.size = 0
        self.closed = False

    def put(self, piece: Any, size: int) -> None:
        """Pass on ``piece``, as `Response.distant` has it."""
        with self._lock:
            if self.closed:
                return
            self._pieces.append(piece)
            self.size += size
            full = self.size > PIPE_BYTES_MAX
        if full and self._connection is not None:
            self._connection.write_paused = True
        self._bell.ring()  # last: the call then looks at all of it

    def held_bytes(self) -> int:
        return self.size

    def let_go(self) -> None:
        """Nothing more is written: whoever refers to whom, all are to be freed at once."""
        self._connection = None

    # ---- the call's thread

    def take(self) -> list[Any]:
        """Return what was put here and not taken yet."""
        if not self._pieces:
            return []  # not that list: the other thread may put something into it at any moment
        with self._lock:
            pieces, self._pieces = self._pieces, []
            self.size = 0
        return pieces

    def close(self) -> list[Any]:
        """Take the rest; what is put here from now on is dropped."""
        with self._lock:
            self.closed = True
            pieces, self._pieces = self._pieces, []
            self.size = 0
        return pieces


class BridgedConnection(ConnectionBase):
    """The far end of an exchange for one request. The attributes are those of its own end at its start.

    Attributes:
        over: The response has ended: all of it is in the pipe. Set last.
        goes_on: The connection is kept.
        is_cut: It ended before it was complete.
    """

    __slots__ = ("_bell", "_own", "_pouring", "_source", "goes_on", "is_cut", "over", "pipe")

    def __init__(self, service: Any, own: Exchange, bell: Bell, source: Source | None) -> None:
        # Not that of the base class: no socket, parser or body of its own.
        self._own = own
        self._bell = bell
        self._source = source
        self._pouring = False
        self.service = service
        self.method = own.method
        self.target = own.target
        self.http11 = own.http11
        self.is_head = own.is_head
        self.keep_alive = own.keep_alive
        self.expecting = own.expecting
        self.eof = own.eof
        self.lost = False
        self.read_paused = True  # so that it is asked for more whenever some was received
        self.write_paused = False
        self.over = self.goes_on = self.is_cut = False
        self.pipe = Pipe(self, bell)
        self.held_bytes = self.pipe.held_bytes
        self.response = own.response.distant(self, self.pipe.put)

    # ---- what the request asks of its connection

    def responded(self, keep_alive: bool, now: float) -> None:  # noqa: ARG002 - the call says when
        self.goes_on = keep_alive
        self._end()

    def cut(self, rest: bytes, delimited: bool) -> bool:  # noqa: ARG002 - the call knows
        self.is_cut = True
        self._end()
        return False

    def abort(self) -> None:
        self.is_cut = True
        self._end()

    def _end(self) -> None:
        self.over = True
        self._bell.ring()

    def takes_no_more(self) -> bool:
        return self.pipe.closed

    @property
    def receiving(self) -> bool:
        return self._own.receiving

    def send_continue(self) -> None:
        if self.expecting:
            self.expecting = self._own.expecting = False
            self._own.since = monotonic()
            self.response.ask_for_body()

    def adjust_reading(self) -> None:
        if not self._pouring:
            self._pouring = True
            asyncio.get_running_loop().call_soon(self._pour)  # not in the midst of receive()

    def _pour(self) -> None:
        self._pouring = False
        if self._source is not None and self.request is not None:
            self._source.pour(self.request)

    # ---- what the call tells

    def resume(self) -> None:
        """There is room in the pipe again."""
        if self.write_paused and self.pipe.size <= PIPE_BYTES_MAX:
            self.write_paused = False
            if self.request is not None:
                self.request.wake()

    def finish_reading(self) -> None:
        """The client sends no more."""
        self.eof = True
        if self.request is not None:
            self.request.wake()

    def close_source(self) -> None:
        """Nobody wants the rest of the body."""
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def let_go(self) -> None:
        """The task is over."""
        if not self.over:
            self.abort()
        self.close_source()
        self.pipe.let_go()
        self.response = NO_RESPONSE
        if self.request is not None:
            self.request.let_go()
        self.request = None


class BridgedRequest(AsgiRequest):
    """See the module. What it counts and logs is the call's to count and log."""

    __slots__ = ("_extend", "far", "thread")

    def __init__(
        self,
        service: Service,
        far: BridgedConnection,
        scope: dict[str, Any],
        has_body: bool,
        extend: Callable[[float], None] | None,
    ) -> None:
        super().__init__(service, far, scope, has_body)
        self.far = far
        far.request = self
        self.thread = threading.get_ident()  # which makes the call
        self._extend = extend

    @property
    def _budget(self) -> BodyBudget:
        """None: what is poured in here was counted where it waited before, and this is another thread."""
        return _UNBOUNDED

    def _drop(self, connection: Any, queue: QueueLimit) -> bool:  # noqa: ARG002 - as in AsgiRequest
        """Who makes the call has seen to that before."""
        return False

    def let_go(self) -> None:
        """The task is over: nothing here refers to the call any more."""
        self._extend = None

    def leave(self) -> None:
        """Nobody waits for the response: the connection has been answered, or is gone."""
        self.finished = True
        self.detach()

    def cancel(self) -> None:
        """The same, and the application is to stop."""
        self.leave()
        if self.task is not None:
            self.task.cancel()

    def _finish(self, now: float = 0.0) -> None:
        self.finished = True
        self.wake()
        self.far.responded(self._response.keep_alive, now)

    def _count_cut(self) -> None:
        self.finished = True

    async def _extension(self, message: Any) -> None:
        if message["type"] == TIMEOUT and self._extend is not None:
            if not self.finished:
                self._extend(message["seconds"])
            return
        await super()._extension(message)


class FileSource:
    """A body that has been received: ``file`` gives it from its beginning to its end."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def pour(self, request: AsgiRequest) -> None:
        while self._file is not None and request.waiting_bytes <= RECEIVE_BYTES_MAX:
            block = self._file.read(RECEIVE_BYTES_MAX)
            if block:
                request.feed(block)
            else:
                self.close()
                request.body_end()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
