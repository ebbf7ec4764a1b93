"""Clients that leave in the middle: who is told, what is ignored, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from gwctl.workers.asgi import departures
from tests.support.engine import Client, Engine
from tests.support.raw import reset_at_close
from tests.support.tls import Files, connect
from tests.support.wait import until

START = {"type": "http.response.start", "status": 200, "headers": []}
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LINKS = ("tcp", "unix", "tls")
WAYS = ("closes", "resets", "half closes")


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


@contextmanager
def serving(application: Any, link: str, folder: Path, **settings: Any) -> Iterator[Engine]:
    if link == "tls":
        settings["tls"] = Files(folder, "shop.example").server()
    with Engine(application, "asgi", unix=link == "unix", **settings) as engine:
        yield engine


def client_of(engine: Engine) -> Client:
    return connect(engine) if engine.assignment.tls is not None else engine.connect()


def leave(client: Client, how: str) -> None:
    sock = client.sock
    if how == "resets":
        with contextlib.suppress(OSError):  # a Unix socket knows no reset
            reset_at_close(sock)
    if how == "half closes" and isinstance(sock, ssl.SSLSocket):
        socket.socket.shutdown(sock, socket.SHUT_WR)
    elif how == "half closes":
        sock.shutdown(socket.SHUT_WR)
    else:
        sock.close()


def over(engine: Engine) -> bool:
    """Whether neither a request nor a connection is left."""
    return bool(engine.call(lambda: not engine.server.active_requests and not engine.server.connections))


def quiet(engine: Engine) -> bool:
    """Whether the log has nothing, but perhaps that a sweep found a client gone before it was told otherwise."""
    return all(" debug " in line and "its client is gone" in line for line in engine.log.splitlines())


# ---- what is sent too late

LATE: dict[str, list[dict[str, Any]]] = {
    "a response": [START, body(b"late")],
    "a stream": [START, *[body(b"late", more=True)] * 5, body(b"")],
    "an early hint": [{"type": "http.response.early_hint", "links": [b"</a>"]}, START, body(b"late")],
    "trailers": [
        {**START, "trailers": True},
        body(b"late"),
        {"type": "http.response.trailers", "headers": [(b"x", b"y")]},
    ],
    "a file": [START, {"type": "http.response.pathsend", "path": __file__}],
}


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_what_is_sent_too_late_is_ignored_and_the_application_goes_on(
    how: str, kind: str, begun: bool
) -> None:
    """No exception reaches handlers, trackers or spans; what follows the response is done."""
    done: list[Any] = []

    async def application(scope, receive, send):
        if begun:
            await send(START)
            await send(body(b"begun", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass
        until_gone = asyncio.get_running_loop().time() + 20
        while engine.server.connections and asyncio.get_running_loop().time() < until_gone:
            await send(body(b"x", more=True)) if begun else await asyncio.sleep(0.001)
        for message in LATE[kind][begun:]:
            await send(message)
        done.append(await receive())

    with Engine(application, "asgi", access_log=True) as engine:
        client = engine.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
        if begun:
            client.head()
        else:
            until(lambda: engine.call(lambda: engine.server.active_requests), "the request")
        # Not told by a FIN alone: only then is the connection lost while nothing is sent.
        leave(client, how if begun else "resets")
        until(lambda: done, "the application to go on")
        until(lambda: over(engine), "the request to end")
        assert quiet(engine)
        until(
            lambda: engine.call(engine.server.accounts.flush) or engine.access_path.read_text("utf-8"),
            "the line",
        )
        assert f" {200 if begun else 499} " in engine.access_path.read_text("utf-8")
    assert done == [{"type": "http.disconnect"}]


def test_a_stream_that_never_waits_does_not_keep_the_loop_from_others() -> None:
    """As nothing it sends has to wait any more; and it ends, although it does not listen."""

    async def application(scope, receive, send):
        await send(START)
        while scope["path"] == "/endless":
            await send(body(b"x", more=True))
        await send(body(b"served"))

    with Engine(application, "asgi") as engine, engine.connect() as other:
        client = engine.connect()
        client.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        client.head()
        leave(client, "resets")
        for _ in range(20):
            assert other.get("/").body == b"served"
        until(lambda: not engine.call(lambda: engine.server.active_requests), "the stream to end")
        assert quiet(engine)


# ---- frameworks


def fastapi_application(done: list[str], gone: asyncio.Event) -> Any:
    from fastapi import (
        BackgroundTasks,
        Depends,
        FastAPI,
    )  # here: each process that collects tests would import it

    app = FastAPI()

    async def dependency() -> AsyncIterator[str]:
        try:
            yield "connection"
        except BaseException as error:
            done.append(f"rolled back: {type(error).__name__}")
            raise
        done.append("committed")

    async def ordinary(tasks: Any) -> str:
        tasks.add_task(done.append, "background")
        done.append("called")
        await gone.wait()
        return "ok"

    ordinary.__annotations__["tasks"] = BackgroundTasks  # FastAPI finds no name that is known in here only
    app.get("/", dependencies=[Depends(dependency)])(ordinary)

    @app.exception_handler(Exception)
    async def handler(_request: Any, error: Exception) -> None:
        done.append(f"handled: {error!r}")
        raise error

    return app


@pytest.mark.parametrize("link", LINKS)
def test_an_ordinary_response_whose_client_has_reset(link: str, tmp_path: Path) -> None:
    done: list[str] = []
    gone = asyncio.Event()
    with serving(fastapi_application(done, gone), link, tmp_path) as engine:
        client = client_of(engine)
        client.send(REQUEST)
        until(lambda: "called" in done, "the call")
        leave(client, "resets")
        if link == "tcp":
            until(lambda: not engine.call(lambda: engine.server.connections), "the connection to be gone")
        engine.call(gone.set)
        until(lambda: "background" in done, "the background task")
        until(lambda: over(engine), "the request to end")
        assert quiet(engine)
    assert sorted(done) == ["background", "called", "committed"]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_a_silent_stream_ends_with_its_client(blocks: int, how: str, link: str, tmp_path: Path) -> None:
    """Starlette's, over a generator that yields some blocks (or none) and then waits."""
    done: list[str] = []

    async def events() -> AsyncIterator[bytes]:
        try:
            for _ in range(blocks):
                yield b"data: x\n\n"
            done.append("waits")
            await asyncio.Event().wait()
        finally:
            done.append("ended")

    async def application(scope, receive, send):
        task = BackgroundTask(done.append, "background")
        await StreamingResponse(events(), background=task)(scope, receive, send)

    with serving(application, link, tmp_path) as engine:
        client = client_of(engine)
        client.send(REQUEST)
        if blocks:
            assert client.head()[0] == 200
        until(lambda: "waits" in done, "the stream to be silent")
        leave(client, how)
        until(lambda: over(engine), "request and connection to end")
        client.sock.close()
        assert quiet(engine)
    assert done == ["waits", "ended", "background"]


