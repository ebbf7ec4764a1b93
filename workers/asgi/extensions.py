"""ASGI extensions of the http scope: early hints, files by path, trailers.

Which ones are offered is decided per connection: `OFFERED` is copied into the scope that its
requests share, so that an offer costs a request nothing, and an application that changes it
(the specification says that middleware copies first) changes it for that client alone.

    http.response.early_hint  103 with the given Link fields, at once; from HTTP/1.1 on. Once
                              the head is written there is no place for it: ignored
    http.response.pathsend    a file as the body, by sendfile() on a plain connection, read
                              block by block on others; memory stays constant in both.
                              Offered where the ``pathsend`` setting says so: middleware that
                              works on bodies (compression, Starlette's BaseHTTPMiddleware)
                              does not know that one may come as a path
    http.response.trailers    fields behind the last chunk. Without a last chunk (HTTP/1.0,
                              HEAD, Content-Length), or when the client did not say
                              ``TE: trailers``, they are taken and not sent

And large blocks of any response: they are written in pieces, each when the client has taken the one
before, so that no more than a piece of each is here twice, in the application and on its way out.

All messages of extensions arrive in the branch of send() that a plain response never reaches.
"""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.workers.asgi.trailers import Trailers
from gwctl.workers.exchange.response import COUNTED, NO_BODY
from gwctl.workers.observe.errors import NotAsgiError

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.response import FileOutput, Response
    from gwctl.workers.exchange.service import Service

Message = dict[str, Any]

OFFERED: Final[dict[str, dict[str, Any]]] = {
    "http.response.early_hint": {},
    "http.response.trailers": {},
}
"""Not to a client of HTTP/1.0, which knows neither 1xx nor chunks."""
PATHSEND: Final = "http.response.pathsend"
TIMEOUT: Final = "gwctl.timeout"
"""The extension, and the message by which an application gives its request ``seconds`` more from now."""

FILE_BLOCK_BYTES: Final = 262_144
"""Read at once where sendfile() cannot be used; up to this a file leaves in one write with its head."""
PIECE_BYTES: Final = 262_144
"""Most that is written at once of a block: what is larger leaves as the client takes it."""
SENDFILE_BYTES_MAX: Final = 1_048_576
"""Asked of one sendfile(): other requests wait while the disk is read."""


class SlowSends:
    """What a request has once a send() had to wait for its client."""

    __slots__ = ("rest", "since", "turn", "waited_s")

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        """One block at a time, in the order in which they were sent."""
        self.rest = 0
        """Bytes of the present block that are not written yet."""
        self.since = 0.0
        self.waited_s = 0.0


