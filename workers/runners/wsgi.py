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
from typing import TYPE_CHECKING

from gwctl.workers.balancing.queue_limit import LATE, REQUEST_START
from gwctl.workers.drain import LAST_WORDS_S
from gwctl.workers.exchange import tls_metadata
from gwctl.workers.exchange.body_buffer import BodyBuffer, not_kept
from gwctl.workers.exchange.descriptor_limit import descriptors_max
from gwctl.workers.exchange.outbox import Outbox
from gwctl.workers.exchange.response_spool import FILES_PART, SpoolBudget
from gwctl.workers.exchange.runner import Runner
from gwctl.workers.exchange.states import BODY, BUSY
from gwctl.workers.observe import request_ids
from gwctl.workers.wsgi.body_calls import BodyCall, StreamCall
from gwctl.workers.wsgi.body_stream import READ_BYTES, BodyStream
from gwctl.workers.wsgi.call import WsgiCall
from gwctl.workers.wsgi.early_hints import EarlyHints
from gwctl.workers.wsgi.environ import BODY_FIELDS, Environ, EnvironBuilder, Fields

if TYPE_CHECKING:
    import asyncio

    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.bridge.event_loop import AsgiBridge
    from gwctl.workers.exchange.body_budget import BodyBudget
    from gwctl.workers.exchange.client_wait import ClientWait
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.forwarded import OriginalRequest
    from gwctl.workers.exchange.service import Service


class Waiting:
    """A call that is to be made when ``body`` is complete, or when the last response has gone out.

    ``streams``: the body is read during the call.
    """

    __slots__ = ("_budget", "_exchange", "body", "environ", "kind", "streams")

    def __init__(
        self,
        exchange: Exchange,
        environ: Environ,
        kind: type[WsgiCall],
        budget: BodyBudget,
        body: BodyBuffer | None = None,
        *,
        streams: bool = False,
    ) -> None:
        self._exchange = exchange
        self._budget = budget
        self.environ = environ
        self.kind = kind
        self.body = body
        self.streams = streams

    def body_end(self) -> None:
        """The runner is told."""

    def fail(self, status: int) -> bool:  # noqa: ARG002 - there is no application yet
        return False

    def is_full(self) -> bool:
        """Bodies go to memory and then to disk, never to a halt."""
        return False

    def is_due(self) -> bool:
        return False

    def on_room(self) -> None:
        self._exchange.tell_when_empty(False)

    def lose_client(self) -> None:
        """Whoever tells of it abandons this first."""

    def abandon(self) -> None:
        if self.body is not None:
            self.body.close()
        else:
            close_body(self.environ, self._budget)


def close_body(environ: Environ, budget: BodyBudget) -> None:
    """Let go of a body that is complete and that no call will read."""
    file = environ["wsgi.input"]
    file.close()
    budget.release(file)


