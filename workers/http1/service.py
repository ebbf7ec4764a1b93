"""What the HTTP/1.1 connections of a worker share besides."""

from __future__ import annotations

import socket
from functools import cache
from typing import TYPE_CHECKING, Any

from gwctl.workers.exchange.service import Service
from gwctl.workers.http1.parser import parser_factory, slice_bytes
from gwctl.workers.http1.response_head import HeadBuilder

if TYPE_CHECKING:
    from gwctl.workers.context import WorkerContext
    from gwctl.workers.exchange.exchange import Exchange


class Http1Service(Service):
    """Of one worker.

    Attributes:
        http2: What connections of HTTP/2 share (`gwctl.workers.http2.shared`); None: nobody speaks it here.
    """

    http2: Any

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context)
        self.http2 = None
        self.heads = HeadBuilder(bytes if context.interface == "asgi" else str)
        self.heads.retry_after_s = context.settings.retry_after_s
        self.new_parser = parser_factory(context.limits)
        self.slice_bytes = slice_bytes(context.limits)

    def replace(self, connection: Exchange, successor: Exchange) -> None:
        """Have ``successor`` stand for the client of ``connection``, which no runner has seen."""
        raise NotImplementedError

    def forget(self, exchange: Exchange) -> None:
        """The connection is gone, or is no longer HTTP."""
        raise NotImplementedError

    @staticmethod
    @cache
    def nowhere() -> socket.socket:
        """Return a socket of which the other end is closed."""
        nowhere, other = socket.socketpair()
        nowhere.setblocking(False)
        other.close()
        return nowhere
