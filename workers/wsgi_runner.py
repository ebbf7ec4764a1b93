"""What the two WSGI runners share: from a parsed head to a call that can be made.

The body is received in full before the application is called, so ``wsgi.input`` never waits.
Subclasses say in `call` which thread makes the call.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from gwctl.workers.body import BodyBuffer
from gwctl.workers.early_hints import EarlyHints
from gwctl.workers.environ import BODY_FIELDS, Environ, EnvironBuilder, Fields
from gwctl.workers.policy import frame_body, wants_continue
from gwctl.workers.states import BODY
from gwctl.workers.wsgi import WsgiCall

if TYPE_CHECKING:
    from gwctl.workers.connection import ConnectionBase
    from gwctl.workers.forwarded import Facts
    from gwctl.workers.server import Server


class WsgiRunner:
    """Base of `SyncRunner` and `ThreadsRunner`. Runs in the loop's thread."""

    multithread = False

    def __init__(self, server: Server) -> None:
        self.server = server
        self._builder = EnvironBuilder(server.assignment, self.multithread)

    @property
    def active(self) -> int:
        """Requests in the application now."""
        raise NotImplementedError

    def call(self, connection: ConnectionBase, environ: Environ) -> None:
        raise NotImplementedError

    def reserve(self) -> None:
        """Nothing but the connection's own descriptor is needed."""

    def release(self) -> None:
        """Nothing was reserved."""

    def accepted(self, connection: ConnectionBase) -> None:
        """Of no concern before its transport stands."""

    def connected(self, connection: ConnectionBase) -> None:
        base = self._builder.for_connection(*self.server.addresses(connection))
        connection.hints = base["wsgi.early_hints"] = EarlyHints()
        connection.base = base

    def forwarded(self, facts: Facts) -> Environ:
        """Return what ``facts`` change in the environ that a connection's requests share."""
        return self._builder.forwarded(facts)

    def begin(self, connection: ConnectionBase) -> None:
        """Take the request in ``connection``'s parser.

        Raises:
            Refused: It is not served.
        """
        environ = self._builder.build(connection)
        notable = self._builder.notable
        if notable is not None and not notable.keys().isdisjoint(BODY_FIELDS):
            self._begin_body(connection, environ, notable)
            return
        connection.parser.reset()
        self.call(connection, environ)

    def _begin_body(self, connection: ConnectionBase, environ: Environ, fields: Fields) -> None:
        framer = frame_body(
            fields.get(b"content-length"),
            fields.get(b"transfer-encoding"),
            connection.http11,
            self.server.limits.body_bytes_max,
        )
        expect = fields.get(b"expect")
        expecting = expect is not None and wants_continue(expect, connection.http11)
        connection.parser.reset()
        if framer is None:
            self.call(connection, environ)
            return
        buffer = BodyBuffer(self.server.limits)
        connection.request = environ, buffer
        connection.read_body(framer, buffer, BODY, expecting)

    def body_complete(self, connection: ConnectionBase) -> None:
        environ, buffer = connection.request
        connection.request = None
        if buffer is not None:
            environ["CONTENT_LENGTH"] = str(buffer.size)
            environ["wsgi.input"] = buffer.reader()
        self.call(connection, environ)

    def hold(self, connection: ConnectionBase, environ: Environ) -> None:
        """Make the call later: what the transport still holds of the last response goes out first.

        Calls write to the socket themselves and must not overtake it.
        """
        connection.request = environ, None
        connection.state = BODY
        connection.transport.set_write_buffer_limits(high=0)  # pauses now, resumes when all is written

    def finish(self, connection: ConnectionBase, call: WsgiCall) -> None:
        """Give the connection back to the loop after ``call``."""
        if call.aborted:
            connection.abort()
            connection.responded(False, monotonic())
            return
        if call.pending and not connection.lost:
            connection.transport.set_write_buffer_limits(high=0)
            connection.transport.write(call.pending)
        connection.responded(call.keep_alive, monotonic())

    # ---- news of the connection

    def has_responded(self, connection: ConnectionBase) -> bool:  # noqa: ARG002 - as in AsgiRunner
        """Tell whether a request whose body is still coming has begun to be answered: never here."""
        return False

    def abandoned(self, connection: ConnectionBase) -> None:
        """The request will not be complete."""
        if connection.request is not None:
            _environ, buffer = connection.request
            if buffer is not None:
                buffer.close()
            connection.request = None

    def refused(self, connection: ConnectionBase) -> None:
        self.abandoned(connection)

    def client_finished(self, connection: ConnectionBase) -> None:
        """The client sends no more: of no concern to a WSGI application."""

    def disconnected(self, connection: ConnectionBase) -> None:
        """The connection is gone: noticed at the next write."""

    def writable(self, connection: ConnectionBase) -> None:
        """The transport is empty again: from here on it may collect what a turn of the loop writes."""
        connection.transport.set_write_buffer_limits()

    def sink_is_full(self, connection: ConnectionBase) -> bool:  # noqa: ARG002 - as in AsgiRunner
        """Bodies go to memory and then to disk, never to a halt."""
        return False

    def log_access(
        self, connection: ConnectionBase, environ: Environ, call: WsgiCall, seconds: float
    ) -> None:
        access = self.server.access
        if access is not None:
            access.add(
                connection,
                call.status,
                call.sent,
                seconds,
                environ.get("HTTP_REFERER", "-"),
                environ.get("HTTP_USER_AGENT", "-"),
            )
