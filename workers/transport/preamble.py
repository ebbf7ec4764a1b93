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
    from gwctl.workers.http1.protocol import Connection
    from gwctl.workers.server import Server

FirstProtocol = Callable[["Connection"], asyncio.Protocol]


def first_protocol_for(server: Server) -> FirstProtocol:
    """Return what makes the first protocol of a connection."""
    first: FirstProtocol = itself
    if any(listener.tls for listener in server.assignment.listeners):
        first = _with_tls(server)
    if server.settings.proxy_protocol:
        first = _with_header(server, first)
    return first


def itself(connection: Connection) -> asyncio.Protocol:
    """Begin with HTTP."""
    return connection


def _with_tls(server: Server) -> FirstProtocol:
    from gwctl.workers.transport.tls import TlsLayer  # noqa: PLC0415

    context = server.assignment.tls
    assert context is not None

    def first(connection: Connection) -> asyncio.Protocol:
        return TlsLayer(connection, context) if connection.listener.tls else connection

    return first


def _with_header(server: Server, then: FirstProtocol) -> FirstProtocol:
    from gwctl.config.trusted_proxies import Trusted  # noqa: PLC0415
    from gwctl.workers.transport.proxy_protocol import Closed, ProxyPreamble  # noqa: PLC0415

    trusted = Trusted(server.settings.trusted_proxies)
    closed = Closed(server.log)

    def first(connection: Connection) -> asyncio.Protocol:
        return ProxyPreamble(connection, then(connection), trusted, closed)

    return first
