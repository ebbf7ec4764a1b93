"""A connection as calls in the loop's thread have it: they write to it themselves, and read meanwhile.

Under sync the loop stands still while a call is made. So a call pushes what goes past the transport, of which
nothing waits then, and polls while it waits for its client: what comes is read, and what it would begin waits
for the loop.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any, Final

from gwctl.workers.exchange.states import LINGER
from gwctl.workers.http1.connection import READ_BYTES
from gwctl.workers.http2.carrier import Carrier

if TYPE_CHECKING:
    import socket

    from gwctl.ipc.assignment import Listener
    from gwctl.workers.http1.connection import TlsSession
    from gwctl.workers.http1.service import Http1Service

_READS_MAX: Final = 4
"""So often a call that polls reads: more than one read of the socket gives is the exception."""


class DirectCarrier(Carrier):
    """Base of `gwctl.workers.http2.connection.Http2Connection`."""

    __slots__ = ("_direct", "_pending", "_polling")

    def __init__(self, service: Http1Service, sock: socket.socket, peer: Any, listener: Listener) -> None:
        super().__init__(service, sock, peer, listener)
        self._direct: Any = None
        self._pending = b""  # of what calls have written, what the socket did not take
        self._polling = False  # what is read begins nothing

    def eof_received(self) -> bool:
        """Note that nothing more comes, the first time that it is seen; return whether it is to go on."""
        raise NotImplementedError

    def _go_on_writing(self) -> None:
        """Make the calls that were to wait until nothing is left in the transport."""
        raise NotImplementedError

    def respond_in_calls(self) -> None:
        self._direct = self.sock if self.tls is None else self.tls.output_for_sync()

    def unsent_by_transport(self) -> int:
        return len(self._pending) + int(self.transport.get_write_buffer_size())

    def tell_when_empty(self, wanted: bool) -> None:
        if self._pending:
            pending, self._pending = self._pending, b""
            self.transport.write(pending)
        super().tell_when_empty(wanted)
        if wanted and not self.write_paused:  # all went at once: nothing else tells of that
            context = self.service.context
            context.loop.call_soon(self._go_on_writing, context=context.neutral_context)

    def push(self) -> None:
        output = self.out
        while not self.lost:
            if not self._pending:
                self._pending = output.take_turns()
            if not self._pending:
                return
            try:
                sent = self._direct.send(self._pending)
            except BlockingIOError:
                break
            except OSError:
                self._pending = b""
                return  # the client is gone, as the transport will notice
            self._pending = self._pending[sent:]
            if self._pending or not output.turns.count:
                break
        if self._pending:
            output.paused = True
            self.service.context.loop.call_soon(self._leave_pending)

    def _leave_pending(self) -> None:
        """No call holds the loop: the transport sends what one could not."""
        pending, self._pending = self._pending, b""
        self.out.paused = self.write_paused
        if not self.lost and self.transport is not None:
            if pending:
                self.transport.write(pending)
            self.out.soon()

    def poll(self, seconds: float, bell: int = -1) -> bool:
        self.push()
        tls = self.tls
        if (tls is None or not self._pump(tls, b"")) and not self._read_for(seconds, bell):
            return False
        self.push()
        return not (self.lost or self.state >= LINGER or self.transport.is_closing())

    def _read_for(self, seconds: float, bell: int) -> bool:
        """Read what has come, or comes within ``seconds``; False: the client is gone."""
        for _ in range(_READS_MAX):
            poll = select.poll()
            wanted = 0 if self.eof else select.POLLIN
            poll.register(self.sock, wanted | (select.POLLOUT if self._pending else 0))
            if bell >= 0:
                poll.register(bell, select.POLLIN)
            events = dict(poll.poll(seconds * 1000))
            if not events.get(self.sock.fileno(), 0) & ~select.POLLOUT:
                break
            if self.eof or not self._read():
                return False
            seconds = 0.0
        return True

    def _read(self) -> bool:
        """Read what has come, while the loop is held; False: the client is gone."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return self.eof_received()
        if self.tls is not None:
            self._pump(self.tls, data)
            return True
        self._polling = True
        try:
            self.data_received(data)
        finally:
            self._polling = False
        return True

    def _pump(self, tls: TlsSession, data: bytes) -> bool:
        """Have TLS give what it has, and ``data`` as well; return whether that was anything."""
        self._polling = True
        try:
            return bool(tls.pump(data))
        finally:
            self._polling = False
