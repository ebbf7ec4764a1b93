"""What a client says to every test application and what it must hear, whatever serves it.

Each function takes an httpx client whose base URL is the server's.
"""

from __future__ import annotations

import hashlib

import httpx
import pytest
from websockets.sync.client import connect

CHUNKS = [f"chunk {number}\n".encode() for number in range(5)]
BODY = bytes(range(256)) * 80_000
"""Far more than of a body is kept in memory, than sockets take, and than any framework takes unless told to."""
DIGEST = {"length": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}


def hello(client: httpx.Client) -> None:
    response = client.get("/")
    assert (response.status_code, response.text) == (200, "hello")
    assert response.headers["x-middleware"] == "seen"


def head(client: httpx.Client) -> None:
    """The connection stays usable after a response without a body."""
    assert client.head("/").content == b""
    hello(client)


def stream(client: httpx.Client) -> None:
    with client.stream("GET", "/stream") as response:
        assert response.status_code == 200
        assert b"".join(response.iter_raw()) == b"".join(CHUNKS)


def upload(client: httpx.Client) -> None:
    """20 MB with a Content-Length."""
    response = client.post("/upload", content=BODY)
    assert (response.status_code, response.json()) == (200, DIGEST)


def upload_in_chunks(client: httpx.Client) -> None:
    """20 MB without one."""
    view = memoryview(BODY)
    pieces = (bytes(view[at : at + 100_000]) for at in range(0, len(BODY), 100_000))
    response = client.post("/upload", content=pieces)
    assert (response.status_code, response.json()) == (200, DIGEST)


def raise_before(client: httpx.Client) -> None:
    assert client.get("/raise").status_code == 500
    hello(client)


def raise_mid(client: httpx.Client) -> None:
    """The client must be able to tell that the response is not whole; the server lives on."""
    with client.stream("GET", "/raise-mid") as response:
        assert response.status_code == 200
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            response.read()
    hello(client)


def raise_mid_masked(client: httpx.Client) -> None:
    """Starlette's BaseHTTPMiddleware ends the response properly before it raises: no server can tell."""
    assert client.get("/raise-mid").content == CHUNKS[0]
    hello(client)


def sleep(client: httpx.Client) -> None:
    assert client.get("/sleep?s=0.05").text == "slept"


def not_found(client: httpx.Client) -> None:
    assert client.get("/no-such-page").status_code == 404


COMMON = (hello, head, stream, upload, upload_in_chunks, raise_before, sleep, not_found)


def websocket(client: httpx.Client) -> None:
    url = str(client.base_url.join("/ws")).replace("http", "ws", 1)
    with connect(url) as socket:
        for text in ("one", "two", "x" * 100_000):
            socket.send(text)
            assert socket.recv(timeout=10) == f"echo: {text}"


def lifespan_state(client: httpx.Client) -> None:
    assert client.get("/state").text == "from lifespan"


def database_query(client: httpx.Client) -> None:
    assert client.get("/query").text == "42"


def async_view(client: httpx.Client) -> None:
    assert client.get("/async").text == "async"
