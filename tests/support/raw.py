"""Connections by hand, over TCP, TLS and Unix sockets, for tests that watch when and how one ends."""

from __future__ import annotations

import http.client
import re
import socket
import struct
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from tests.support.engine import Client
from tests.support.server import GwctlServer
from tests.support.tls import client_context

TIMEOUT_S = 20.0
_URLS = re.compile(r"(?:https?://|unix:|tls:unix:)\S+")


def connect(server: GwctlServer, receive_buffer: int = 0) -> Client:
    """A connection over TCP that says what it is told, byte for byte."""
    url = urlsplit(server.url)
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect((url.hostname, url.port))
    return Client(sock)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    close: bool
    """It says that the connection ends with it."""


class RawClient:
    """One connection to ``url``, as the log writes it."""

    def __init__(self, url: str) -> None:
        self.sock = connection_to(url)
        self._reader: http.client.HTTPResponse | None = None

    def send(self, target: str = "/", *, method: str = "GET", headers: str = "", body: bytes = b"") -> Self:
        self.sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + body)
        return self

    def begin(self) -> http.client.HTTPResponse:
        """Read the head of a response."""
        self._reader = http.client.HTTPResponse(self.sock)
        self._reader.begin()
        return self._reader

    def answer(self) -> Answer:
        """Read a response, or the rest of the one that was begun."""
        response = self._reader or self.begin()
        self._reader = None
        return Answer(response.status, response.read(), response.getheader("connection") == "close")

    def get(self, target: str = "/") -> Answer:
        return self.send(target).answer()

    def ended(self) -> bool:
        """Wait for the end of the connection; false if bytes come instead, raises when it is reset."""
        return self.sock.recv(1) == b""

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def urls(server: GwctlServer) -> list[str]:
    """The addresses of the first pool, in the order of ``bind``."""
    return _URLS.findall(server.wait_for_log(r"web: \d+ workers?\b.*$")[0])


def refuses(url: str) -> bool:
    """Nobody listens there."""
    try:
        connection_to(url).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except ConnectionResetError:
        return False  # caught in the backlog of the last one to listen
    return False


def reset_at_close(sock: socket.socket) -> None:
    """Have its close send a reset, and throw away what was not sent yet. Raises OSError for a Unix socket."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def connection_to(url: str, timeout_s: float = TIMEOUT_S) -> socket.socket:
    """A connection to ``url``, as the log writes it: over TCP, TLS or a Unix socket. Raises what connecting raises."""
    if url.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout_s)
        sock.connect(url.removeprefix("unix:"))
        return sock
    scheme, _, address = url.partition("://")
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), timeout_s)
    if scheme == "https":
        return client_context().wrap_socket(sock, server_hostname="shop.example", suppress_ragged_eofs=False)
    return sock


def request_on(url: str, target: str, *headers: str, timeout_s: float = TIMEOUT_S) -> socket.socket:
    """A connection on which ``target`` was asked for: what comes, and when, is for the test to read."""
    sock = connection_to(url, timeout_s)
    lines = [f"GET {target} HTTP/1.1", "Host: x", *headers]
    sock.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    return sock
