"""What the two WSGI runners share: from a parsed head to a call that can be made.

The body is received in full before the application is called, so ``wsgi.input`` never waits;
with ``body_buffering = false`` it is read while the application runs. Subclasses say in `call`
which thread makes the call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BufferedReader, BytesIO
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from gwctl.workers.balancing.queue_limit import LATE, REQUEST_START
from gwctl.workers.drain import LAST_WORDS_S
from gwctl.workers.http1.body_buffer import BodyBuffer, not_kept
from gwctl.workers.http1.body_framing import Framer
from gwctl.workers.http1.outbox import Outbox
from gwctl.workers.http1.request_rules import frame_body, wants_continue
from gwctl.workers.http1.runner import Runner
from gwctl.workers.http1.states import BODY, BUSY, CLOSING
from gwctl.workers.transport import tls_metadata
from gwctl.workers.wsgi.body_calls import BodyCall, StreamCall
from gwctl.workers.wsgi.body_stream import READ_BYTES, BodyStream
from gwctl.workers.wsgi.call import WsgiCall
from gwctl.workers.wsgi.early_hints import EarlyHints
from gwctl.workers.wsgi.environ import BODY_FIELDS, Environ, EnvironBuilder, Fields
from gwctl.workers.wsgi.file_sender import FileTail
from gwctl.workers.wsgi.response_spool import SpoolBudget

if TYPE_CHECKING:
    import asyncio

    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.bridge.event_loop import AsgiBridge
    from gwctl.workers.http1.connection import ConnectionBase
    from gwctl.workers.http1.forwarded import OriginalRequest
    from gwctl.workers.http1.service import Service
    from gwctl.workers.wsgi.client_wait import ClientWait


class Waiting(NamedTuple):
    """A call that is to be made when ``body`` is complete, or when the last response has gone out."""

    environ: Environ
    body: BodyBuffer | None
    kind: type[WsgiCall]
    stream: tuple[Framer, bool] | None = None
    """What frames the body that is read during the call, and whether the client waits to be asked for it."""


class WsgiRunner(Runner):
    """Base of `SyncRunner` and `ThreadsRunner`. Runs in the loop's thread."""

    multithread = False
    requests_wait = True

    def __init__(self, service: Service, balancing: Balancing, outbox: Outbox) -> None:
        super().__init__(service, outbox)
        context = service.context
        self._siblings = balancing.siblings
        self._handover = balancing.handover
        self._balancing = balancing
        self._queue_limit = balancing.queue
        self.spool_budget = SpoolBudget(context.limits.response_spool_bytes_max)
        self.extend_timeout: Callable[[float], None] | None = None
        """For the application, as ``gwctl.extend_timeout``; None where its requests have no limit."""
        self._environs = EnvironBuilder(context.assignment, self.multithread, context.notice)
        self._builder: EnvironBuilder | AsgiBridge = self._environs
        self._memory_bytes = context.limits.body_memory_bytes
        self._streams = not context.settings.body_buffering
        self._new_stream: Callable[[ConnectionBase], BodyStream] = self.stream_class()
        self.bridge: AsgiBridge | None = None  # to an ASGI application's event loop
        self._call_kind: type[WsgiCall] = WsgiCall
        self._body_kind: type[WsgiCall] = BodyCall
        self._stream_kind: type[WsgiCall] = StreamCall

    def stream_class(self) -> Callable[[ConnectionBase], BodyStream]:
        """Return what makes a body that is read during the call."""
        raise NotImplementedError

    def bridge_if_asgi(self, extend: Callable[[WsgiCall, float], None] | None) -> None:
        """Make calls reach an ASGI application, if that is what is served."""
        if self.service.context.interface != "asgi":
            return
        from gwctl.workers.bridge.call import BridgedBodyCall, BridgedCall  # noqa: PLC0415 - WSGI does without
        from gwctl.workers.bridge.event_loop import AsgiBridge, BridgedStream  # noqa: PLC0415

        self._builder = self.bridge = AsgiBridge(self.service, self._balancing, extend)
        self._new_stream = partial(BridgedStream, self.bridge)
        self._call_kind = BridgedCall
        self._body_kind = self._stream_kind = BridgedBodyCall

    def call(self, connection: ConnectionBase, environ: Environ, kind: type[WsgiCall] = WsgiCall) -> None:
        """Have the application called, now or in turn."""
        raise NotImplementedError

    # ---- an ASGI application, on a loop of its own

    @property
    def application_loop(self) -> asyncio.AbstractEventLoop | None:
        return None if self.bridge is None else self.bridge.loop

    def explain(self, tell: Callable[[], None]) -> None:
        if self.bridge is not None:
            self.bridge.explain(tell)

    def interrupt(self) -> None:
        if self.bridge is not None:
            self.bridge.interrupt()

    def on_drain(self, now: float, *, ending: bool) -> None:
        if self.bridge is not None:
            self.bridge.streams.drain(now, ending=ending)

    def on_stay(self) -> None:
        if self.bridge is not None:
            self.bridge.streams.stay()

    def on_sweep(self, now: float) -> None:
        if self.bridge is not None:
            self.bridge.streams.check(now)

    @property
    def background(self) -> int:
        return 0 if self.bridge is None else self.bridge.background

    # ---- connections and requests

    def on_connect(self, connection: ConnectionBase) -> None:
        if self.bridge is not None:
            connection.base = self.bridge.for_connection(connection)
            connection.hints = EarlyHints()
            return
        base = self._environs.for_connection(*connection.addresses())
        if connection.tls is not None:
            base |= tls_metadata.environ(connection.tls.ssl)
        if self.extend_timeout is not None:
            base["gwctl.extend_timeout"] = self.extend_timeout
        connection.hints = base["wsgi.early_hints"] = EarlyHints()
        connection.base = base

    def forwarded(self, original: OriginalRequest) -> Environ:
        """Return what ``original`` changes in the environ or scope that a connection's requests share."""
        return self._builder.forwarded(original)

    def begin(self, connection: ConnectionBase) -> None:
        """Take the request in ``connection``'s parser.

        Raises:
            Refused: It is not served.
        """
        environ = self._builder.build(connection)
        notable = self._builder.notable
        if self._queue_limit.behind or (notable is not None and REQUEST_START in notable):
            self._queue_limit.arrives(connection, notable)
        elif connection.arrived_at:
            connection.arrived_at = 0.0  # what was said of the request before
        if notable is not None and not notable.keys().isdisjoint(BODY_FIELDS):
            self._begin_body(connection, environ, notable)
            return
        connection.parser.reset()
        self.call(connection, environ, self._call_kind)

    def _begin_body(self, connection: ConnectionBase, environ: Environ, fields: Fields) -> None:
        framer = frame_body(
            fields.get(b"content-length"),
            fields.get(b"transfer-encoding"),
            connection.http11,
            self.service.context.limits.body_bytes_max,
        )
        expect = fields.get(b"expect")
        expecting = expect is not None and wants_continue(expect, connection.http11)
        connection.parser.reset()
        if framer is None:
            self.call(connection, environ, self._call_kind)
            return
        if self._streams:
            self.service.body_budget.check_memory()
            if b"transfer-encoding" in fields:
                environ["HTTP_TRANSFER_ENCODING"] = "chunked"
            self._begin_stream(connection, environ, framer, expecting)
            return
        body = connection.body_at_hand(framer, self._memory_bytes)
        if body is not None:
            environ["wsgi.input"] = BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
            self.call(connection, environ, self._body_kind)
            return
        self.service.body_budget.check(framer.left)
        buffer = BodyBuffer(self.service.context.limits, self.service.body_budget)
        connection.request = Waiting(environ, buffer, self._body_kind)
        connection.read_body(framer, buffer, BODY, expecting)

    def _begin_stream(
        self, connection: ConnectionBase, environ: Environ, framer: Framer, expecting: bool
    ) -> None:
        if connection.transport.get_write_buffer_size():
            self._hold(connection, Waiting(environ, None, self._stream_kind, (framer, expecting)))
            return
        stream = self._new_stream(connection)
        environ["wsgi.input"] = BufferedReader(stream, READ_BYTES)
        connection.request = stream
        connection.attention = True  # at its end there is more to see to than usual
        connection.read_body(framer, stream, BUSY, expecting)
        if connection.eof and connection.framer is not None:
            stream.fail(400)
        if stream.failure:
            connection.refuse(stream.failure, "its body is not sound, or not whole")
        else:
            self.call(connection, environ, self._stream_kind)

    def drop(self, connection: ConnectionBase, environ: Environ, verdict: int, waited_s: float) -> None:
        """Do not make a call for which nobody waits; answer with 503 if somebody is there (`QueueLimit`)."""
        self._queue_limit.note(connection, verdict, waited_s)
        self._close_body(environ)
        if verdict == LATE:
            connection.refuse(503, "queue_timeout_s is over")
        elif connection.lost:
            connection.responded(False, monotonic())
        else:
            connection.request = None
            connection.state = CLOSING
            connection.transport.abort()

    def body_complete(self, connection: ConnectionBase) -> None:
        environ, body, kind, stream = connection.request
        connection.request = None
        if stream is not None:
            self._begin_stream(connection, environ, *stream)
            return
        if body is not None:
            try:
                environ["wsgi.input"] = body.reader()
            except OSError as error:
                body.close()
                status = not_kept(connection.what(), self.service.context.throttled, error)
                connection.refuse(status, "its body could not be kept")
                return
            environ["CONTENT_LENGTH"] = str(body.size)
        self.call(connection, environ, kind)

    def hold(self, connection: ConnectionBase, environ: Environ, kind: type[WsgiCall]) -> None:
        """Make the call later: what the transport still holds of the last response goes out first.

        Calls write to the socket themselves and must not overtake it.
        """
        self._hold(connection, Waiting(environ, None, kind))

    @staticmethod
    def _hold(connection: ConnectionBase, waiting: Waiting) -> None:
        connection.request = waiting
        connection.state = BODY
        connection.transport.set_write_buffer_limits(high=0)  # pauses now, resumes when all is written

    def finish(self, connection: ConnectionBase, call: WsgiCall) -> None:
        """Give the connection back to the loop after ``call``."""
        if call.aborted:
            call.close_spool()
            if not connection.cut(call.pending, call.cut_shows):
                connection.responded(False, monotonic())
            return
        if call.pending and not connection.lost:
            connection.transport.set_write_buffer_limits(high=0)
            connection.transport.write(call.pending)
        if call.client_wait is not None:
            self._leave_spooled(connection, call)
        tail = connection.request
        if isinstance(tail, FileTail):
            if connection.lost:
                tail.close()
            else:
                tail.start(call.keep_alive)
                return
        connection.responded(call.keep_alive, monotonic())

    @staticmethod
    def _leave_spooled(connection: ConnectionBase, call: WsgiCall) -> None:
        """Have the loop send what of the response is on disk."""
        wait = call.client_wait
        if wait is None or wait.spool is None:
            return
        if not wait.spool.left or connection.lost:
            wait.spool.close()
            return
        connection.request = wait.spool.tail(connection, plain=connection.tls is None)

    def waits_for_client(self, wait: ClientWait) -> None:
        """A call begins or ends to wait for its client, or goes on to; that call's thread."""

    def others_wait(self, connection: ConnectionBase) -> bool:
        """Tell whether others would be served if the call for ``connection`` did not wait for its client.

        Asked by that call's thread.
        """
        raise NotImplementedError

    # ---- news of the connection

    def body_failed(self, connection: ConnectionBase, status: int) -> bool:
        """Tell an application that reads the body of it; False if there is none yet."""
        stream = connection.request
        if not isinstance(stream, BodyStream):
            return False
        stream.fail(status)
        return True

    def abandoned(self, connection: ConnectionBase) -> None:
        """The request will not be complete."""
        waiting = connection.request
        connection.request = None
        if isinstance(waiting, BodyStream):
            waiting.fail(0)
        elif isinstance(waiting, FileTail):
            waiting.close()
        elif waiting is not None:
            self._drop_body(waiting)

    def _drop_body(self, waiting: Waiting) -> None:
        """Let go of what was received of a request whose call will not be made."""
        body = waiting.body
        if body is not None:
            body.close()
        else:
            self._close_body(waiting.environ)

    def _close_body(self, environ: Environ) -> None:
        """Let go of a body that is complete and that no call will read."""
        file = environ["wsgi.input"]
        file.close()
        self.service.body_budget.release(file)

    def give_up(self, why: str) -> None:  # noqa: ARG002 - as in AsgiRunner
        """A WSGI call cannot be cancelled; those that have not begun go on to wait."""
        if self.bridge is not None:
            self.bridge.give_up(LAST_WORDS_S)

    def refused(self, connection: ConnectionBase) -> None:
        self.abandoned(connection)

    def on_client_finished(self, connection: ConnectionBase) -> None:
        """The client sends no more: of concern only to an application that reads its body."""
        if self.bridge is not None:
            if connection.hints.call is not None:
                connection.hints.call.client_finished()
        elif connection.framer is not None:
            self.body_failed(connection, 400)

    def on_disconnect(self, connection: ConnectionBase) -> None:
        """The connection is gone: WSGI notices at the next write, or at once when it reads its body."""
        if self.bridge is not None and connection.hints is not None and connection.hints.call is not None:
            connection.hints.call.client_lost()
        request = connection.request
        if isinstance(request, BodyStream):
            request.fail(0)
        elif isinstance(request, FileTail) and request.started:
            request.close()

    def on_writable(self, connection: ConnectionBase) -> None:
        """The transport is empty again: from here on it may collect what a turn of the loop writes."""
        tail = connection.request
        if isinstance(tail, FileTail) and tail.started:
            tail.proceed()
            return
        connection.transport.set_write_buffer_limits()

    def sink_is_full(self, connection: ConnectionBase) -> bool:
        """Bodies go to memory and then to disk, never to a halt, except to one who reads them."""
        stream = connection.request
        if not isinstance(stream, BodyStream):
            return False
        stream.held_back = True
        return stream.full

    def log_access(
        self, connection: ConnectionBase, environ: Environ, call: WsgiCall, seconds: float
    ) -> None:
        access = self.service.accounts.access
        if access is not None and self.bridge is not None:
            self.bridge.log_access(access, connection, environ, call, seconds)
        elif access is not None:
            access.add(
                connection,
                call.status,
                call.sent,
                seconds,
                environ.get("HTTP_REFERER", "-"),
                environ.get("HTTP_USER_AGENT", "-"),
            )
