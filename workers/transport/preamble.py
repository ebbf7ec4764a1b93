"""What a connection begins with before HTTP: the PROXY protocol, then TLS.

Each is a protocol of its own on the transport, which in the end puts the next one in its place.
None of them exists where the settings ask for none: then `Connection` is the first protocol, and their
modules are not even imported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gwctl.workers.context import WorkerContext
    from gwctl.workers.http1.protocol import Connection

FirstProtocol = Callable[["Connection"], asyncio.Protocol]


def first_protocol_for(context: WorkerContext) -> FirstProtocol:
    """Return what makes the first protocol of a connection."""
    first: FirstProtocol = plain_http
    if any(listener.tls for listener in context.assignment.listeners):
        first = _with_tls(context)
    if context.settings.proxy_protocol:
        first = _with_header(context, first)
    return first


def plain_http(connection: Connection) -> asyncio.Protocol:
    """Begin with HTTP."""
    return connection


def _with_tls(context: WorkerContext) -> FirstProtocol:
    from gwctl.workers.transport.tls import TlsLayer  # noqa: PLC0415

    tls = context.assignment.tls
    assert tls is not None

    def first(connection: Connection) -> asyncio.Protocol:
        return TlsLayer(connection, tls) if connection.listener.tls else connection

    return first


def _with_header(context: WorkerContext, then: FirstProtocol) -> FirstProtocol:
    from gwctl.config.trusted_proxies import Trusted  # noqa: PLC0415
    from gwctl.workers.transport.proxy_protocol import Closed, ProxyPreamble  # noqa: PLC0415

    trusted = Trusted(context.settings.trusted_proxies)
    closed = Closed(context.log)

    def first(connection: Connection) -> asyncio.Protocol:
        return ProxyPreamble(connection, then(connection), trusted, closed)

    return first
