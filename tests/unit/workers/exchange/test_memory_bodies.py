"""Bodies of requests by the protocol in memory, received before the call (``body_buffering``) or in the midst of it.

No field says that there is one, but for those tests that say so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.compiled import pure_only
from tests.support.memory_apps import Gate, asgi_block, asgi_echo, asgi_start, wsgi_echo
from tests.support.memory_client import MemoryClient
from tests.support.memory_wire import Continue, Data, End, Head, Reset
from tests.support.wait import until

pytestmark = pure_only  # its classes are based on the engine's

Start = Callable[..., MemoryClient]

LIMIT = 100_000
LARGE = bytes(range(256)) * 2000
EXPECT = (b"expect", b"100-continue")


def length(size: int) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % size


@pytest.fixture(params=[True, False], ids=["buffered", "streamed"])
def echo(request: pytest.FixtureRequest, start: Start) -> Callable[..., MemoryClient]:
    return lambda **settings: start(wsgi_echo, asgi_echo, body_buffering=request.param, **settings)


@pytest.mark.parametrize("size", [5, 70_000, 200_000])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_comes_with_its_head(
    echo: Callable[..., MemoryClient], size: int, announced: bool
) -> None:
    body = LARGE[:size]
    stream = echo().open("/", "POST", *([length(size)] if announced else []), body=body)
    assert stream.whole().body == body


@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_that_is_larger_than_the_buffers(
    echo: Callable[..., MemoryClient], announced: bool
) -> None:
    """Two at once, block by block: each has its own."""
    client = echo(limits={"body_memory_bytes": 65536})
    fields = [length(len(LARGE))] if announced else []
    one, other = client.post("/", *fields, body=LARGE[:10]), client.post("/", *fields)
    threads = [
        threading.Thread(target=_upload, args=(one, LARGE[10:]), daemon=True),
        threading.Thread(target=_upload, args=(other, LARGE[::-1]), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert one.whole().body == LARGE
    assert other.whole().body == LARGE[::-1]


def _upload(stream: Any, body: bytes) -> None:
    stream.upload(body)
    stream.finish()


def test_a_body_that_says_it_is_too_large_is_refused_unread(echo: Callable[..., MemoryClient]) -> None:
    stream = echo(limits={"body_bytes_max": LIMIT}).post("/", length(LIMIT + 1))
    assert stream.whole().status == 413
    stream.wait_for(Reset)


def test_a_body_that_becomes_too_large(echo: Callable[..., MemoryClient]) -> None:
    client = echo(limits={"body_bytes_max": LIMIT})
    stream = client.post("/")
    stream.upload(LARGE)
    stream.finish()
    assert stream.whole().status == 413
    at_once = client.open("/", "POST", body=LARGE)
    assert at_once.whole().status == 413
    just = client.open("/", "POST", body=LARGE[:LIMIT])
    assert just.whole().body == LARGE[:LIMIT]


def test_a_body_that_is_cut_short(echo: Callable[..., MemoryClient]) -> None:
    client = echo()
    stream = client.post("/", length(10), body=b"half")
    stream.finish()
    assert stream.whole().status == 400
    assert client.open("/", "POST", length(10)).whole().status == 400
    assert client.open("/", "POST", length(4), body=b"half").whole().body == b"half"


def test_a_client_that_waits_to_be_asked_for_its_body(echo: Callable[..., MemoryClient]) -> None:
    stream = echo().post("/", EXPECT)
    stream.wait_for(Continue)
    stream.upload(b"now")
    stream.finish()
    assert stream.whole().body == b"now"
    assert [type(event) for event in stream.events] == [Continue, Head, Data, End]


def test_a_body_that_nobody_asks_for(start: Start) -> None:
    """The response is whole, and the client told that its body is not wanted."""

    def wsgi(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"no"]

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send(asgi_start(200, ("content-length", "2")))
        await send(asgi_block(b"no", more=False))

    stream = start(wsgi, asgi, body_buffering=False).post("/", EXPECT)
    assert stream.whole().body == b"no"
    stream.wait_for(Reset)
    assert [type(event) for event in stream.events] == [Head, Data, End, Reset]


def test_an_upload_comes_as_fast_as_it_is_read(start: Start, worker_class: str) -> None:
    """What the application does not read stays with the client, but for what fits into the buffers."""
    gate = Gate()
    taken: list[int] = []

    def wsgi(environ: Any, start_response: Any) -> Any:
        gate.wait()
        while block := environ["wsgi.input"].read(10_000):
            taken.append(len(block))
        start_response("200 OK", [])
        return [str(sum(taken)).encode()]

    async def asgi(_scope: Any, receive: Any, send: Any) -> None:
        await gate.passed()
        more = True
        while more:
            message = await receive()
            taken.append(len(message["body"]))
            more = message["more_body"]
        await send(asgi_start(200))
        await send(asgi_block(str(sum(taken)).encode(), more=False))

    client = start(wsgi, asgi, body_buffering=False)
    stream = client.post("/")
    exchange = client.exchange(stream)
    upload = threading.Thread(target=_upload, args=(stream, LARGE), daemon=True)
    upload.start()
    assert gate.reached.wait(60)
    in_loop = worker_class == "sync"  # which does not read at all meanwhile
    until(
        lambda: stream.unread == client.upload_window and (in_loop or exchange.read_paused),
        "the client to be held up",
    )
    if not in_loop:  # no sweep takes a client for gone that has no descriptor
        client.engine.call(lambda: client.engine.server.runner.on_sweep(time.monotonic()))
    assert stream.acknowledged <= 3 * client.upload_window < len(LARGE)
    gate.open()
    upload.join(60)
    assert stream.whole().body == str(len(LARGE)).encode()


def test_a_response_while_the_body_comes(start: Start) -> None:
    """Both ways at once, each part answered before the next is sent."""

    def wsgi(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        while part := environ["wsgi.input"].read(4):
            write(part.upper())
        return []

    async def asgi(_scope: Any, receive: Any, send: Any) -> None:
        await send(asgi_start(200))
        while (message := await receive())["more_body"]:
            await send(asgi_block(message["body"].upper()))
        await send(asgi_block(b"", more=False))

    client = start(wsgi, asgi, body_buffering=False)
    stream = client.post("/")
    expected = b""
    for part in (b"part", b"next", b"last"):
        stream.upload(part)
        expected += part.upper()
        stream.wait_for_body(expected)
    stream.finish()
    assert stream.whole().body == expected


def test_a_client_that_leaves_while_its_body_is_received(start: Start) -> None:
    """Before the call: there is none."""
    called: list[str] = []

    def wsgi(environ: Any, start_response: Any) -> Any:
        called.append(environ["PATH_INFO"])
        return wsgi_echo(environ, start_response)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        while message["type"] == "http.request" and message["more_body"]:
            message = await receive()
        called.append(message["type"] if scope["path"] == "/gone" else scope["path"])
        await send(asgi_start(200))
        await send(asgi_block(b"", more=False))

    client = start(wsgi, asgi)
    stream, other = client.post("/gone", body=b"half"), client.post("/other")
    client.exchange(stream)
    stream.leave()
    until(lambda: len(client.exchanges) == 1, "the exchange to be gone")
    other.finish()
    assert other.whole().status == 200
    assert [each for each in called if each != "http.disconnect"] == ["/other"]
    assert stream.events == []


def test_a_client_that_leaves_while_its_body_is_read(start: Start, worker_class: str) -> None:
    seen: list[Any] = []
    gate = Gate()

    def wsgi(environ: Any, start_response: Any) -> Any:
        assert environ["wsgi.input"].read(4) == b"half"
        gate.reached.set()
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            seen.append(str(error))
            raise
        return []

    async def asgi(_scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == b"half"
        gate.reached.set()
        seen.append((await receive())["type"])

    client = start(wsgi, asgi, body_buffering=False)
    stream = client.post("/", body=b"half")
    assert gate.reached.wait(60)
    stream.leave()
    until(lambda: seen, "the application to hear of it")
    assert seen == ["http.disconnect" if worker_class == "asgi" else "the client went away"]
    until(lambda: not client.exchanges, "the exchange to be gone")
    assert stream.events == []


def test_bodies_beyond_what_the_worker_has_room_for(start: Start) -> None:
    """Each in its window, but all together too much: refused, and room again when the others are over."""
    limits = {"bodies_memory_bytes_max": 50_000, "bodies_disk_bytes_max": 50_000, "body_memory_bytes": 20_000}
    client = start(wsgi_echo, asgi_echo, limits=limits)
    streams = [client.post("/") for _ in range(3)]
    if client.engine.server.context.interface == "wsgi":
        for stream in streams:
            stream.upload(LARGE[:40_000])
        refused = until(lambda: [each for each in streams if each.is_over], "one to be refused")
        assert {each.whole().status for each in refused} == {503}
    for stream in streams:
        stream.finish()
    assert {stream.whole().status for stream in streams} <= {200, 503}
    assert client.open("/", "POST", body=LARGE[:1000]).whole().body == LARGE[:1000]
