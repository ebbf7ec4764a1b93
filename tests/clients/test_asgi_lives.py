"""Frameworks of ASGI under each class: event streams and uploads whose client goes, background work, WebSockets.

The server's log stays empty throughout, as `GwctlServer` asserts at its end: a client that goes
is nobody's error.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.server import APPS, GwctlServer
from tests.support.wait import until

FRAMEWORKS = ("starlette", "fastapi", "quart", "django")
WITH_WEBSOCKETS = ("starlette", "fastapi", "quart")
AFTER_RAISING = {"quart": 1000}
"""Quart logs the exception itself and returns: 1011 elsewhere."""


@pytest.fixture(
    scope="module",
    params=[(framework, worker) for framework in FRAMEWORKS for worker in ("asgi", "sync", "threads")],
    ids="-".join,
)
def server(request: pytest.FixtureRequest) -> Iterator[GwctlServer]:
    framework, worker = request.param
    with GwctlServer(f"live_asgi:make_{framework}()", worker=worker) as running:
        yield running


def has_ended(server: GwctlServer, what: str, times: int = 1) -> None:
    until(lambda: httpx.get(f"{server.url}/ended").json().count(what) >= times, f"{what} to end")


def test_an_event_stream_ends_with_its_client(server) -> None:
    for _ in range(3):
        with httpx.stream("GET", f"{server.url}/events", timeout=20) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = response.iter_lines()
            assert [next(lines) for _ in range(3)] == ["data: tick", "", "data: tick"]
    has_ended(server, "events", 3)


def test_a_silent_stream_ends_with_its_client(server) -> None:
    """Under each framework, and each class: it sends nothing that could tell that nobody reads."""
    for _ in range(2):
        with httpx.stream("GET", f"{server.url}/silent", timeout=20) as response:
            assert next(response.iter_lines()) == "data: one"
    has_ended(server, "silent", 2)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_silent_stream_ends_properly_with_its_worker(gwctl_server, framework: str) -> None:
    with gwctl_server(
        f"live_asgi:make_{framework}()", worker="asgi", timeouts={"stream_grace_s": 0.3}
    ) as server:
        with httpx.stream("GET", f"{server.url}/silent", timeout=20) as response:
            lines = response.iter_lines()
            assert next(lines) == "data: one"
            server.signal(signal.SIGTERM)
            assert list(lines) == [""]
        assert server.wait_for_exit() == 0


def test_an_upload_ends_with_its_client(server) -> None:
    def body():
        yield b"x" * 100_000
        raise KeyboardInterrupt

    url = f"{server.url}/upload"
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            httpx.post(url, content=body(), timeout=20)
    assert httpx.post(url, content=b"x" * 100_000, timeout=20).text == "100000"


def test_background_work_and_files(server) -> None:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        for _ in range(3):
            assert client.get("/background").text.strip('"') == "ok"
        has_ended(server, "background", 3)
        file = client.get("/file")
        assert file.content == (Path(APPS) / "live_asgi.py").read_bytes()
        assert file.headers["content-length"] == str(len(file.content))
        assert client.get("/ended").status_code == 200


@pytest.mark.parametrize("framework", WITH_WEBSOCKETS)
def test_websockets(gwctl_server, framework: str) -> None:
    with gwctl_server(
        f"live_asgi:make_{framework}()", worker="asgi", allow_errors=["ValueError: deliberate", "/ws/raises"]
    ) as server:
        url = server.url.replace("http", "ws", 1)
        for compression in ("deflate", None):
            with connect(f"{url}/ws", compression=compression) as client:
                for text in ("one", "x" * 300_000):
                    client.send(text)
                    assert client.recv(timeout=20) == f"echo: {text}"
        with connect(f"{url}/ws") as gone:
            gone.send("one")
            gone.recv(timeout=20)
            gone.socket.shutdown(socket.SHUT_RDWR)  # without a close frame
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{url}/ws/denied")
        assert refused.value.response.status_code == 401
        assert b"go away" in refused.value.response.body
        with connect(f"{url}/ws/raises") as client:
            client.send("deliberate")
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=20)
        assert closed.value.rcvd.code == AFTER_RAISING.get(framework, 1011)
