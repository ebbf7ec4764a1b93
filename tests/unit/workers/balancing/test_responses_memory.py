"""What slow clients have yet to take of responses: bounded for each of them, and for the worker."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from gwctl.config.model.settings import Limits, PoolSettings
from gwctl.workers.asgi.extensions import PIECE_BYTES
from gwctl.workers.balancing import slow_clients
from tests.support.engine import WORKER_CLASSES, Client, Engine
from tests.support.tls import Files, client_context
from tests.support.wait import pass_time, until

MIB = 1 << 20
SIZE = 8 * MIB
BODY = bytes(range(256)) * (SIZE // 256)
START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
GET = b"GET %b HTTP/1.%d\r\nHost: x\r\n\r\n"


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def large(scope: Any, receive: Any, send: Any) -> None:
    """Send `BODY` in one call, in the way that the path says."""
    path = scope["path"]
    if path == "/small":
        await send(START)
        await send(body(b"small"))
    elif path == "/whole":
        await send(START)
        await send(body(BODY))
    elif path == "/chunked":
        await send(START)
        await send(body(BODY, more=True))
        await send(body(b""))
    elif path == "/last":
        await send(START)
        await send(body(b"-", more=True))
        await send(body(BODY))
    elif path == "/counted":
        await send({**START, "headers": [(b"content-length", b"%d" % (SIZE + 1))]})
        await send(body(BODY, more=True))
        await send(body(b"."))


def whole_of(path: str) -> bytes:
    return {"/last": b"-" + BODY, "/counted": BODY + b"."}.get(path, BODY)


def unsent(engine: Engine) -> int:
    return engine.call(
        lambda: sum(each.transport.get_write_buffer_size() for each in engine.server.open_connections())
    )


@pytest.mark.usefixtures("asgi_under")
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("path", ["/whole", "/chunked", "/last", "/counted"])
def test_a_large_block_leaves_as_its_client_takes_it(path: str, version: int) -> None:
    with Engine(large, "asgi", threads=8) as engine, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(engine.connect(4096)) for _ in range(3)]
        if engine.server.context.worker_class.holds_loop:
            del clients[1:]  # it serves one at a time
        for client in clients:
            client.send(GET % (path.encode(), version))
        for client in clients:
            client.read_until(b"\r\n\r\n")
        if not engine.server.context.worker_class.holds_loop:  # whose loop stands still meanwhile
            assert unsent(engine) <= len(clients) * 2 * PIECE_BYTES
            with engine.connect() as other:
                assert other.get("/small").body == b"small"
        for client in clients[1:]:
            client.sock.close()
        with engine.connect() as client:
            client.send(GET % (path.encode(), version))
            clients[0].sock.close()
            assert client.response().body == whole_of(path)
        assert " error " not in engine.log


@pytest.mark.usefixtures("asgi_under")
@pytest.mark.parametrize("how", ["concurrent", "cancelled"])
def test_blocks_of_several_calls_stay_whole_and_in_order(how: str) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        if how == "concurrent":
            await asyncio.gather(*[send(body(b"%d" % n * MIB, more=True)) for n in range(5)])
        else:
            for n in range(5):
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(send(body(b"%d" % n * MIB, more=True)), 0.02)
        await send(body(b"end"))

    with Engine(application, "asgi") as engine, engine.connect(4096) as client:
        client.send(GET % (b"/", 1))
        head = client.head()
        assert head[0] == 200
        pass_time(0.3)  # let the calls be cancelled
        assert b"".join(client.chunks()) == b"".join(b"%d" % n * MIB for n in range(5)) + b"end"
        assert client.get("/").status == 200


@pytest.mark.parametrize("kind", ["plain", "tls", "unix"])
def test_beyond_the_budget_those_who_take_nothing_go(
    kind: str, shop: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "PRESSURE_S", 0.4)
    settings: dict[str, Any] = {
        "limits": {"responses_memory_bytes_max": 20 * MIB, "response_rate_min_bytes_per_s": 0},
        "timeouts": {"rate_grace_s": 0.4, "response_timeout_s": 30.0},
        "unix": kind == "unix",
        "tls": shop.server() if kind == "tls" else None,
    }
    with Engine(large, "asgi", **settings) as engine, contextlib.ExitStack() as stack:

        def connect() -> Client:
            client = stack.enter_context(engine.connect(4096))
            if kind == "tls":
                client.sock = client_context().wrap_socket(client.sock, server_hostname="shop.example")
            return client

        stuck = [connect() for _ in range(6)]
        for client in stuck:
            client.send(GET % (b"/chunked", 1))
        reader = connect()
        reader.send(GET % (b"/chunked", 1))
        size = 0
        while size < SIZE:  # at a pace at which it is there before it would be cut
            size += len(reader.sock.recv(16384))
        engine.wait_for_log("responses_memory_bytes_max 20 MiB")
        until(lambda: engine.call(lambda: engine.server.connections) <= 4, "the slowest to be gone")
        assert engine.call(lambda: engine.server.connections) >= 2, "and no more than those"
        assert connect().get("/small").body == b"small"
        assert engine.log.count("responses_memory_bytes_max") == 1, "said once in a while"


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_what_wsgi_responses_leave_behind_counts_too(
    worker_class: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "PRESSURE_S", 0.4)

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(MIB))])
        return [b"x" * MIB]

    with (
        Engine(
            application,
            worker_class,
            interface="wsgi",
            unix=True,  # its buffers are small
            limits={"responses_memory_bytes_max": 200_000, "response_rate_min_bytes_per_s": 0},
            timeouts={"rate_grace_s": 0.4},
        ) as engine,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(3):
            client = stack.enter_context(engine.connect())
            client.send(GET % (b"/", 1))
            left = MIB - 350_000
            while left:
                left -= len(client.sock.recv(min(left, 65536)))
        engine.wait_for_log("limits.responses_memory_bytes_max")


@pytest.mark.parametrize("path", ["/whole", "/chunked", "/last"])
def test_the_time_in_which_send_waits_is_the_clients(path: str) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/hangs":
            await send(START)
            await send(body(BODY, more=True))
            await asyncio.sleep(30)
        await large(scope, receive, send)

    with Engine(application, "asgi", timeouts={"request_timeout_s": 0.5}) as engine:
        with engine.connect(4096) as client:
            client.send(GET % (path.encode(), 1))
            head = client.read_until(b"\r\n\r\n")
            pass_time(1.2)
            if b"chunked" in head:
                assert b"".join(client.chunks()) == whole_of(path)
            else:
                assert client.read_exactly(SIZE) == BODY
            assert client.get("/small").body == b"small"
            assert "request timeout" not in engine.log
        with engine.connect(4096) as client:
            client.send(GET % (b"/hangs", 1))
            client.read_until(b"\r\n\r\n")
            pass_time(1.2)
            assert engine.log.count("request timeout") == 0
            with contextlib.suppress(ConnectionResetError):
                client.rest()
            engine.wait_for_log("request timeout: GET /hangs has run ")
            engine.wait_for_log(r"and waited for its client for ")


@pytest.mark.parametrize(("times", "watched_s"), [(1.1, 4.6), (2.5, 2.0), (40, 1.0)])
def test_the_further_beyond_the_limit_the_shorter_a_client_is_watched(
    times: float, watched_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[Any] = []
    monkeypatch.setattr(slow_clients, "taken_bytes", lambda _sock: 1000)
    settings = PoolSettings(app="test", limits=Limits(responses_memory_bytes_max=100 * MIB))
    rates = slow_clients.LeastRates(settings)
    held = int(times * 100 * MIB / 4)
    service = SimpleNamespace(
        context=SimpleNamespace(throttled=SimpleNamespace(warning=lambda *_: None)),
    )

    class Holder:
        sock = None

        def __init__(self) -> None:
            self.service = service

        def what(self) -> str:
            return "GET /"

        def abandon(self) -> None:
            """There is nothing to it."""

        def abort(self) -> None:
            gone.append(self)

    holders: list[Any] = [Holder() for _ in range(4)]
    for now in (100.0, 100.0 + watched_s - 0.1, 100.0 + watched_s):
        assert not gone
        rates._holders = [(each, held) for each in holders]
        rates.relieve(now)
    assert len(gone) == (4 if times == 40 else 1 if times == 1.1 else 3)
