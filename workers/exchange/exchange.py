"""One request and its response, as runners, calls and asgi requests see them, whatever the protocol.

An HTTP/1.1 connection is its own exchange, one after the other (`gwctl.workers.http1.connection`): so there
is no object more for a request. A protocol with many requests on one connection makes one for each.

A runner is told of it by the hooks of `gwctl.workers.exchange.runner`, puts the request's `Work` into
``request``, writes to ``response``, and calls `responded` in the end. What of it is about the way out is in
`gwctl.workers.exchange.response`.

What an implementer has to do, in this order, all in the loop's thread:

    made          `Runner.reserve`, `Runner.on_accept`, `Runner.on_connect` (which has it choose its
                  ``response``), then `Forwarding.connected` where there is one. Where one connection has
                  many: for each anew; or once for what stands for the connection, then `Runner.on_stream` for
                  each
    a request     ``fields``, ``method``, ``target``, ``head``, ``is_head``, then `Service.begin`; what that
                  raises goes to `refuse_head`
    its body      into the sink of `read_body`, as far as `adjust_reading` lets it; then `Work.body_end` if
                  it is BUSY, else `Runner.body_complete`. Where it fails: `Work.fail`; if that is False,
                  `abort` if `Runner.has_responded`, else `refuse`
    its response  `responded` follows, `cut` or `refuse`, or nothing if it is ``lost``
    room          ``write_paused`` says that more than should wait does; at its end `Work.on_room` is told
    its end       `Runner.on_disconnect`, once nothing is left to be sent, then `let_go`

If its client goes before that, it is ``lost``: in the state BODY `abandon` comes first, then
`Runner.on_disconnect`. While it is BUSY with a call `let_go` waits until that is over: its `responded` comes
then, and tells `Runner.on_disconnect` once more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from gwctl.workers.exchange.heads import Heads
from gwctl.workers.exchange.response import Response

if TYPE_CHECKING:
    from gwctl.ipc.assignment import Listener
    from gwctl.workers.exchange.forwarded import Forwarder
    from gwctl.workers.exchange.request_rules import Refused

NO_RESPONSE: Final = Response(Heads(bytes))
"""Of an exchange that no runner has seen yet."""


class RequestFields(Protocol):
    """The header fields of the present request.

    Attributes:
        headers: Names and values, in their order, as often as they came.
        asgi_headers: The same with names in lower case.
    """

    headers: list[tuple[bytes, bytes]]

    @property
    def asgi_headers(self) -> list[tuple[bytes, bytes]]: ...

    def reset(self) -> None:
        """They are not needed any more."""


class Sink(Protocol):
    """Where a body goes as it comes."""

    def feed(self, block: bytes) -> None:
        """Take a block.

        Raises:
            BodyTooLarge: The limit is passed.
            BodiesFull: The worker's bodies have no room for it.
            OSError: It could not be kept.
        """


class Work(Protocol):
    """What an exchange waits for besides its call: a body, an application, the rest of a response."""

    def body_end(self) -> None:
        """The body that was read into it is complete."""

    def fail(self, status: int) -> bool:
        """Tell the application that its body is not sound, or late; False: it cannot be told."""

    def is_full(self) -> bool:
        """Tell whether no more of a body is to be read for now."""

    def is_due(self) -> bool:
        """Tell whether the loop goes on with it in its next turn, of which no descriptor tells."""

    def on_room(self) -> None:
        """There is room for more of the response again."""

    def abandon(self) -> None:
        """The request will not be complete: its connection is gone, or about to go."""

    def lose_client(self) -> None:
        """The connection is gone; a call may go on."""


def _nothing() -> int:
    return 0


class Exchange:
    """Owned by the loop's thread, but for what says so.

    Attributes:
        peer: Where it came from, or whom a proxy names: an address, or "".
        local: Where the client connected to, if a proxy said so.
        listener: Where it arrived.
        base: The runner's: what all requests of a connection share.
        forwarder: Of a trusted proxy's connection.
        fields: Of the present request, until `take_body` or ``fields.reset()``, after which others may have
            the list of them. Each is sound by itself, Host and Content-Length are there once at most; Host
            also where a protocol says it otherwise.
        method, target, authority: Of the present request. ``authority``: what replaces Host.
        head: Its first bytes, for the scoreboard: method, target and what ends the line, in any protocol.
        http11: Its client knows interim responses and trailers.
        http_version: As request lines have it (RFC 9112 section 2.3), and CGI: with a minor version. That of
            the connection: a request without ``http11`` is of 1.0.
        is_head: Nothing of a body is sent.
        keep_alive: The client wants the connection to go on.
        arrived_at: When, by X-Request-Start of a trusted proxy.
        response: What the runner writes to.
        request: What there is to it besides a call.
        state: One of `gwctl.workers.exchange.states`.
        since: When that began, or last made progress.
        held_bytes: Asked how much that was written is yet to be given to the kernel, or to the client where
            that says how much it takes. Set by whoever holds something, and not a method here.
        attention: Something is to be seen to at the end of the request: input that waits, its end, or, in
            each case, that no other follows. Else who makes a call may store IDLE at its end, in any
            thread, and looks at this again; the loop sets this first, and then looks at ``state``. One sees
            the other.
        collects: Whole responses may wait in an outbox (`gwctl.workers.exchange.outbox`).
        queued: One does.
        expecting: The client waits for 100 (Continue).
        received: Bytes of the present body, as it came.
        eof, eof_at: The client sends no more, since then: on its connection, which is how many leave. The
            regular end of a body is none.
        lost: It is gone.
        read_paused: Nothing more is read for now.
        write_paused: The client has yet to take more than should wait for it.
        window_at, window_bytes, window_taken: The begin of a window in which the client's speed is measured,
            what had come and was taken by then (-1: none).
    """

    __slots__ = (
        "arrived_at",
        "attention",
        "authority",
        "base",
        "collects",
        "eof",
        "eof_at",
        "expecting",
        "fields",
        "forwarder",
        "head",
        "held_bytes",
        "http11",
        "http_version",
        "is_head",
        "keep_alive",
        "listener",
        "local",
        "lost",
        "method",
        "peer",
        "queued",
        "read_paused",
        "received",
        "request",
        "response",
        "since",
        "state",
        "target",
        "window_at",
        "window_bytes",
        "window_taken",
        "write_paused",
    )

    carrier: Any = None
    """What carries it and others: the connection, where it has not one to itself."""
    upgrades = False
    """It can become a WebSocket, with the connection that it has to itself."""
    tunnels = False
    """It is no request, but asks to become a WebSocket (RFC 8441)."""
    announces_bodies = True
    """A request that has a body has a field that says so; else `take_body` is asked for each."""
    aborted_as = "connection aborted"
    """What `abort` has done, for the log."""

    def __init__(self, fields: Any, peer: Any, listener: Listener, state: int, now: float) -> None:
        self.peer = peer
        self.local: Any = None
        self.listener = listener
        self.base: Any = None
        self.forwarder: Forwarder | None = None
        self.fields = fields
        self.method = self.target = self.authority = ""
        self.head = b""
        self.http11 = self.keep_alive = True
        self.http_version = "1.1"
        self.is_head = False
        self.arrived_at = 0.0
        self.response: Response = NO_RESPONSE
        self.held_bytes: Callable[[], int] = _nothing
        self.request: Any = None
        self.state = state
        self.since = now
        self.attention = self.collects = self.queued = self.expecting = False
        self.received = 0
        self.eof = self.lost = self.read_paused = self.write_paused = False
        self.eof_at = 0.0
        self.window_at = 0.0
        self.window_bytes = 0
        self.window_taken = -1

    # ---- who and what it is

    def what(self) -> str:
        """Method and target, as logs show them."""
        raise NotImplementedError

    def addresses(self) -> tuple[tuple[str, int | None], tuple[str, int] | None]:
        """Return where it arrived and where it came from: host and port.

        On a Unix socket the first is its path and None. The second is None there, and where a
        proxy does not know.
        """
        raise NotImplementedError

    @property
    def ssl(self) -> Any:
        """The session's SSLObject; None without TLS."""
        return None

    def fileno(self) -> int:
        """Return the descriptor by which the kernel tells of the client; -1: there is none."""
        return -1

    def ages(self) -> tuple[float, float] | None:
        """Return the seconds since the client's last data and its last packet; None where nobody says."""
        return None

    def has_left(self, since: float) -> bool:  # noqa: ARG002 - for those who can ask
        """Tell whether nobody waits any more for the answer to what was read at ``since``; any thread."""
        return self.lost

    # ---- how it is answered

    def respond_in_loop(self) -> None:
        """Have responses written in the loop's thread."""
        raise NotImplementedError

    def respond_in_calls(self) -> None:
        """Have responses written by calls, which are made in the loop's thread."""
        raise NotImplementedError

    def respond_in_threads(self) -> None:
        """Have responses written by calls, which are made in other threads."""
        raise NotImplementedError

    def open_output(self, fd: int) -> None:
        """Make the descriptor ``fd`` one by which threads write, whatever the loop does; close it, if not."""
        os.close(fd)

    def close_output(self) -> None:
        """No thread writes any more."""

    def seize_output(self) -> Any:
        """Make the loop the only one that writes, whatever a thread is at.

        Return what the thread had, for whoever has to ``close`` it (`leave_output`); None: it has nothing.
        What it wrote before goes out before anything else; from now on its writes raise ClientGone.
        """
        raise NotImplementedError

    def return_output(self, output: Any) -> None:
        """It is the thread's again, for the next request: that one's call had come to its end."""
        raise NotImplementedError

    def leave_output(self) -> None:
        """Let the thread keep what it writes to for as long as it likes: nothing of it arrives."""

    # ---- its body

    @property
    def receiving(self) -> bool:
        """Tell whether a body is on its way."""
        raise NotImplementedError

    def take_body(self, fields: Mapping[bytes, bytes], bytes_max: int, at_hand_max: int) -> bytes | None:
        """Return the body of the present request: nothing if it has none, None if it is yet to be read.

        What came with its head is taken at once, as that of nearly every form or JSON document does, if it is
        at most ``at_hand_max`` bytes (-1: never). Nothing has to be waited for then; the way for all others
        gives the same. It is also that of bodies that turn out not to be sound, or too large.
        ``fields`` has, among others, those that say that there is one, by lower-case name; it is not needed
        afterwards.

        Raises:
            Refused: What they say is not sound, or the body is larger than ``bytes_max`` (0: no limit).
        """
        raise NotImplementedError

    @property
    def expected_bytes(self) -> int:
        """How large the body to read is, as far as that is known."""
        raise NotImplementedError

    def read_body(self, sink: Sink, state: int) -> None:
        """Receive the body into ``sink``, in ``state``; the runner, or the work, hears of its end.

        What is here already goes there at once. In the state BODY, where nobody reads, the client is asked
        for the rest (`send_continue`).
        """
        raise NotImplementedError

    def send_continue(self) -> None:
        """Ask for the body if the client waits to be asked."""
        raise NotImplementedError

    def adjust_reading(self) -> None:
        """Read or not, as what waits here and in the sink says (`Work.is_full`).

        Called from within the sink's `feed`, and by who has just taken something out of it: so what comes of
        it is fed in a later turn of the loop, or by `pump`.
        """
        raise NotImplementedError

    def catch_up(self) -> bool:
        """Take what was left of a body for later turns of the loop; return whether there was something.

        For calls that read the body in the loop's thread: it does not turn meanwhile.
        """
        raise NotImplementedError

    def pump(self, seconds: float) -> int | None:
        """Take what has come of the body, its end included, or wait up to ``seconds`` until there is some.

        For calls that are made in the loop's thread: it does not turn meanwhile. What has come for other
        exchanges waits: no other call may begin. Return None, or with which status the body fails (0: nobody
        is there to be answered); that the client is gone is then for the loop to see, too.
        """
        raise NotImplementedError

    # ---- its response

    def takes_no_more(self) -> bool:
        """Tell whether it closes: what is written goes nowhere, and nothing tells of room."""
        raise NotImplementedError

    def tell_when_empty(self, wanted: bool) -> None:
        """Have ``write_paused`` end when nothing is held any more; else, as usual, when there is room."""
        raise NotImplementedError

    def send(self, response: bytes) -> bytes:
        """Send a whole response that an outbox had; return what is not taken yet. Any thread."""
        raise NotImplementedError

    def write(self, rest: bytes) -> None:
        """Have the loop send what `send` returned, or what an outbox could not take."""
        raise NotImplementedError

    def attend(self) -> None:
        """After a call that stored IDLE: see to what happened meanwhile: input, its end, the connection's."""

    def responded(self, keep_alive: bool, now: float) -> None:
        """Go on after a response that is complete, or will not be."""
        raise NotImplementedError

    # ---- its ends

    def refuse_head(self, refusal: Refused) -> None:
        """Refuse a request before its runner has looked at it."""
        raise NotImplementedError

    def refuse(self, status: int, why: str) -> None:
        """Answer the request with ``status`` ourselves, and close; ``why`` is for the log.

        `Runner.refused` and `Service.refused` are told. A thread may still be at the call: it is seized.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close after what is written has been sent."""
        raise NotImplementedError

    def cut(self, rest: bytes, delimited: bool) -> bool:
        """End in mid-response, so that the client notices; return False if the state is yet to be changed.

        ``delimited``: chunks or a length say that it is none; only then ``rest`` may still be sent.
        After False a call goes on with `responded`.
        """
        raise NotImplementedError

    def abort(self) -> None:
        """End it so that the client notices: not as if all were well."""
        raise NotImplementedError

    def drop(self) -> None:
        """End a request for which nobody waits, without a response."""
        raise NotImplementedError

    def abandon(self) -> None:
        """The request will not be complete: let go of what there is to it."""
        work: Work | None = self.request
        self.request = None
        if work is not None:
            work.abandon()

    def let_go(self) -> None:
        """No request comes any more: free what refers to this in a circle."""
        self.response = NO_RESPONSE
        self.base = None