class WsgiRunner(Runner):
    """Base of `SyncRunner` and `ThreadsRunner`. Runs in the loop's thread."""

    multithread = False
    requests_wait = True

    def __init__(self, service: Service, balancing: Balancing, outbox: Outbox) -> None:
        super().__init__(outbox)
        self.service = service
        context = service.context
        self._siblings = balancing.siblings
        self._handover = balancing.handover
        self._balancing = balancing
        self._queue_limit = balancing.queue
        self.spool_budget = SpoolBudget(
            context.limits.response_spool_bytes_max, descriptors_max() // FILES_PART
        )
        self.extend_timeout: Callable[[float], None] | None = None
        """For the application, as ``gwctl.extend_timeout``; None where its requests have no limit."""
        self._environs = EnvironBuilder(context.assignment, self.multithread, context.notice)
        self._builder: EnvironBuilder | AsgiBridge = self._environs
        self._streams = not context.settings.body_buffering
        self._bytes_max = context.limits.body_bytes_max
        self._at_hand_max = -1 if self._streams else context.limits.body_memory_bytes
        self._new_stream: Callable[[Service, Exchange], BodyStream] = self.stream_class()
        self.bridge: AsgiBridge | None = None  # to an ASGI application's event loop
        self._call_kind: type[WsgiCall] = WsgiCall
        self._body_kind: type[WsgiCall] = BodyCall
        self._stream_kind: type[WsgiCall] = StreamCall

    def stream_class(self) -> Callable[[Service, Exchange], BodyStream]:
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

    def call(self, exchange: Exchange, environ: Environ, kind: type[WsgiCall] = WsgiCall) -> None:
        """Have the application called, now or in turn."""
        raise NotImplementedError

    # ---- an ASGI application, on a loop of its own

    @property
    def application_loop(self) -> asyncio.AbstractEventLoop | None:
        return None if self.bridge is None else self.bridge.loop

    @property
    def application_thread(self) -> int:
        return 0 if self.bridge is None else self.bridge.thread_id

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

    def on_connect(self, exchange: Exchange) -> None:
        if self.bridge is not None:
            exchange.base = self.bridge.for_connection(exchange)
            return
        base = self._environs.for_connection(exchange)
        ssl = exchange.ssl
        if ssl is not None:
            base |= tls_metadata.environ(ssl)
        if self.extend_timeout is not None:
            base["gwctl.extend_timeout"] = self.extend_timeout
        base["wsgi.early_hints"] = EarlyHints(exchange.response)
        exchange.base = base

    def on_stream(self, exchange: Exchange, connection: Exchange) -> None:
        if self.bridge is not None:
            exchange.base = connection.base
            return
        exchange.base = base = connection.base.copy()
        base["wsgi.early_hints"] = EarlyHints(exchange.response)

    def forwarded(self, original: OriginalRequest) -> Environ:
        """Return what ``original`` changes in the environ or scope that a connection's requests share."""
        return self._builder.forwarded(original)

    def begin(self, exchange: Exchange) -> None:
        """Take the request in ``exchange``.

        Raises:
            Refused: It is not served.
        """
        environ = self._builder.build(exchange)
        notable = self._builder.notable
        if self._queue_limit.behind or (notable is not None and REQUEST_START in notable):
            self._queue_limit.arrives(exchange, notable)
        elif exchange.arrived_at:
            exchange.arrived_at = 0.0  # what was said of the request before
        if (
            notable is not None and not notable.keys().isdisjoint(BODY_FIELDS)
        ) or not exchange.announces_bodies:
            self._begin_body(exchange, environ, notable or {})
            return
        exchange.fields.reset()
        self.call(exchange, environ, self._call_kind)

    def _begin_body(self, exchange: Exchange, environ: Environ, fields: Fields) -> None:
        body = exchange.take_body(fields, self._bytes_max, self._at_hand_max)
        if body:
            environ["wsgi.input"] = BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
            self.call(exchange, environ, self._body_kind)
            return
        if body is not None:
            self.call(exchange, environ, self._call_kind)
            return
        service = self.service
        if self._streams:
            service.body_budget.check_memory()
            if b"transfer-encoding" in fields:
                environ["HTTP_TRANSFER_ENCODING"] = "chunked"
            self._begin_stream(exchange, environ)
            return
        service.body_budget.check(exchange.expected_bytes)
        buffer = BodyBuffer(service.context.limits, service.body_budget)
        exchange.request = Waiting(exchange, environ, self._body_kind, service.body_budget, buffer)
        exchange.read_body(buffer, BODY)

    def _begin_stream(self, exchange: Exchange, environ: Environ) -> None:
        if exchange.held_bytes():
            self._hold(exchange, environ, self._stream_kind, streams=True)
            return
        stream = self._new_stream(self.service, exchange)
        environ["wsgi.input"] = BufferedReader(stream, READ_BYTES)
        exchange.request = stream
        exchange.read_body(stream, BUSY)
        exchange.attention = True  # at its end there is more to see to than usual
        if exchange.eof and exchange.receiving:
            stream.fail(400)
        if stream.failure:
            exchange.refuse(stream.failure, "its body is not sound, or not whole")
        else:
            self.call(exchange, environ, self._stream_kind)

    def drop(self, exchange: Exchange, environ: Environ, verdict: int, waited_s: float) -> None:
        """Do not make a call for which nobody waits; answer with 503 if somebody is there (`QueueLimit`)."""
        self._queue_limit.note(exchange, verdict, waited_s)
        close_body(environ, self.service.body_budget)
        if verdict == LATE:
            exchange.refuse(503, "queue_timeout_s is over")
        elif exchange.lost:
            exchange.responded(False, monotonic())
        else:
            exchange.drop()

    def body_complete(self, exchange: Exchange) -> None:
        waiting: Waiting = exchange.request
        exchange.request = None
        environ, body = waiting.environ, waiting.body
        if waiting.streams:
            self._begin_stream(exchange, environ)
            return
        if body is not None:
            try:
                environ["wsgi.input"] = body.reader()
            except OSError as error:
                body.close()
                status = not_kept(exchange.what(), self.service.context.throttled, error)
                exchange.refuse(status, "its body could not be kept")
                return
            environ["CONTENT_LENGTH"] = str(body.size)
        self.call(exchange, environ, waiting.kind)

    def hold(self, exchange: Exchange, environ: Environ, kind: type[WsgiCall]) -> None:
        """Make the call later: what is still held of the last response goes out first.

        Calls write to the socket themselves and must not overtake it.
        """
        self._hold(exchange, environ, kind)

    def _hold(
        self, exchange: Exchange, environ: Environ, kind: type[WsgiCall], *, streams: bool = False
    ) -> None:
        exchange.request = Waiting(exchange, environ, kind, self.service.body_budget, streams=streams)
        exchange.state = BODY
        exchange.tell_when_empty(True)  # pauses now, resumes when all is written

    def finish(self, call: WsgiCall) -> None:
        """Give the connection of ``call``, which is over, back to the loop."""
        if call.aborted:
            call.response.cut(shows=call.cut_shows)
        else:
            call.response.finish(keep_alive=call.keep_alive)

    def waits_for_client(self, wait: ClientWait) -> None:
        """A call begins or ends to wait for its client, or goes on to; that call's thread."""

    def others_wait(self, exchange: Exchange) -> bool:
        """Tell whether others would be served if the call for ``exchange`` did not wait for its client.

        Asked by that call's thread.
        """
        raise NotImplementedError

    # ---- news of the connection

    def give_up(self, why: str) -> None:  # noqa: ARG002 - as in AsgiRunner
        """A WSGI call cannot be cancelled; those that have not begun go on to wait."""
        if self.bridge is not None:
            self.bridge.give_up(LAST_WORDS_S)

    def refused(self, exchange: Exchange) -> None:
        exchange.abandon()

    def on_client_finished(self, exchange: Exchange) -> None:
        """The client sends no more: of concern only to an application that reads its body."""
        if self.bridge is not None:
            if exchange.response.call is not None:
                exchange.response.call.client_finished()
        elif exchange.receiving and exchange.request is not None:
            exchange.request.fail(400)

    def on_disconnect(self, exchange: Exchange) -> None:
        """The connection is gone: WSGI notices at the next write, or at once when it reads its body."""
        if self.bridge is not None and exchange.response.call is not None:
            exchange.response.call.client_lost()
        if self.bridge is None and exchange.base is not None:
            exchange.base["wsgi.early_hints"].let_go()
        if exchange.request is not None:
            exchange.request.lose_client()

    def request_id(self, environ: Environ) -> object:
        """What is where the id of a request was put; None: nothing."""
        return environ.get(request_ids.KEY) if self.bridge is None else self.bridge.request_id(environ)