class Extensions:
    """The half of `gwctl.workers.asgi.request.AsgiRequest` that plain responses do not need."""

    __slots__ = (
        "_exchange",
        "_headers",
        "_response",
        "_service",
        "_slow",
        "_trailers",
        "detached",
        "finished",
        "scope",
        "sent",
        "started",
    )

    _exchange: Exchange
    _headers: Any
    _response: Response
    _service: Service
    _slow: SlowSends | None
    _trailers: Trailers | None
    detached: bool
    finished: bool
    scope: Message
    sent: int
    started: bool

    def _begin(self, known: int) -> None:
        raise NotImplementedError

    def _block(self, body: bytes) -> None:
        raise NotImplementedError

    def _last(self, body: bytes) -> None:
        raise NotImplementedError

    def _whole(self, body: bytes) -> None:
        raise NotImplementedError

    def _finish(self, now: float = 0.0) -> None:
        raise NotImplementedError

    def _cut(self) -> None:
        raise NotImplementedError

    async def _wait(self) -> None:
        raise NotImplementedError

    async def _extension(self, message: Any) -> None:
        kind = message["type"]
        clock = self._service.runner.clock
        if kind == TIMEOUT and clock is not None:
            clock.extend(self, message["seconds"])
            return
        if kind not in OFFERED and kind != PATHSEND:
            raise NotAsgiError(f"not a message of an HTTP response: {kind!r}")
        if kind == "http.response.early_hint":
            self._hint(message)
        elif kind == "http.response.trailers":
            self._send_trailers(message)
        else:
            await self._send_path(message)

    # ---- clients that take their time

    @property
    def rest(self) -> int:
        """Bytes of a large block that wait in send()."""
        return 0 if self._slow is None else self._slow.rest

    def client_s(self, now: float) -> float:
        """Return the seconds in which send() waited for the client: they are not the application's."""
        slow = self._slow
        if slow is None:
            return 0.0
        return slow.waited_s + (now - slow.since if slow.since else 0.0)

    async def _send_slowly(self, body: bytes, *, more: bool) -> None:
        """Send ``body`` as the client takes it, behind what others' calls are sending."""
        if self._slow is None:
            self._slow = SlowSends()
        slow = self._slow
        async with slow.turn:
            if self.detached:
                return
            if self.finished:
                raise NotAsgiError("http.response.body was sent after the response was complete")
            if len(body) > PIECE_BYTES:
                await self._pieces(slow, body, more=more)
                return
            if more:
                self._block(body)
                await self._until_taken(slow)
            elif self.started:
                self._last(body)
            else:
                self._whole(body)

    async def _pieces(self, slow: SlowSends, body: bytes, *, more: bool) -> None:
        size = len(body)
        response = self._response
        begins = not self.started
        if begins:
            self._begin(-1 if more else size)
        if self._trailers is not None:
            self._trailers.check_body_open()
        if response.framing == COUNTED:
            if size > response.left:
                raise NotAsgiError("the body is longer than Content-Length says")
            if begins and not more and size < response.left:
                raise NotAsgiError(f"the body has {size} bytes, but Content-Length says {response.left}")
            response.left -= size
        self.started = True
        slow.rest = 0 if response.framing == NO_BODY else size
        view = memoryview(body)
        response.large_block(size)
        try:
            while slow.rest and not self.detached:
                piece = view[size - slow.rest :][:PIECE_BYTES]
                slow.rest -= len(piece)
                self.sent += len(piece)
                response.block(piece)
                if slow.rest or more:
                    await self._until_taken(slow)
        finally:  # also of a call that is cancelled: what was begun is sent
            rest, slow.rest = slow.rest, 0
            if not self.detached:
                self.sent += rest
                response.block(view[size - rest :])
                if not more:
                    self._last(b"")

    async def _until_taken(self, slow: SlowSends | None = None) -> None:
        """Wait until the client has taken so much that there is room for more, or is gone."""
        if slow is None:
            if self._slow is None:
                self._slow = SlowSends()
            slow = self._slow
        to = self._exchange
        slow.since = monotonic()
        try:
            while (to.write_paused or to.takes_no_more()) and not self.detached:
                await self._wait()
        finally:
            slow.waited_s, slow.since = self.client_s(monotonic()), 0.0

    # ---- early hints

    def _hint(self, message: Any) -> None:
        if self.finished:
            raise NotAsgiError("http.response.early_hint was sent after the response was complete")
        links = [(b"Link", link) for link in message.get("links") or ()]
        self._response.hints(links, too_late=self.started)

    # ---- trailers

    def _announce(self, trailers: Any) -> None:
        """Take note of what http.response.start says of trailers."""
        if trailers:
            te = b",".join([value for name, value in self.scope["headers"] if name == b"te"])
            wanted = any(item.strip().lower() == b"trailers" for item in te.split(b","))
            self._trailers = Trailers(self._response.heads, wanted and self._exchange.http11)

    def _send_trailers(self, message: Any) -> None:
        trailers = self._trailers
        if trailers is None:
            raise NotAsgiError(
                'http.response.trailers was not announced by "trailers": True in http.response.start'
            )
        fields = trailers.fields(message)
        if self.finished and not trailers.body_over:
            return  # nobody asked for them, or a response to HEAD: there was no place for them
        if self.finished:
            raise NotAsgiError("http.response.trailers was sent after the response was complete")
        if not trailers.body_over:
            raise NotAsgiError("http.response.trailers was sent before the body was complete")
        last = not message.get("more_trailers", False)
        self._response.trailers(fields, last=last)
        if last:
            self._finish()

    # ---- files

    async def _send_path(self, message: Any) -> None:
        if self._headers is None:
            raise NotAsgiError("http.response.pathsend was sent before http.response.start")
        if self.started:
            raise NotAsgiError("http.response.pathsend was sent after the body had begun")
        file = _open(message["path"])
        try:
            size = os.fstat(file).st_size
            if not size and (block := os.pread(file, FILE_BLOCK_BYTES, 0)):
                await self._send_to_end(file, block)  # files of /proc say 0 and have content
                return
            self._begin(size)
            response = self._response
            wanted = response.left if response.framing == COUNTED else size
            if wanted > size and response.framing != NO_BODY:
                raise NotAsgiError(
                    f"{message['path']} is {wanted - size} bytes shorter than Content-Length says"
                )
            self.started = True
            if wanted > FILE_BLOCK_BYTES and await self._sendfile(file, wanted):
                return
            await self._send_blocks(file, 0 if response.framing == NO_BODY else wanted)
        finally:
            os.close(file)

    async def _send_blocks(self, file: int, wanted: int) -> None:
        """Send ``wanted`` bytes of a file by writing them."""
        offset = 0
        while True:
            block = os.pread(file, min(FILE_BLOCK_BYTES, wanted - offset), offset)
            offset += len(block)
            if not block or offset == wanted:
                break
            self._block(block)
            await asyncio.sleep(0)  # others' turn, and time to hear that the client is gone
            await self._until_taken()
            if self.detached:
                return
        self._last(block)

    async def _send_to_end(self, file: int, block: bytes) -> None:
        """Send a file whose size is not known, and of which ``block`` is the beginning."""
        offset = len(block)
        while following := os.pread(file, FILE_BLOCK_BYTES, offset):
            self._block(block)
            await self._until_taken()
            if self.detached:
                return
            block = following
            offset += len(block)
        if self.started:
            self._last(block)
        else:
            self._whole(block)

    async def _sendfile(self, file: int, wanted: int) -> bool:
        """Have the kernel send ``wanted`` bytes of a file, unless the client goes; False: that cannot be."""
        output = self._response.file_output()
        if output is None:
            return False
        try:
            self._response.block(b"")  # the head
            await self._until_flushed()
            while self.sent < wanted and not self.detached:
                try:
                    count = output.send(file, self.sent, min(wanted - self.sent, SENDFILE_BYTES_MAX))
                except BlockingIOError:
                    await self._until_writable(output)
                    continue
                except OSError:
                    self._cut()
                    return True
                if not count:
                    raise NotAsgiError("the file has become shorter while it was sent")
                self.sent += count
                await asyncio.sleep(0)  # others' turn
        finally:
            output.close()
        if not self.detached:
            self._finish()
        return True

    async def _until_flushed(self) -> None:
        """Wait until nothing is held of what was written: what is sent past it must not overtake."""
        exchange = self._exchange
        exchange.tell_when_empty(True)  # now write_paused means "not empty"
        try:
            await self._until_taken()
        finally:
            exchange.tell_when_empty(False)

    async def _until_writable(self, output: FileOutput) -> None:
        """Wait until the client has taken something, or is gone, or has taken nothing for too long."""
        timeout_s = self._service.context.settings.timeouts.response_timeout_s
        waiter = asyncio.ensure_future(self._wait())
        output.watch(waiter.cancel)
        timer = self._service.context.loop.call_later(timeout_s, self._stuck, timeout_s)
        assert self._slow is not None  # since `_until_flushed`
        self._slow.since = monotonic()
        try:
            await asyncio.wait([waiter])
        finally:
            self._slow.waited_s, self._slow.since = self.client_s(monotonic()), 0.0
            timer.cancel()
            output.unwatch()
            waiter.cancel()

    def _stuck(self, timeout_s: float) -> None:
        exchange = self._exchange
        self._service.context.throttled.warning(
            "slow reader",
            f"{exchange.what()}: the client took no byte for {timeout_s:g} s; {exchange.aborted_as}",
        )
        self._cut()


def _open(path: Any) -> int:
    """Open what http.response.pathsend names.

    Raises:
        NotAsgiError: It is not an absolute path, or not that of a regular file.
        OSError: It cannot be opened.
    """
    if not isinstance(path, str | bytes | os.PathLike) or not Path(os.fsdecode(path)).is_absolute():
        raise NotAsgiError(f"the path of http.response.pathsend must be absolute: {path!r}")
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe's open() could wait for ever
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotAsgiError(f"the path of http.response.pathsend is not that of a regular file: {path!r}")
    return file