# ---- half a close


async def plainly(receive: Any, send: Any, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await send(START)
    await send(body(b"answer"))


async def unless_told(receive: Any, send: Any, seconds: float) -> None:
    """As Quart and Django do with every request."""
    answer = asyncio.ensure_future(plainly(receive, send, seconds))

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    listener = asyncio.ensure_future(listen())
    _, pending = await asyncio.wait([answer, listener], return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(("answering", "seconds"), [(plainly, 0.5), (plainly, 0.0), (unless_told, 0.02)])
def test_who_half_closes_after_a_request_gets_an_ordinary_response(
    answering: Any, seconds: float, link: str, tmp_path: Path
) -> None:
    """Also the later ones of a pipeline, which begin when the end is known."""

    async def application(scope, receive, send):
        await answering(receive, send, seconds)

    with serving(application, link, tmp_path) as engine, client_of(engine) as client:
        count = 2 if answering is plainly else 12  # longer together than one of them may take
        client.send(REQUEST * count)
        leave(client, "half closes")
        assert [client.response().body for _ in range(count)] == [b"answer"] * count
        if link != "tls":  # where the end of a client's TLS was no end of TLS
            assert client.at_end()
        until(lambda: over(engine), "request and connection to end")
        assert quiet(engine)


def test_a_stream_to_who_half_closed_goes_on_if_nobody_listens(monkeypatch) -> None:
    monkeypatch.setattr(departures, "SILENT_MAX_S", 2.5)

    async def application(scope, receive, send):
        await send(START)
        for _ in range(35):
            await send(body(b"tick", more=True))
            await asyncio.sleep(0.1)
        await send(body(b""))

    with (
        Engine(application, "asgi", sweep_s=0.1) as engine,
        engine.connect() as client,
    ):
        client.send(REQUEST)
        leave(client, "half closes")
        assert client.response().chunks == (b"tick",) * 35


# ---- what an application that does not listen holds


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let silence be short; return settings with which the sweep looks often."""
    monkeypatch.setattr(departures, "SILENT_MAX_S", 0.3)
    return {"sweep_s": 0.1}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("begun", [True, False])
def test_sockets_of_clients_that_left_do_not_fill_connections_max(
    begun: bool, link: str, tmp_path: Path, short: dict[str, Any]
) -> None:
    async def application(scope, receive, send):
        if scope["path"] == "/held":
            if begun:
                await send(START)
                await send(body(b"x", more=True))
            await asyncio.Event().wait()
        await send(START)
        await send(body(b"served"))

    with serving(application, link, tmp_path, connections_max=3, **short) as engine:
        for _ in range(3):
            client = client_of(engine)
            client.send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
            if begun:
                client.head()
            leave(client, "closes")
        with client_of(engine) as client:
            assert client.get("/").body == b"served"
        until(lambda: not engine.call(lambda: engine.server.connections), "the connections to be closed")
        assert "error" not in engine.log


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize("what", ["upload", "pipeline"])
def test_the_end_of_a_client_is_noticed_although_nobody_reads(
    what: str, how: str, link: str, tmp_path: Path, short: dict[str, Any]
) -> None:
    """A body that the application leaves alone, or requests ahead, hold reading back."""
    told: list[Any] = []

    async def application(scope, receive, send):
        if what == "pipeline":
            while not told:
                message = await receive()
                if message["type"] == "http.disconnect":
                    told.append(message)
        else:
            await asyncio.Event().wait()

    data = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n" + b"u" * 150_000
    with serving(application, link, tmp_path, **short) as engine:
        client = client_of(engine)
        client.send(data if what == "upload" else REQUEST * 8000)
        (connection,) = until(lambda: engine.call(engine.server.open_connections), "the connection")
        until(lambda: connection.read_paused, "reading to be held back")
        leave(client, how)
        until(lambda: not engine.call(lambda: engine.server.connections), "the connection to be closed")
        if what == "pipeline":
            until(lambda: told, "the application to be told")
        else:
            assert not told
