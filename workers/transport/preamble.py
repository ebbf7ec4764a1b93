"""What a connection begins with before HTTP: the PROXY protocol, then TLS; and which HTTP it is.

Each is a protocol of its own on the transport, which in the end puts the next one in its place.
None of them exists where the settings ask for none: then `Connection` is the first protocol, and their
modules are not even imported. With TLS the client says by ALPN which HTTP it speaks; without, `FirstBytes`
looks at its first bytes, where the settings ask for HTTP/2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gwctl.workers.context import WorkerContext
    from gwctl.workers.http1.protocol import Connection
    from gwctl.workers.http2.shared import Http2

FirstProtocol = Callable[["Connection"], asyncio.Protocol]


def first_protocol_for(context: WorkerContext, http2: Http2 | None) -> FirstProtocol:
    """Return what makes the first protocol of a connection; ``http2`` takes over those that speak it."""
    first: FirstProtocol = plain_http
    if http2 is not None and "h2" in context.settings.http:
        first = _with_first_bytes(http2, http1="h1" in context.settings.http)
    if any(listener.tls for listener in context.assignment.listeners):
        first = _with_tls(context, http2, first)
    if context.settings.proxy_protocol:
        first = _with_header(context, first)
    return first


def http2_for(context: WorkerContext) -> Http2 | None:
    """Return what speaks HTTP/2 in this worker; None where nothing does: its modules are not imported."""
    spoken = context.settings.http or (
        ("h2",) if any(listener.tls for listener in context.assignment.listeners) else ()
    )
    if "h2" not in spoken:
        return None
    from gwctl.workers.http2.shared import Http2  # noqa: PLC0415

    return Http2(context)


def plain_http(connection: Connection) -> asyncio.Protocol:
    """Begin with HTTP."""
    return connection


def _with_first_bytes(http2: Http2, *, http1: bool) -> FirstProtocol:
    from gwctl.workers.transport.first_bytes import FirstBytes  # noqa: PLC0415

    def first(connection: Connection) -> asyncio.Protocol:
        return FirstBytes(connection, http2, http1=http1)

    return first


def _with_tls(context: WorkerContext, http2: Http2 | None, plain: FirstProtocol) -> FirstProtocol:
    from gwctl.config import certificates  # noqa: PLC0415 - ssl takes 5 MiB
    from gwctl.workers.transport.tls import TlsLayer  # noqa: PLC0415

    tls = context.assignment.tls
    assert tls is not None
    spoken = context.settings.http or ("h2", "h1")
    http1 = http2 is None or "h1" in spoken
    if http2 is not None:
        names = {"h2": "h2", "h1": "http/1.1"}
        certificates.offer(tls, [names[each] for each in spoken])

    def first(connection: Connection) -> asyncio.Protocol:
        return TlsLayer(connection, tls, http2, http1=http1) if connection.listener.tls else plain(connection)

    return first


def _with_header(context: WorkerContext, then: FirstProtocol) -> FirstProtocol:
    from gwctl.config.trusted_proxies import Trusted  # noqa: PLC0415
    from gwctl.workers.transport.proxy_protocol import Closed, ProxyPreamble  # noqa: PLC0415

    trusted = Trusted(context.settings.trusted_proxies)
    closed = Closed(context.log)

    def first(connection: Connection) -> asyncio.Protocol:
        return ProxyPreamble(connection, then(connection), trusted, closed)

    return first
