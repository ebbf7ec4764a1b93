"""Calls for requests with a body: what else is to be done when they end.

A `WsgiCall` ends with its response. A request with a body has something to let go of then,
and not when the last reference to its environ is gone: a temporary file, or the connection's
attention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gwctl.workers.wsgi.body_stream import BodyError, BodyStream
from gwctl.workers.wsgi.call import WsgiCall, caused_by

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.service import Service
    from gwctl.workers.wsgi.environ import Environ


class BodyCall(WsgiCall):
    """Closes ``wsgi.input``, whatever the application put in its place."""

    __slots__ = ("_input",)

    has_body: ClassVar[bool] = True

    def __init__(self, service: Service, exchange: Exchange, environ: Environ) -> None:
        super().__init__(service, exchange, environ)
        self._input = environ["wsgi.input"]

    def run(self) -> None:
        super().run()
        try:  # noqa: SIM105 - suppress() would be a good part of what this costs
            self._input.close()
        except BaseException:  # noqa: BLE001, S110 - of any kind: the application may have changed or detached it
            pass  # also a full disk: nobody wants the bytes any more
        budget = self._service.body_budget
        if budget.holds:
            budget.release(self._input)


class StreamCall(BodyCall):
    """The body is read while the application runs (`gwctl.workers.wsgi.body_stream`)."""

    __slots__ = ("_stream",)

    def __init__(self, service: Service, exchange: Exchange, environ: Environ) -> None:
        super().__init__(service, exchange, environ)
        self._stream: BodyStream = self._input.raw
        self._stream.call = self

    def run(self) -> None:
        super().run()
        self._stream.close()  # again: whoever detached it has it without what was to close it
        if self._stream.failure is not None:
            self.keep_alive = False

    def send_continue(self) -> None:
        if not self.head_sent:
            self.response.ask_for_body()

    def _failed(self, error: BaseException) -> None:
        cause = caused_by(error, BodyError)
        if cause is None:
            super()._failed(error)
            return
        self._service.context.log.debug(f"{self.what()}: {cause}")
        self.keep_alive = False
        if self.head_sent or not cause.status:
            self.aborted = True
        else:
            self._answer(cause.status)
