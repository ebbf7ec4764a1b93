"""One WSGI call, to the letter of PEP 3333, whatever thread it runs in.

`WsgiCall.run` calls the application, sends what it yields, and closes the iterable, always
once. The response is written as it comes, see `gwctl.workers.exchange.response`: a block that a
generator yields goes out before the next is asked for, and a client that stops reading holds
this call up. What it has yet to take at the end is left to the loop, so that a slow reader of a
small response does not hold the worker.
A response of one block goes to the ``outbox``, if there is one.

No event loop is involved, and the running one must have been hidden by the caller.

A mistake in the application becomes a 500 if nothing was sent yet, else the connection is
aborted, so that the client does not take half a response for a whole one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from types import GeneratorType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from gwctl.workers.app import fork_hooks
from gwctl.workers.app.interruption import Interrupted
from gwctl.workers.exchange.heads import HeaderError, as_list
from gwctl.workers.exchange.response import COUNTED, NO_BODY
from gwctl.workers.observe import request_ids
from gwctl.workers.observe.errors import ClientGone, NotWsgiError
from gwctl.workers.observe.tracebacks import fault, summary
from gwctl.workers.wsgi.early_hints import as_text
from gwctl.workers.wsgi.file_wrapper import FileWrapper, extent

if TYPE_CHECKING:
    import asyncio

    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.response import ClientTime
    from gwctl.workers.exchange.service import Service
    from gwctl.workers.wsgi.environ import Environ

_JOIN_BYTES_MAX: Final = 65536
"""Smaller blocks are sent with the head in one call."""
_CAUSES_MAX: Final = 16
_ID: Final = request_ids.KEY
_SAID: Final = request_ids.SAID
_serve: Final = request_ids.SERVED.set

NOT: Final = 0
BEGUN: Final = 1
WHOLE: Final = 2
"""What of the response was sent: nothing, a head (the response says how its body is framed), or all."""

E = TypeVar("E", bound=BaseException)


class WsgiCall:
    """The call of the application for one request, and its response.

    Attributes:
        own_line: Of the head, as HTTP/1.1 has it: the server's own, besides Date and Server. Only there if
            the application is given `start_with_own_line`.
    """

    own_line: bytes

    __slots__ = (
        "_ended",
        "_environ",
        "_headers",
        "_line",
        "_service",
        "aborted",
        "ended_at",
        "exchange",
        "halves",
        "head_sent",
        "keep_alive",
        "own_line",
        "response",
        "sent",
        "status",
    )

    def __init__(self, service: Service, exchange: Exchange, environ: Environ) -> None:
        """``exchange.response.outbox`` is where its whole response goes to."""
        self._service = service
        self.exchange = exchange
        self._environ = environ
        self.response = exchange.response
        self._headers: Any = None
        self._line = b""
        self._ended = False
        self.status = 0
        self.head_sent = NOT
        self.keep_alive = False
        self.aborted = False
        self.ended_at = 0.0
        self.halves: list[bool] | None = (
            None  # what is yet to be done of sending and ending: `threads_outbox`
        )
        self.sent = 0

    has_body: ClassVar[bool] = False
    """The request has one: more than its head was read, or is to be."""

    @property
    def response_headers(self) -> Any:
        """Those that the application has given."""
        return self._headers or ()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """Of an ASGI application: where the request runs."""
        return None

    @property
    def given_up(self) -> bool:
        """Tell whether `give_up` has ended it."""
        return False

    def give_up(self, status: int) -> bool:  # noqa: ARG002 - for those that can
        """Have the call end soon, answered with ``status`` or cut; False: a thread cannot be ended."""
        return False

    @property
    def answered(self) -> bool:
        """Tell whether the client has got the whole response, whatever the call goes on to do."""
        return self._ended and bool(self.head_sent) and not (self.aborted or self.response.pending)

    @property
    def cut_shows(self) -> bool:
        """Tell whether a client that reads on sees from the response itself that it is cut short."""
        return self.head_sent == BEGUN and self.response.cut_shows and not self.response.client_gone

    @property
    def target(self) -> str:
        return self.exchange.target

    def what(self) -> str:
        return request_ids.named(self.exchange.what(), self._environ.get(request_ids.KEY))

    def waiting(self) -> ClientTime:
        return self.response.waiting()

    def run(self) -> None:
        """Call, respond, close. Never raises: ``keep_alive`` and ``aborted`` say how it went."""
        result: Any = None
        response = self.response
        response.call = self
        context = self._service.context
        ids = context.ids
        try:
            if ids is None:
                result = context.application(self._environ, self.start_response)
            else:  # what a call more would cost is a third of what this does
                environ = self._environ
                if _SAID in environ:
                    request_id, self.own_line, _ = ids.of_environ(environ)
                else:
                    try:
                        request_id, self.own_line, _ = ids.made.pop()
                    except IndexError:
                        request_id, self.own_line, _ = ids.new()
                environ[_ID] = environ[ids.variable] = request_id
                _serve(request_id)
                start = self.start_with_own_line if ids.in_response else self.start_response
                result = context.application(environ, start)
            if fork_hooks.is_child:
                fork_hooks.end_child()
            if type(result) is list and len(result) == 1 and type(result[0]) is bytes and not self.head_sent:
                data = result[0]  # hello world, and what wraps Flask's and Django's responses
                size = len(data)
                if size > _JOIN_BYTES_MAX or not self._usual(data, size):
                    self._whole(data)
            else:
                self._respond(result)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: a view that exits must not end the worker
            fork_hooks.end_if_child(None if response.client_gone else error)
            self._failed(error)
        self._ended = True
        response.call = None
        if type(result) is not list:
            self.ended_at = 0.0
            self._close(result)
            if fork_hooks.is_child:
                fork_hooks.end_child()

    # ---- what the application calls

    def start_response(
        self,
        status: Any,  # were its type named, compiled code would refuse others before we can say why
        headers: Any,
        exc_info: Any = None,
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self.head_sent and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it refers to this frame
        elif self._headers is not None:
            raise NotWsgiError("start_response() was called a second time without exc_info (PEP 3333)")
        if self._ended:
            raise NotWsgiError("start_response() was called after the request had ended")
        self._line, self.status = self.response.heads.wsgi_status(status)
        if type(headers) is not list:
            if headers is None:
                raise HeaderError("the headers must be a list of pairs (PEP 3333), not None")
            headers = as_list(headers)  # an iterator gives its fields once
        self._headers = headers
        return self.write

    def start_with_own_line(self, status: Any, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        """Do the same for a head that has ``own_line``, behind its first line."""
        if exc_info is None and self._headers is None and type(headers) is list and not self._ended:
            line, self.status = self.response.heads.wsgi_status(status)  # as it usually is, in a call less
            self._headers = headers
            self._line = line + self.own_line
            return self.write
        write = self.start_response(status, headers, exc_info)
        self._line += self.own_line
        return write

    def write(self, data: Any) -> None:
        if self._ended:
            raise NotWsgiError("write() was called after the request had ended")
        data = _as_bytes(data)
        if data and not self._block(data):
            raise NotWsgiError("more bytes were written than Content-Length says; cut")

    def hint(self, headers: Any) -> None:
        """Send 103 (Early Hints) unless the response has begun or the client can't take it."""
        if self._ended or self.head_sent or not self.exchange.http11:
            return
        self.response.outbox = None  # or the response could overtake what is pending
        self.response.hints([as_text(header) for header in headers])

    # ---- the response

    def _respond(self, result: Any) -> None:
        kind = type(result)
        if kind is list or kind is tuple:
            known = sum([len(_as_bytes(block)) for block in result])
        elif kind is bytes:
            self._service.warn_bare_bytes()
            known = len(result)
            result = (result,)
        elif result is None:
            raise NotWsgiError("the application returned None; WSGI wants an iterable of bytes (PEP 3333)")
        else:
            if kind is FileWrapper and self._file(result.filelike):
                return
            known = -1
            if kind is GeneratorType:
                self.response.outbox = None  # who knows what it does after its last block
        for block in result:
            if fork_hooks.is_child:
                fork_hooks.end_child()
            if not self.head_sent and self._complete(block):
                continue
            if block and not self._block(_as_bytes(block), known):
                self._service.context.log.warning(
                    f"{self.what()}: more bytes were yielded than Content-Length says; cut"
                )
                break
            if self.head_sent and self.response.framing == NO_BODY:
                break  # HEAD: nobody sees the rest, which may have no end
            if type(block) is str:
                _as_bytes(block)
        self._end(known)

    def _file(self, filelike: Any) -> bool:
        """Send what is left of a regular file; False if it is not one and has to be read."""
        left = extent(filelike)
        response = self.response
        begins = not self.head_sent
        if left is None or not (begins or response.framing <= COUNTED):
            return False
        if begins:
            self._begin(left.size)
        if response.framing == NO_BODY:
            response.end()
            return True
        count = min(left.size, response.left)
        if begins and count <= _JOIN_BYTES_MAX:
            block = os.pread(left.fd, count, left.position)
            response.block(block)
            short = count - len(block)
        else:
            short = response.file(left.fd, left.position, count)
        self.sent += count - short
        response.left -= count - short
        self._end(-1)
        return True

    def _whole(self, data: bytes) -> None:
        """Send a response that consists of one block."""
        size = len(data)
        self._begin(size)
        response = self.response
        if response.framing == NO_BODY:
            response.end()
        elif size != response.left:
            self._left_over(data)
        else:
            self.sent = size
            response.end(data)
            response.left = 0  # not before: what is raised meanwhile leaves it cut short

    def _complete(self, block: Any) -> bool:
        """Send a first block that is all that Content-Length says; False, and nothing sent, if it is not."""
        if type(block) is not bytes or not 0 < len(block) <= _JOIN_BYTES_MAX or not self._usual(block, -1):
            return False
        self.head_sent = BEGUN
        self.response.framing = COUNTED
        self.response.left = 0  # what may follow is cut
        return True

    def send_now(self, response: bytes) -> None:
        """Send a whole response that was taken; any thread. Never raises."""
        try:
            self.response.write(response)
        except ClientGone:
            self.keep_alive = False
            self.aborted = True

    def _usual(self, data: bytes, length: int) -> bool:
        """Send ``data`` with a head that has nothing special to it; False, and nothing sent, if it has.

        ``length`` is that of the body where the application does not say it; -1: not known.
        """
        # All of it first: whatever is raised from now on, nothing else is to be sent; and another thread may
        # have it in hand before this one goes on, and say otherwise.
        self.ended_at = now = monotonic()
        self.head_sent = WHOLE
        self.keep_alive = True
        self.sent = len(data)
        if self.response.whole(self._line, self.status, self._headers, data, length, now):
            return True
        self.ended_at = 0.0
        self.head_sent = NOT
        self.keep_alive = False
        self.sent = 0
        return False

    def _close(self, result: Any) -> None:
        try:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        except BaseException as error:  # noqa: BLE001 - the response is out already
            self._log_failure(error, "close() of its iterable raised")

    def _left_over(self, data: bytes) -> None:
        """Send one block that is longer or shorter than the application's Content-Length."""
        response = self.response
        if len(data) > response.left:
            self._service.context.log.warning(
                f"{self.what()}: the body is longer than Content-Length says; cut"
            )
            data = data[: response.left]
        self.sent = len(data)
        response.block(data)
        response.left -= len(data)
        self._end(-1)

    def _begin(self, known: int) -> None:
        if self._headers is None:
            raise NotWsgiError(
                "the application did not call start_response() before its first block (PEP 3333)"
            )
        response = self.response
        response.begin(self._line, self.status, self._headers, known)
        self.keep_alive = response.keep_alive
        self.head_sent = BEGUN

    def _block(self, block: bytes, known: int = -1) -> bool:
        """Send one block that is not empty; return False if it was cut at Content-Length."""
        begins = not self.head_sent
        if begins:
            self._begin(known)
        response = self.response
        fits = True
        if response.framing == NO_BODY:
            block = b""
        elif response.framing == COUNTED:
            if len(block) > response.left:
                block = block[: response.left]
                fits = False
            if not (block or begins):
                return fits  # the response is complete, and may be in other hands
        self.sent += len(block)
        response.block(block)
        if response.framing == COUNTED:
            response.left -= len(block)  # not before: what is raised meanwhile leaves it cut short
        return fits

    def _end(self, known: int) -> None:
        response = self.response
        if response.client_gone:  # and the application made nothing of it
            raise ClientGone
        if not self.head_sent:
            self._begin(max(known, 0))
        if response.framing != COUNTED or not response.left:
            response.end()
        else:
            response.block(b"")  # the head
            self.keep_alive = False
            self.aborted = True
            self._service.context.log.error(
                f"{self.what()}: the body is {response.left} bytes shorter than Content-Length says; "
                f"{self.exchange.aborted_as}"
            )

    # ---- mistakes

    def _failed(self, error: BaseException) -> None:
        """Answer 500 if nothing was sent yet, else abort unless all was sent; always say why in the log."""
        if isinstance(error, Interrupted):  # with this process, and so the connection
            self.keep_alive = False
            self.aborted = True
            self.head_sent = WHOLE
            return
        response = self.response
        if (
            self.head_sent == BEGUN
            and response.framing == COUNTED
            and not (response.left or response.client_gone)
        ):
            self._log_failure(error, "the application raised after its response")
            return
        self.keep_alive = False
        if response.client_gone and caused_by(error, ClientGone) is not None:
            self.aborted = True
            self._service.context.log.debug(f"{self.what()}: the client went away before it had the response")
            return
        if isinstance(error, NotWsgiError) or not self.head_sent:
            self._log_failure(error, "the application raised")
        else:
            self._log_failure(error, f"the application raised in mid-response; {self.exchange.aborted_as}")
        if self.head_sent:
            self.aborted = True
        else:
            self._answer(500)

    def _answer(self, status: int) -> None:
        """Send a response of our own."""
        self.status = status
        self.head_sent = WHOLE
        try:
            self.sent = self.response.error(status)
        except ClientGone:
            self.aborted = True

    def _log_failure(self, error: BaseException, what: str) -> None:
        if isinstance(error, NotWsgiError):
            self._service.context.log.error(f"{self.what()}: {error}")
        else:
            text = f"{self.what()}: {what}: {summary(error)}"
            self._service.context.log.error(text, fault=fault(error))


def caused_by(error: BaseException, kind: type[E]) -> E | None:
    """Return the ``kind`` that ``error`` is, or was raised because of."""
    seen: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if seen is None or isinstance(seen, kind):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _as_bytes(block: Any) -> bytes:
    if isinstance(block, bytes):
        return block
    if isinstance(block, str):
        raise NotWsgiError(
            "the application yielded str; the body of a WSGI response is bytes (PEP 3333). "
            "Yield bytes: text.encode() or b'...'"
        )
    if isinstance(block, bytearray | memoryview):
        return bytes(block)
    raise NotWsgiError(
        f"the application yielded {type(block).__name__}; the body of a WSGI response is bytes (PEP 3333)"
    )
