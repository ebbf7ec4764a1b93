"""A stream: one request and its response among those of a connection (RFC 9113 section 5).

To runners, calls and requests it is an `Exchange` like any other. Its body comes from the connection, block
by block; what is not wanted yet waits here, at most as much as its window has room for, and the client is
told of room as it is taken. What it sends waits in ``waiting`` for its turn (`gwctl.workers.http2.output`).

The loop's thread owns all of this, but for what a call in another thread hands over
(`gwctl.workers.http2.responses`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gwctl.ipc.scoreboard import BYTES_IN
from gwctl.workers.exchange.body_budget import BodiesFull
from gwctl.workers.exchange.body_buffer import BodyTooLarge, not_kept
from gwctl.workers.exchange.exchange import Sink
from gwctl.workers.exchange.request_rules import SHOWN, Refused
from gwctl.workers.exchange.states import BODY, BUSY, CLOSING, FLUSH, FRESH
from gwctl.workers.http1.client_signs import LEFT_S
from gwctl.workers.http1.request_rules import frame_body, wants_continue
from gwctl.workers.http2.carrier import Carried, Carrier
from gwctl.workers.http2.output import BODY as BODY_PART
from gwctl.workers.http2.output import HEAD, INTERIM, LAST_BODY
from gwctl.workers.http2.responses import CallResponse, LoopResponse
from gwctl.workers.http2.wire import (
    CANCEL,
    FLOW_CONTROL_ERROR,
    INTERNAL_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    WINDOW_MAX,
    StreamBroken,
    window_frame,
)

if TYPE_CHECKING:
    from gwctl.workers.http2.request_head import Fields, RequestHead

HIGH: Final = 65536
LOW: Final = 16384
"""An application writes no more while more than `HIGH` waits, until no more than `LOW` does."""
_SMALL_BYTES: Final = 1024


def _nothing() -> int:
    return 0


class StreamFields:
    """The fields of a request."""

    __slots__ = ("headers",)

    def __init__(self, headers: Fields) -> None:
        self.headers = headers

    @property
    def asgi_headers(self) -> Fields:
        return self.headers

    def reset(self) -> None:
        """Others may have the list: it is left to them."""


class Seized:
    """What a call's thread had that was given up: it goes nowhere, and nothing is to be closed."""

    def close(self) -> None:
        pass


