"""Every framework under every worker class: the interface that is the class's own, and the other one.

With FRAMEWORKS_HTTP=h2 in the environment all is said over HTTP/2.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import httpx
import pytest

from tests.clients import conversations as say
from tests.support.raw import connection_to
from tests.support.server import GwctlServer
from tests.support.status import status_of

WORKERS = ("sync", "threads", "asgi")
TIMEOUT_S = 60.0
HTTP2 = os.environ.get("FRAMEWORKS_HTTP") == "h2"


@dataclass(frozen=True)
class Application:
    """What is served, and what it can do beyond `conversations.COMMON`."""

    spec: str
    interface: str
    extras: tuple = ()
    websocket: bool = False
    raise_mid: Callable[[httpx.Client], None] = say.raise_mid


APPLICATIONS = (
    Application("wsgi_bare:application", "wsgi"),
    Application("django_project.wsgi:application", "wsgi", (say.database_query, say.async_view)),
    Application("flask_app:app", "wsgi", (say.async_view,)),
    Application("falcon_app:wsgi", "wsgi"),
    Application("asgi_bare:application", "asgi", websocket=True),
    Application("django_project.asgi:application", "asgi", (say.database_query, say.async_view)),
    Application("starlette_app:app", "asgi", (say.lifespan_state,), websocket=True),
    Application("fastapi_app:app", "asgi", (say.lifespan_state,), True, say.raise_mid_masked),
    Application("quart_app:app", "asgi", websocket=True),
    Application("falcon_app:asgi", "asgi", websocket=True),
)


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.spec)
def test_application(gwctl_server, subtests, application: Application, worker: str) -> None:
    """Hello, streams, a 20 MB upload, exceptions before and in mid-stream, and its own specialities."""
    extras = application.extras
    if worker == "asgi" and application.websocket:
        extras += (say.websocket,)
    server = gwctl_server(
        application.spec,
        worker=worker,
        http=["h2", "h1"],
        allow_errors=["/raise", "Deliberate", "FALCON"],
    )
    with (
        server,
        httpx.Client(base_url=server.url, timeout=TIMEOUT_S, http1=not HTTP2, http2=HTTP2) as client,
    ):
        for conversation in (*say.COMMON, application.raise_mid, *extras):
            with subtests.test(conversation.__name__):
                conversation(client)


@pytest.mark.parametrize(
    ("spec", "worker"),
    [
        ("wsgi_bare:application", "sync"),
        ("wsgi_bare", "sync"),
        ("asgi_bare:application", "asgi"),
        ("asgi_bare", "asgi"),
        ("fastapi_app", "asgi"),
        ("flask_app", "sync"),
        ("falcon_app:asgi", "asgi"),
    ],
)
def test_the_worker_class_is_found(gwctl_server, spec: str, worker: str) -> None:
    """Without `worker`, and without an attribute, a WSGI application gets sync and an ASGI one asgi."""
    with gwctl_server(spec) as server:
        assert httpx.get(f"{server.url}/").text == "hello"
        assert [pool["worker"] for pool in status_of(server)["pools"]] == [worker]


def assert_pings(server: GwctlServer) -> None:
    assert httpx.get(f"{server.url}/").text == "hello"


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize("name", ["without_lifespan", "raises_on_unknown"])
def test_asgi_without_lifespan(gwctl_server, name: str, worker: str) -> None:
    """An application that does not know lifespan is served, and its refusal is no error."""
    with gwctl_server(f"asgi_bare:{name}", worker=worker) as server:
        assert_pings(server)


def test_lifespan_state_reaches_a_bare_application(gwctl_server) -> None:
    with gwctl_server("asgi_bare:application", worker="asgi") as server:
        assert httpx.get(f"{server.url}/state").text == "{'started': 'yes'}"


def test_a_failed_startup_fails_the_boot(gwctl_server) -> None:
    """startup.failed at the first start: exit status 3 and the application's message."""
    server = gwctl_server("asgi_bare:failing_startup", worker="asgi", allow_errors=["."])
    server.start()
    try:
        assert server.wait_for_exit() == 3
        assert "no database" in server.log
        server.assert_no_process_left()
    finally:
        server.destroy()


def test_background_coroutine_of_lifespan(gwctl_server) -> None:
    """It runs between requests and is ended by the lifespan's shutdown."""
    with gwctl_server("asgi_bare:background", worker="asgi") as server:
        first = int(httpx.get(server.url).text)
        with httpx.Client() as client:
            while int(client.get(server.url).text) <= first + 1:
                pass
        server.stop()
        assert "background ended at" in server.output


@pytest.mark.parametrize("worker", WORKERS)
def test_wsgi_echo(gwctl_server, subtests, worker: str) -> None:
    """wsgi.input.read(CONTENT_LENGTH) gives the whole body, from memory and from a file."""
    with gwctl_server("wsgi_bare:echo", worker=worker) as server, httpx.Client() as client:
        for size in (0, 1, 70_000, 3_000_000):
            body = b"0123456789" * (size // 10) + b"x" * (size % 10)
            with subtests.test(size=size):
                for _ in range(2):
                    assert client.post(server.url, content=body).content == body


def test_asgi_echo_chunk_by_chunk(gwctl_server) -> None:
    """A chunk comes back before the next one is sent: nothing in between collects either way."""
    received: list[bytes] = []
    with gwctl_server("asgi_bare:echo", worker="asgi") as server:
        received = raw_echo(server.url, [b"one", b"two", b"x" * 50_000])
    assert received == [b"one", b"two", b"x" * 50_000]


def raw_echo(url: str, chunks: list[bytes]) -> list[bytes]:
    """Send each chunk only after the one before has come back."""
    received = []
    with (
        connection_to(url) as sock,
        sock.makefile("rb") as stream,
    ):
        sock.sendall(b"POST / HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number, chunk in enumerate(chunks):
            sock.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            while number == 0 and stream.readline() != b"\r\n":
                pass  # the head of the response
            received.append(read_back(stream, len(chunk)))
        sock.sendall(b"0\r\n\r\n")
        assert stream.readline() == b"0\r\n"
    return received


def read_back(stream: BinaryIO, length: int) -> bytes:
    """Read chunks until ``length`` bytes have come back."""
    data = b""
    while len(data) < length:
        size = int(stream.readline(), 16)
        data += stream.read(size)
        assert stream.read(2) == b"\r\n"
    return data


@pytest.mark.parametrize("worker", WORKERS)
def test_a_bare_bytes_object_is_one_chunk(gwctl_server, worker: str) -> None:
    """Served whole, with one warning however often it happens."""
    with gwctl_server("wsgi_bare:bare_bytes", worker=worker) as server:
        for _ in range(3):
            assert httpx.get(server.url).text == "a bare bytes object"
        assert server.log.count("PEP 3333") == 1


@pytest.mark.parametrize("worker", WORKERS)
def test_text_instead_of_bytes_is_a_500(gwctl_server, worker: str) -> None:
    """The log line says what to change."""
    with gwctl_server("wsgi_bare:text_chunks", worker=worker, allow_errors=["str"]) as server:
        assert httpx.get(server.url).status_code == 500
        assert "encode" in server.log


@pytest.mark.parametrize("worker", WORKERS)
def test_no_event_loop_is_visible_to_wsgi(gwctl_server, worker: str) -> None:
    """asyncio.run works in the call and in the iteration of the response."""
    with gwctl_server("wsgi_bare:async_run", worker=worker) as server:
        assert httpx.get(server.url).text == "ran a loop of its own\n" * 2
