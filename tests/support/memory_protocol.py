"""A second protocol, without a wire format: exchanges in memory, many of them open on one connection.

It is to runners, calls and requests what HTTP/2 is to be, and knows nothing of HTTP/1.1. So what holds for it
holds for `gwctl.workers.exchange` itself. Heads, blocks and ends are objects (`tests.support.memory_wire`);
who plays the client is `tests.support.memory_client`.

    what is written   waits in an exchange's `Frames` until its client's window has room for it. Any thread
                      puts it there, the loop sends it
    what comes        waits in the connection's inbox. The loop works it off; a call that holds the loop takes
                      what is its own exchange's out of it, and leaves the rest: no other may begin meanwhile
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.workers.exchange.body_budget import BodiesFull
from gwctl.workers.exchange.body_buffer import BodyTooLarge, not_kept
from gwctl.workers.exchange.exchange import Exchange, Sink
from gwctl.workers.exchange.heads import Heads
from gwctl.workers.exchange.request_rules import Refused
from gwctl.workers.exchange.states import BODY, BUSY, CLOSING, FLUSH, FRESH
from tests.support.memory_responses import CallResponse, Frames, LoopResponse, error_events
from tests.support.memory_wire import (
    Action,
    Allowed,
    Continue,
    Event,
    Fields,
    Finished,
    Gone,
    Inbox,
    Opened,
    Reset,
    Sent,
    Wire,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gwctl.ipc.assignment import Listener
    from gwctl.workers.server import Server

SERVER: Final = ("192.0.2.1", 443)
HIGH: Final = 65536
LOW: Final = 16384


class MemoryConnection:
    """One client's connection. The loop's thread, but for ``inbox``."""

    def __init__(self, server: Server, listener: Listener, peer: Any) -> None:
        self.service = server
        self.listener = listener
        self.peer = peer
        self.heads = Heads(bytes if server.context.interface == "asgi" else str)
        self.inbox = Inbox(self._wake)
        self.exchanges: dict[Wire, MemoryExchange] = {}

    def _wake(self) -> None:
        context = self.service.context
        context.loop.call_soon_threadsafe(self._work, context=context.neutral_context)

    def _work(self) -> None:
        """See to what the client has done, one by one: a call may want to have what is behind it."""
        while (entry := self.inbox.first()) is not None:
            wire, action = entry
            if wire is None:
                for exchange in list(self.exchanges.values()):
                    exchange.lose()
            elif isinstance(action, Opened):
                self._open(wire, action)
            elif wire in self.exchanges:
                self.exchanges[wire].act(action)

    def _open(self, wire: Wire, request: Opened) -> None:
        runner = self.service.runner
        runner.reserve()
        exchange = self.exchanges[wire] = MemoryExchange(self, wire, request)
        runner.on_accept(exchange)
        runner.on_connect(exchange)
        if self.service.forwarding is not None:
            self.service.forwarding.connected(exchange)
        try:
            self.service.begin(exchange)
        except Refused as refusal:
            exchange.refuse_head(refusal)


class MemoryFields:
    def __init__(self, headers: Fields) -> None:
        self.headers = headers

    @property
    def asgi_headers(self) -> Fields:
        return self.headers

    def reset(self) -> None:
        self.headers = []  # another list: scopes have this one


class Seized:
    """What a call's thread had that was given up: it goes nowhere, and nothing is to be closed."""

    def close(self) -> None:
        pass


