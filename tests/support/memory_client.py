"""The client of a protocol without a wire format: what it does are objects, and so is what it gets.

    with Engine(application, "threads") as engine, MemoryClient(engine) as client:
        first, second = client.open("/one"), client.open("/two")
        assert second.whole().body == b"two"

A `Stream` is one exchange as its client sees it. It takes as much of a body as its window allows
(`Stream.allow`), and sends as much of its own as the server has taken of what it sent before, as in HTTP/2.
What it does waits in an `Inbox`, which the server works off in its loop, or in the midst of a call that holds
the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from tests.support.engine import Engine
from tests.support.memory_protocol import SERVER, MemoryConnection, MemoryExchange
from tests.support.memory_wire import (
    UPLOAD_WINDOW,
    Allowed,
    Data,
    End,
    Event,
    Finished,
    Gone,
    Head,
    Inbox,
    Opened,
    Reset,
    Sent,
    Trailers,
    Wire,
)
from tests.support.wait import until

BLOCK: Final = 16384
WINDOW: Final = 1 << 20
PEER: Final = ("127.0.0.1", 4711)

E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Answer:
    """A whole response. ``headers`` has lower-case names; a repeated field keeps its last value."""

    status: int
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str]


class Stream(Wire):
    def __init__(self, inbox: Inbox, window: int) -> None:
        super().__init__(window)
        self._inbox = inbox
        self.uploaded = 0

    # ---- what it does

    def upload(self, data: bytes) -> None:
        """Send ``data`` as the server takes it; the rest is dropped if the response is over before."""
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK]
            until(partial(self._may_send, len(block)), self._story)
            if self.is_over:
                return
            self.uploaded += len(block)
            self._inbox.put(self, Sent(block))

    def _may_send(self, size: int) -> bool:
        return self.is_over or self.unread + size <= UPLOAD_WINDOW

    @property
    def unread(self) -> int:
        """How much of the upload the server holds, or has yet to see."""
        return self.uploaded - self.acknowledged

    def finish(self) -> None:
        self._inbox.put(self, Finished())

    def allow(self, size: int) -> None:
        """Take so much more of the body."""
        self._inbox.put(self, Allowed(size))

    def leave(self) -> None:
        self._inbox.put(self, Gone())

    # ---- what it gets

    @property
    def is_over(self) -> bool:
        return any(isinstance(event, End | Reset) for event in list(self.events))

    @property
    def body(self) -> bytes:
        """What has come so far."""
        return b"".join([event.data for event in self.got(Data)])

    def got(self, kind: type[E]) -> list[E]:
        return [event for event in list(self.events) if isinstance(event, kind)]

    def _story(self) -> str:
        shown = [str(event)[:80] for event in list(self.events)]
        return f"more than {shown}"

    def wait_for(self, kind: type[E], count: int = 1) -> E:
        """Return the ``count``th event of ``kind``."""
        return until(lambda: self.got(kind)[count - 1 : count], self._story)[0]

    def wait_for_body(self, body: bytes) -> None:
        until(lambda: self.body == body, self._story)

    def head(self) -> tuple[int, dict[str, str]]:
        head = self.wait_for(Head)
        return head.status, as_text(head.fields)

    def whole(self) -> Answer:
        """Wait for a response, which must come to its end."""
        end = self.end()
        assert isinstance(end, End), self._story()
        status, headers = self.head()
        trailers = self.got(Trailers)
        return Answer(status, headers, self.body, as_text(trailers[0].fields) if trailers else {})

    def end(self) -> Event:
        """Wait for the end; return what it was."""
        until(lambda: self.is_over, self._story)
        return next(event for event in list(self.events) if isinstance(event, End | Reset))


def as_text(fields: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in fields}


class MemoryClient:
    """One connection. At its end it leaves, with all its streams."""

    upload_window = UPLOAD_WINDOW

    def __init__(self, engine: Engine, peer: Any = PEER) -> None:
        self.engine = engine
        self._connection = MemoryConnection(engine.server, engine.assignment.listeners[0], peer)
        self._inbox = self._connection.inbox

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _exc: object, _tb: TracebackType | None) -> None:
        self.disconnect()
        until(lambda: not self.exchanges, "the exchanges to be gone")

    def open(
        self,
        target: str = "/",
        method: str = "GET",
        *fields: tuple[bytes, bytes],
        body: bytes = b"",
        ends: bool = True,
        window: int = WINDOW,
        host: bytes | None = b"test",
    ) -> Stream:
        """Send a request: its head, and what of its ``body`` comes with it."""
        stream = Stream(self._inbox, window)
        hosts = [] if host is None else [(b"host", host)]
        self._inbox.put(stream, Opened(method, target, [*hosts, *fields], body, ends))
        return stream

    def post(
        self, target: str, *fields: tuple[bytes, bytes], body: bytes = b"", window: int = WINDOW
    ) -> Stream:
        """Begin an upload, with ``body`` as its first block."""
        return self.open(target, "POST", *fields, body=body, ends=False, window=window)

    def addresses(self) -> tuple[Any, Any]:
        """Return its own and the server's."""
        return PEER, SERVER

    def disconnect(self) -> None:
        self._inbox.put(None, Gone())

    @property
    def exchanges(self) -> list[MemoryExchange]:
        """Those that are open in the server."""
        found: list[MemoryExchange] = self.engine.call(lambda: list(self._connection.exchanges.values()))
        return found

    def exchange(self, stream: Stream) -> MemoryExchange:
        """That of ``stream``, once it is there."""
        exchanges = self._connection.exchanges
        return until(lambda: exchanges.get(stream), "the exchange")  # type: ignore[return-value]