class Stream(Carried):
    """See the module.

    Attributes:
        ended: The client's side has ended.
        taken_before: What its client had taken when its silence was last judged.
    """

    __slots__ = (
        "__weakref__",
        "_blocks",
        "_bytes_max",
        "_cut_short",
        "_head",
        "_high",
        "_kept",
        "_length",
        "_low",
        "_over",
        "_receive_left",
        "_sink",
        "_untold",
        "ended",
        "taken_before",
    )

    announces_bodies = False
    aborted_as = "stream reset"

    def __init__(
        self, connection: Carrier, stream_id: int, head: RequestHead, ends: bool, now: float
    ) -> None:
        super().__init__(connection, stream_id, head, StreamFields(head.fields.copy()), now)
        self.http_version = "2.0"
        self.local = connection.local
        self.attention = True  # no other request follows
        self.method = head.method
        self.target = head.target
        self.head = head.head
        self.is_head = head.is_head
        self.ended = ends
        self.window = connection.out.stream_window
        self.taken_before = 0
        self._head = head
        self._blocks: deque[bytes] | None = None
        self._kept = 0
        self._receive_left = connection.stream_window
        self._untold = 0
        self._sink: Sink | None = None
        self._length = -1
        self._bytes_max = 0
        self._cut_short = False
        self._over = False
        self._high, self._low = HIGH, LOW

    # ---- who and what it is

    def what(self) -> str:
        return f"{self.method} {self.connection.service.context.shown(self.target)}"

    def addresses(self) -> tuple[tuple[str, int | None], tuple[str, int] | None]:
        return self.connection.addresses()

    @property
    def carrier(self) -> Any:
        return self.connection

    @property
    def ssl(self) -> Any:
        return self.connection.ssl

    def fileno(self) -> int:
        return self.connection.fileno()

    def has_left(self, since: float) -> bool:
        connection = self.connection
        return self.lost or connection.lost or (connection.eof and connection.eof_at - since > LEFT_S)

    def begin(self) -> None:
        """Give it to the runner, or go on with it whose body is complete."""
        service = self.connection.service
        if self.state == BODY:
            service.runner.body_complete(self)
        if self.state != FRESH:
            return
        service.runner.on_stream(self, self.connection)
        self.forwarder = self.connection.forwarder
        refused = self._refusal()
        if refused is not None:
            self.refuse_head(refused)
            return
        try:
            service.begin(self)
        except Refused as refusal:
            self.refuse_head(refusal)

    def _refusal(self) -> Refused | None:
        """Return why it is refused before anybody looks at it."""
        return self._head.refusal

    # ---- its body, from the connection

    def receive(self, data: bytes, size: int, *, ends: bool) -> None:
        """Take what has come of the body: ``size`` with its padding.

        Raises:
            StreamBroken: It is more than there is room for, or comes behind the end.
        """
        if self.ended:
            raise StreamBroken(self.stream_id, STREAM_CLOSED, "DATA behind the end of a stream")
        self._receive_left -= size
        if size and self._receive_left < 0:
            raise StreamBroken(self.stream_id, FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
        if size > len(data):
            self._taken(size - len(data))
        self.ended = ends
        self._keep(data)
        self._feed()

    def receive_end(self) -> None:
        """The body has ended with trailers, which were judged."""
        self.ended = True
        self._feed()

    def finish_reading(self) -> None:
        """Its client has ended its side, of the connection: what is not here of the body will not come."""
        if self.ended and (self._kept or self._sink is not None):
            return  # not before the body's own end
        self.eof = True
        self.eof_at = self.connection.eof_at
        if self.state == BODY and not self.ended:
            self.lose()
        elif self.state == BUSY:
            self.connection.service.runner.on_client_finished(self)

    @property
    def is_stuck(self) -> bool:
        """Tell whether it waits for room that its client will not give any more."""
        if not (self.connection.eof and self.waiting):
            return False
        kind, data = self.waiting[0]
        return kind >= BODY_PART and bool(data) and (self.window <= 0 or self.connection.out.window <= 0)

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        if self._blocks is None:
            self._blocks = deque()
        self._kept += len(data)
        self.connection.service.body_budget.give_back(-len(data))
        if self._blocks and len(data) < _SMALL_BYTES and len(self._blocks[-1]) < _SMALL_BYTES:
            self._blocks[-1] += data  # else frames of a byte would be objects of fifty
        else:
            self._blocks.append(data)

    def _taken(self, size: int) -> None:
        """There is room for ``size`` bytes more: tell the client, if it is worth it."""
        connection = self.connection
        connection.give_room(size)
        self._untold += size
        if self._untold * 2 >= connection.stream_window and not (self.ended or self._over):
            self._receive_left += self._untold
            connection.tell(window_frame(self.stream_id, self._untold))
            self._untold = 0

    def move_window(self, change: int) -> None:
        """The client knows now that its window is ``change`` larger than it had to assume, or smaller."""
        self._receive_left += change
        self._taken(0)

    def _next_block(self) -> bytes:
        assert self._blocks is not None
        block = self._blocks.popleft()
        self._kept -= len(block)
        self.connection.service.body_budget.give_back(len(block))
        return block

    def _drop_body(self) -> None:
        """What is here of it is not wanted, nor what may follow."""
        self._sink = None
        if self._kept:
            size, self._kept = self._kept, 0
            self.connection.service.body_budget.give_back(size)
            assert self._blocks is not None
            self._blocks.clear()
            self.connection.give_room(size)

    # ---- its body, for the runner

    @property
    def receiving(self) -> bool:
        return self._sink is not None

    @property
    def expected_bytes(self) -> int:
        return max(self._length, 0)

    def take_body(self, fields: Mapping[bytes, bytes], bytes_max: int, at_hand_max: int) -> bytes | None:
        if self.ended and not self._kept and not fields:
            return b""
        self._bytes_max = bytes_max or 1 << 62
        length = fields.get(b"content-length")
        framer = frame_body(length, None, True, bytes_max)
        if length is not None:
            self._length = 0 if framer is None else framer.left
        expect = fields.get(b"expect")
        if expect is not None:
            wants = wants_continue(expect, True)
            self.expecting = wants and not (self._kept or self.ended)
        if self.ended and self._length not in {-1, self._kept}:
            raise Refused(400, "the body is not as long as Content-Length says")
        if self.ended and not self._kept:
            return b""
        if not self.ended or self._kept > min(at_hand_max, self._bytes_max):
            return None
        assert self._blocks is not None
        size, body = self._kept, b"".join(self._blocks)
        self._drop_body()
        self._count_body(size)
        return body

    def _count_body(self, size: int) -> None:
        self.connection.service.context.record.words[BYTES_IN] += size

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
            self.connection.out.add(self, (INTERIM, self.connection.service.http2.blocks.interim(100)))

    def adjust_reading(self) -> None:
        full = self.request is not None and self.request.is_full()
        if full != self.read_paused and self._sink is not None:
            self.read_paused = full
            if not full:
                self.since = self.window_at = monotonic()
                self.window_bytes = self.received
                context = self.connection.service.context
                context.loop.call_soon(self._feed, context=context.neutral_context)

    def catch_up(self) -> bool:
        if self._sink is None or self.read_paused or not (self._kept or self.ended):
            return False
        self._feed()  # what was kept when the sink was full, which the loop would see to
        return True

    def pump(self, seconds: float) -> int | None:
        if self.catch_up():
            return None
        return None if self.connection.poll(seconds) and not self.lost else 0

    def _feed(self) -> None:
        """Pass on what has come, as long as it is wanted."""
        while self._sink is not None and not self.read_paused:
            if not self._kept:
                if self.ended:
                    self._body_end()
                return
            self._pass_on(self._next_block())

    def _pass_on(self, block: bytes) -> None:
        assert self._sink is not None
        self.since = monotonic()
        self.expecting = False
        self.received += len(block)
        self._taken(len(block))
        try:
            if self._length >= 0 and self.received > self._length:
                self._body_failed(400, "the body is longer than Content-Length says")
                return
            self._sink.feed(block)
        except BodyTooLarge:
            self._body_failed(413, f"the body is larger than body_bytes_max ({self._bytes_max})")
        except BodiesFull as full:
            self._body_failed(503, str(full))
        except OSError as error:
            status = not_kept(self.what(), self.connection.service.context.throttled, error)
            self._body_failed(status, "its body could not be kept")

    def _body_end(self) -> None:
        if self._length not in {-1, self.received}:
            self._body_failed(400, "the body is not as long as Content-Length says")
            return
        self._sink = None
        self._count_body(self.received)
        if self.connection.eof:
            self.finish_reading()
        if self.state == BUSY:
            self.request.body_end()
        else:
            self.connection.body_came(self)

    def _body_failed(self, status: int, why: str) -> None:
        if self._sink is not None:
            self._count_body(self.received)
        self._drop_body()
        if self.request is not None and self.request.fail(status):
            return
        if self.connection.service.runner.has_responded(self):
            self.abandon()
            self.abort()
        else:
            self.refuse(status, why)

    def cut_upload(self, why: str) -> None:
        """End a request whose body does not come as it should: 408, if that can still be said."""
        self._body_failed(408, why)

    # ---- how it is answered

    def held_with_transport(self) -> int:
        """Return `held` with what the transport holds, which a call in the loop's thread must not pass."""
        return self.put_bytes - self.sent_bytes + self.connection.unsent_by_transport()

    def respond_in_loop(self) -> None:
        self.held_bytes = self.held
        self.response = LoopResponse(self)

    def respond_in_calls(self) -> None:
        self.collects = True
        self.held_bytes = self.held_with_transport
        self.response = CallResponse(self, in_loop=True)

    def respond_in_threads(self) -> None:
        self.held_bytes = self.held
        self.response = CallResponse(self, in_loop=False)

    def seize_output(self) -> Any:
        if not isinstance(self.response, CallResponse):
            return None
        self.connection.service.http2.handed.work()  # what was written before goes out before anything else
        self.seized = True
        return Seized()

    def return_output(self, output: Any) -> None:  # noqa: ARG002 - there is nothing in it
        self.seized = False

    def check_room(self) -> None:
        if not self.write_paused and self.put_bytes - self.sent_bytes > self._high:
            self.write_paused = True
            self.since = monotonic()
            self.taken_before = self.sent_bytes

    def sent(self) -> None:
        held = self.put_bytes - self.sent_bytes
        if self.write_paused and held <= self._low:
            self.write_paused = False
            self.window_at = monotonic()
            self.window_bytes = self.received
            if self.request is not None:
                self.request.on_room()
        if self.response.call is not None:
            self._wake_call()
        if self.state == FLUSH and not self.waiting:
            self._complete()

    def _wake_call(self) -> None:
        """Have a call look again that waits for room."""
        response = self.response
        if isinstance(response, CallResponse):
            response.on_room()

    def enlarge(self, size: int) -> None:
        """The client takes ``size`` bytes more; less, if that is negative.

        Raises:
            StreamBroken: That is more than a window can be.
        """
        self.window += size
        if self.window > WINDOW_MAX:
            raise StreamBroken(self.stream_id, FLOW_CONTROL_ERROR, "a window of more than 2^31-1")
        if self.waiting and self.window > 0:
            self.connection.out.turns.add(self)
            self.connection.out.soon()

    def takes_no_more(self) -> bool:
        return self.lost or self._over

    def tell_when_empty(self, wanted: bool) -> None:
        if self.state == BODY or self.request is not None:
            self.connection.tell_when_empty(wanted)

    # ---- its ends

    def responded(self, keep_alive: bool, now: float) -> None:  # noqa: ARG002 - the connection's own
        self.request = None
        self.since = now
        if self.lost or self._over:
            self._end()
            return
        if self._sink is not None or self._kept:
            self._drop_body()
        if self.waiting:
            self.state = FLUSH
            self.taken_before = self.sent_bytes
        elif self.sent_end and self.ended:
            self._end()
        else:
            self._complete()

    def _complete(self) -> None:
        """All is sent."""
        if not self.sent_end:
            self._cut_short = True
            self.connection.reset_stream(self, INTERNAL_ERROR)
        elif not self.ended:
            self.connection.reset_stream(self, NO_ERROR)  # the rest of the body is not wanted
        self._end()

    def _end(self) -> None:
        """Nothing comes, and nothing goes."""
        if self._over:
            return
        self._over = True
        self.state = CLOSING
        connection = self.connection
        if self._sink is not None or self._kept:
            self._drop_body()
        if self.waiting or self.in_turns:
            connection.out.forget(self)
        connection.service.runner.on_disconnect(self)
        self.let_go()
        connection.stream_over(self)

    def lose(self) -> None:
        """Its client wants nothing any more, or is gone."""
        if self._over or self.lost:
            return
        self.lost = True
        self.connection.out.forget(self)
        if self.state == BODY:
            self.abandon()
        self._drop_body()
        self._wake_call()
        if self.state == BUSY:
            self.connection.service.runner.on_disconnect(self)  # and again when the call is over
            self.connection.stream_over(self)
        else:
            self._end()

    def let_go(self) -> None:
        super().let_go()
        self.held_bytes = _nothing

    def refuse_head(self, refusal: Refused) -> None:
        if self.forwarder is not None:
            self.forwarder.apply_parsed(self)
        self.refuse(refusal.status, refusal.why)

    def refuse(self, status: int, why: str) -> None:
        service = self.connection.service
        service.runner.refused(self)
        block, body = service.http2.blocks.error(status, is_head=self.is_head)
        if not self.lost:
            self.put_bytes += len(body)
            self.connection.out.add(self, (HEAD, block), (LAST_BODY, body))
        service.refused(self, status, len(block) + len(body), why)
        self.responded(False, monotonic())

    def break_off(self, fault: StreamBroken) -> None:
        """End it for what the client did wrong on it."""
        self.connection.service.context.log.debug(
            f"{self.what()[:SHOWN]}: stream {self.stream_id} of HTTP/2 ended: {fault.why}"
        )
        self.connection.reset_stream(self, fault.code)
        self.lose()

    def close(self) -> None:
        self.responded(False, monotonic())

    def cut(self, rest: bytes, delimited: bool) -> bool:  # noqa: ARG002 - a reset says it, and costs no other
        if self.lost:
            return False
        self.abort()
        return True

    def abort(self) -> None:
        self._reset(INTERNAL_ERROR)

    def drop(self) -> None:
        self._reset(CANCEL)

    def _reset(self, code: int) -> None:
        if self.lost or self._over:
            return
        self.lost = True
        self.connection.out.hasten(self)
        self.connection.reset_stream(self, code)
        self.abandon()
        self._wake_call()
        self._end()


def malformed(stream_id: int, why: str) -> StreamBroken:
    return StreamBroken(stream_id, PROTOCOL_ERROR, why)