class MemoryExchange(Exchange):
    announces_bodies = False

    def __init__(self, connection: MemoryConnection, wire: Wire, request: Opened) -> None:
        fields = MemoryFields(request.fields)
        super().__init__(fields, connection.peer, connection.listener, FRESH, monotonic())
        self.http_version = "2.0"
        self.connection = connection
        self.service = connection.service
        self.wire = wire
        self.frames = Frames(wire)
        self.held_bytes = self.frames.held_bytes
        self.attention = True  # no other request follows
        self.method, self.target = request.method, request.target
        self.head = f"{request.method} {request.target} HTTP/2\r\n".encode()
        self.is_head = request.method == "HEAD"
        self._low, self._high = LOW, HIGH
        self._blocks = deque([request.body] if request.body else ())
        self._ended = request.ends
        self._sink: Sink | None = None
        self._length = -1
        self._bytes_max = 0
        self._over = False

    # ---- who and what it is

    def what(self) -> str:
        return f"{self.method} {self.service.context.shown(self.target)}"

    def addresses(self) -> tuple[tuple[str, int | None], tuple[str, int] | None]:
        return SERVER, self.peer if isinstance(self.peer, tuple) else None

    def has_left(self, since: float) -> bool:
        return self.lost or self.connection.inbox.is_gone(self.wire)

    # ---- what its client does

    def act(self, action: Action) -> None:
        match action:
            case Sent(data):
                self._blocks.append(data)
                self._feed()
            case Finished():
                self._ended = True
                self._feed()
            case Allowed(size):
                self.frames.window += size
                self.flush()
            case Gone():
                self.lose()

    def look(self, seconds: float) -> bool:
        """See to what its client does, or has done within ``seconds``; False: that has gone."""
        for action in self.connection.inbox.of(self.wire, seconds):
            self.act(action)
        return not self.connection.inbox.is_gone(self.wire)

    def lose(self) -> None:
        """Its client has gone."""
        self.lost = True
        self.frames.close()
        if self.state == BODY:
            self.abandon()
        self._drop_body()
        del self.connection.exchanges[self.wire]
        if self.state == BUSY:
            self.service.runner.on_disconnect(self)  # and again when the call is over
        else:
            self._end()

    def _end(self) -> None:
        """Nothing comes, and nothing goes."""
        if self._over:
            return
        self._over = True
        self.state = CLOSING
        self._drop_body()
        self.frames.close()
        self.connection.exchanges.pop(self.wire, None)
        self.service.runner.on_disconnect(self)
        self.let_go()

    # ---- how it is answered

    def respond_in_loop(self) -> None:
        self.response = LoopResponse(self)

    def respond_in_calls(self) -> None:
        self.response = CallResponse(self, in_loop=True)

    def respond_in_threads(self) -> None:
        self.response = CallResponse(self, in_loop=False)

    def seize_output(self) -> Any:
        if not isinstance(self.response, CallResponse):
            return None
        self.response.seize(True)
        return Seized()

    def return_output(self, output: Any) -> None:
        assert isinstance(self.response, CallResponse)
        self.response.seize(False)

    def put(self, *events: Event) -> None:
        """Send ``events`` behind what waits; the loop's thread."""
        self.frames.put(*events)
        self.flush()

    def flush(self) -> None:
        """Send what the client takes; see whether it takes enough. The loop's thread."""
        self.frames.send()
        held = self.frames.held
        if not self.write_paused and held > self._high:
            self.write_paused = True
            self.since = monotonic()
        elif self.write_paused and held <= self._low:
            self.write_paused = False
            if self.request is not None:
                self.request.on_room()
        if self.state == FLUSH and self.frames.empty:
            self._end()

    def takes_no_more(self) -> bool:
        return self.frames.closed

    def tell_when_empty(self, wanted: bool) -> None:
        self._low, self._high = (0, 0) if wanted else (LOW, HIGH)
        self.flush()

    # ---- its body

    @property
    def receiving(self) -> bool:
        return self._sink is not None

    @property
    def expected_bytes(self) -> int:
        return max(self._length, 0)

    def take_body(self, fields: Mapping[bytes, bytes], bytes_max: int, at_hand_max: int) -> bytes | None:
        self.fields.reset()
        self._bytes_max = bytes_max or 1 << 62
        length = fields.get(b"content-length")
        if length is not None:
            if not length.isdigit():
                raise Refused(400, "not a Content-Length")
            self._length = int(length)
        if self._ended and not self._blocks:
            if self._length > 0:
                raise Refused(400, "its body is shorter than Content-Length says")
            return b""
        if self._length > self._bytes_max:
            raise Refused(413, "the body is larger than body_bytes_max")
        self.expecting = fields.get(b"expect") == b"100-continue" and not self._blocks
        size = sum([len(block) for block in self._blocks])
        if not self._ended or size > min(at_hand_max, self._bytes_max) or self._length not in {-1, size}:
            return None
        body = b"".join(self._blocks)
        self._drop_body()
        return body

    def read_body(self, sink: Sink, state: int) -> None:
        self._sink = sink
        self.state = state
        self.since = self.window_at = monotonic()
        self.received = self.window_bytes = 0
        self._feed()
        if state == BODY and self.receiving:
            self.send_continue()

    def send_continue(self) -> None:
        if self.expecting:
            self.expecting = False
            self.put(Continue())

    def adjust_reading(self) -> None:
        full = self.request is not None and self.request.is_full()
        if full != self.read_paused and self.receiving:
            self.read_paused = full
            if not full:
                context = self.service.context
                context.loop.call_soon(self._feed, context=context.neutral_context)

    def pump(self, seconds: float) -> int | None:
        if (self._blocks or self._ended) and not self.read_paused:
            self._feed()  # what was kept when the sink was full, which the loop would see to
            return None
        return None if self.look(seconds) else 0

    def _feed(self) -> None:
        """Pass on what has come, as long as it is wanted."""
        while self._sink is not None and not self.read_paused:
            if self._blocks:
                self._pass_on(self._blocks.popleft())
                continue
            if self._ended:
                self._body_end()
            return

    def _pass_on(self, block: bytes) -> None:
        assert self._sink is not None
        self.since = monotonic()
        self.expecting = False
        self.received += len(block)
        self.wire.acknowledged += len(block)
        try:
            self._sink.feed(block)
        except BodyTooLarge:
            self._body_failed(413, "the body is larger than body_bytes_max")
        except BodiesFull as full:
            self._body_failed(503, str(full))
        except OSError as error:
            status = not_kept(self.what(), self.service.context.throttled, error)
            self._body_failed(status, "its body could not be kept")

    def _body_end(self) -> None:
        if self._length not in {-1, self.received}:
            self._body_failed(400, "the body is not as long as Content-Length says")
            return
        self._sink = None
        if self.state == BUSY:
            self.request.body_end()
        else:
            self.service.runner.body_complete(self)

    def _body_failed(self, status: int, why: str) -> None:
        self._drop_body()
        if self.request is not None and self.request.fail(status):
            return
        if self.service.runner.has_responded(self):
            self.abort()
        else:
            self.refuse(status, why)

    def _drop_body(self) -> None:
        """What is here of it is not wanted, nor what may follow."""
        self._sink = None
        self.wire.acknowledged += sum([len(block) for block in self._blocks])
        self._blocks.clear()

    # ---- its ends

    def responded(self, keep_alive: bool, now: float) -> None:
        self.request = None
        self.since = now
        if self.lost:
            self._end()
            return
        self._drop_body()
        if not self._ended:
            self.frames.put(Reset("the rest of the body is not wanted"))
        self.state = FLUSH
        self.flush()

    def refuse_head(self, refusal: Refused) -> None:
        if self.forwarder is not None:
            self.forwarder.apply_parsed(self)
        self.refuse(refusal.status, refusal.why)

    def refuse(self, status: int, why: str) -> None:
        self.service.runner.refused(self)
        events, size = error_events(status, self.is_head)
        self.frames.put(*events)
        self.service.refused(self, status, size, why)
        self.responded(False, monotonic())

    def close(self) -> None:
        self.responded(False, monotonic())

    def cut(self, rest: bytes, delimited: bool) -> bool:
        if self.lost:
            return False
        self.abort()
        return True

    def abort(self) -> None:
        if not (self.lost or self._over):
            if not self.has_left(self.since):
                self.frames.reset("cut short")
            self.lost = True
            self.abandon()
            self._end()

    def drop(self) -> None:
        self.abort()
