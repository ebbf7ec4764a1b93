"""What a response is written to: the same for both interfaces and all protocols.

An application gives a status, fields and blocks. What becomes of them on the way (lines and chunks, frames)
is the protocol's, and so is where it is written. The order of calls is

    whole                        a small response at once, if there is nothing special to it; or
    begin, block..., end         a response of any size. What `begin` makes leaves with the first block, and
                                 `end` says that it is whole, however its body is delimited
    hints                        before either, any number of times
    trailers                     behind `end`, where that said that they follow
    error                        in place of all of it

`begin` says how the body is delimited (``framing``), which is what the application's mistakes are judged by:

    NO_BODY      nothing of it is sent: an answer to HEAD, 204, 304
    COUNTED      it has ``left`` bytes
    MARKED       its end is marked
    UNTIL_CLOSE  its end is the connection's
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from gwctl.workers.exchange.heads import Heads

NO_BODY: Final = 0
COUNTED: Final = 1
MARKED: Final = 2
UNTIL_CLOSE: Final = 3

Fields = Iterable[Any]
"""Pairs of name and value, as an application gives them."""


class FileOutput(Protocol):
    """Sends files past what is written, of which nothing must be held meanwhile."""

    def send(self, file: int, position: int, count: int) -> int:
        """Send of the descriptor ``file``; return how much went: 0 at the file's end.

        Raises:
            BlockingIOError: The client has to take something first (see `watch`).
            OSError: The client is gone.
        """

    def watch(self, tell: Callable[[], Any]) -> None:
        """Have ``tell`` called when the client has taken something, until `unwatch`."""

    def unwatch(self) -> None: ...
    def close(self) -> None: ...


class Call(Protocol):
    """A WSGI call in progress (`gwctl.workers.wsgi.call.WsgiCall`)."""

    def hint(self, headers: Any) -> None: ...


class ClientTime(Protocol):
    """What a call waits for its client (`gwctl.workers.exchange.client_wait.ClientWait`)."""

    waited_s: float

    def begin(self, unsent: int) -> None: ...
    def end_of_body(self) -> None: ...
    def others_waited(self) -> bool: ...


class WholeResponses:
    """Where whole responses wait to leave together (`gwctl.workers.exchange.outbox`)."""

    def take(self, exchange: Any, response: bytes, now: float) -> bool:
        """Tell whether a whole response, made ``now``, was taken: it need not be written."""
        raise NotImplementedError


class Response:
    """Of one exchange at a time. Its caller knows what was written, and asks for nothing twice.

    Attributes:
        framing: How the body is delimited; from `begin` on.
        left: How much of a COUNTED body is yet to be written; who writes it counts it down.
        heads: What checks statuses and fields.
        keep_alive: Whether the connection goes on. Who cannot end the response as it should clears it.
        call: The call that is answered now; None for those that run in the loop, and between two.
        outbox: Takes whole responses of that call; None: they are to be written at once.
        pending: Bytes that the client did not take yet, and which the call leaves to the loop.
    """

    __slots__ = ("call", "framing", "heads", "keep_alive", "left", "outbox", "pending")

    def __init__(self, heads: Heads) -> None:
        self.heads = heads
        self.framing = NO_BODY
        self.left = 0
        self.keep_alive = False
        self.call: Any = None
        self.outbox: WholeResponses | None = None
        self.pending = b""

    @property
    def cut_shows(self) -> bool:
        """Tell whether a client that reads on sees from what has begun that it is cut short."""
        return self.framing in {COUNTED, MARKED}

    def whole(self, line: bytes, status: int, headers: Fields, body: bytes, length: int, now: float) -> bool:
        """Write a response of ordinary size with nothing special to it; False: it has, nothing is written.

        ``length`` is that of the body where ``headers`` do not say it; -1: not known. ``now`` is monotonic.
        """
        raise NotImplementedError

    def begin(self, line: bytes, status: int, headers: Fields, known: int) -> None:
        """Make the head. ``known`` is the length of the whole body where that is at hand, else -1.

        Nothing is written yet, and `error` may take its place.

        Raises:
            HeaderError: A field cannot be sent as it is.
        """
        raise NotImplementedError

    def block(self, data: bytes | memoryview) -> None:
        """Write a part of the body, that fits; empty: only the head, if that waits.

        A call waits here until the client has taken enough (`waiting`); in the loop ``write_paused`` says so.

        Raises:
            ClientGone: A call's client is gone.
        """
        raise NotImplementedError

    def large_block(self, size: int) -> None:
        """Write the head, if that waits: the pieces of a block of ``size`` bytes come next, by `block`."""
        raise NotImplementedError

    def end(self, data: bytes = b"", *, trailers: bool = False) -> None:
        """Write the last part. With ``trailers`` what follows are those, and only they end a MARKED body."""
        raise NotImplementedError

    def file_output(self) -> FileOutput | None:
        """Return where the kernel can send a file as the body; None: the body has to be written."""
        return None

    def trailers(self, fields: list[tuple[bytes, bytes]], *, last: bool) -> None:
        """Write fields behind a MARKED body."""
        raise NotImplementedError

    def hints(self, headers: Fields, *, too_late: bool = False) -> None:
        """Write 103 (Early Hints), if there are fields for one and the client knows what that is.

        Raises:
            HeaderError: A field cannot be sent as it is; also where it is ``too_late`` to write it.
        """
        raise NotImplementedError

    def ask_for_body(self) -> None:
        """Write 100 (Continue)."""
        raise NotImplementedError

    def error(self, status: int) -> int:
        """Write a short response of our own, after which the connection ends; return its size."""
        raise NotImplementedError

    # ---- of calls

    def distant(self, far: Any, put: Callable[[Any, int], None]) -> Response:
        """Return one for the same request that is written in another thread, where the exchange is ``far``.

        What it makes goes to ``put``, each piece with its size, and from there to `pass_on`.
        """
        raise NotImplementedError

    def begins(self, pieces: list[Any]) -> bool:
        """Tell whether there is more in what a distant response has made than interim responses."""
        raise NotImplementedError

    def pass_on(self, pieces: list[Any]) -> None:
        """Write what a distant response has made.

        Raises:
            ClientGone: Nobody takes it.
        """
        raise NotImplementedError

    @property
    def client_gone(self) -> bool:
        """Tell whether the client is known to be gone: every further write raises ClientGone."""
        return False

    def write(self, data: bytes | memoryview) -> None:
        """Write what was made before: of a whole response that an outbox had taken.

        Raises:
            ClientGone: Nobody takes it.
        """
        raise NotImplementedError

    def file(self, fd: int, position: int, count: int) -> int:
        """Write a part of a regular file as the body, that fits; return how much it was short of."""
        raise NotImplementedError

    def waiting(self) -> ClientTime:
        """Return what counts the waits of the call."""
        raise NotImplementedError

    def waited_s(self, now: float) -> float:  # noqa: ARG002 - for those that wait
        """Return how long the call has waited for its client so far; any thread."""
        return 0.0

    def finish(self, *, keep_alive: bool) -> None:
        """The call is over: have the loop write what is left of the response; go on by `Exchange.responded`.

        Its `end` may be missing where a COUNTED body has all its bytes: the application raised behind them.
        In the loop's thread, as the two below.
        """
        raise NotImplementedError

    def cut(self, *, shows: bool) -> None:
        """The call is over, and its response is not whole; ``shows``: whoever reads on sees that.

        `Exchange.cut`, and `Exchange.responded` if that says so.
        """
        raise NotImplementedError

    def drop(self) -> None:
        """Nothing more is written of it: its client was answered otherwise."""
        raise NotImplementedError
