"""Certificates for tests: an authority, what it issues as files, and both ends' contexts.

shop = Files(tmp_path, "shop.example")
with Engine(application, tls=shop.server()) as engine, connect(engine, "shop.example") as client: ...
"""

from __future__ import annotations

import contextlib
import selectors
import ssl
from functools import cache
from pathlib import Path
from typing import Any

import trustme

from gwctl.config import certificates
from gwctl.config.model.tls import Tls
from tests.support import engine_apps
from tests.support.engine import Client, Engine
from tests.support.wait import DEADLINE_S, until


@cache
def authority() -> trustme.CA:
    """The one that clients trust; made once, keys take time."""
    return trustme.CA()


class Files:
    """A certificate for ``names`` with its key, in files of ``folder``; ``tls`` is the table for them."""

    def __init__(self, folder: Path, *names: str, issuer: trustme.CA | None = None, **options: Any) -> None:
        issued = (issuer or authority()).issue_cert(*names, **options)
        stem = (names[0] if names else "cert").replace("*", "any")
        self.certificate = folder / f"{stem}.pem"
        self.key = folder / f"{stem}.key"
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.pem = issued.cert_chain_pems[0].bytes().decode()

    def tls(self, **settings: Any) -> Tls:
        return Tls(certificate=(str(self.certificate),), key=(str(self.key),), **settings)

    def server(self, **settings: Any) -> ssl.SSLContext:
        return certificates.load(self.tls(**settings)).context

    def load_into(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.load_cert_chain(self.certificate, self.key)
        return context


def client_context(**options: Any) -> ssl.SSLContext:
    """Trusts the authority; ``options`` are attributes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    for name, value in options.items():
        setattr(context, name, value)
    return context


def connect(
    engine: Engine,
    name: str = "shop.example",
    context: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
) -> Client:
    """A raw client inside TLS. Its end is seen only with close_notify: without, reading raises."""
    client = engine.connect()
    sock = (context or client_context()).wrap_socket(
        client.sock, server_hostname=name, session=session, suppress_ragged_eofs=False
    )
    return Client(sock)


def send_and_receive(client: Client, data: bytes) -> None:
    """Send ``data`` and meanwhile keep in the client's buffer what comes, as a peer that answers early wants.

    In one thread: OpenSSL allows no two of them in one connection, and Python takes no lock
    before 3.13.1. Bytes are lost then, descriptors of others written to, the interpreter crashes.
    """
    sock: Any = client.sock
    received = bytearray(client.buffer)
    rest = memoryview(data)
    sock.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while rest:
            assert selector.select(DEADLINE_S), "the peer neither takes nor sends"
            with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
                rest = rest[sock.send(rest) :]
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                received += sock.recv(1 << 20)
    sock.settimeout(DEADLINE_S)
    client.buffer = bytes(received)


REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


def engine_of(worker_class: str, context: ssl.SSLContext, **settings: Any) -> Engine:
    return Engine(engine_apps.application(worker_class), worker_class, tls=context, **settings)


def nothing_left(engine: Engine) -> None:
    until(lambda: not engine.call(lambda: engine.server.connections), "the connections to be gone")
