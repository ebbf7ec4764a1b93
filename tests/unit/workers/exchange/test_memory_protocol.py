"""The runners, calls and requests with a protocol that is not HTTP/1.1: many exchanges on one connection.

What comes out of the three worker classes is judged by what a client in memory gets, event by event
(`tests.support.memory_protocol`). No HTTP/1.1 is written or read here.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.compiled import pure_only
from tests.support.engine import Engine
from tests.support.memory_apps import Gate, asgi_answer, asgi_block, asgi_start, wsgi_answer
from tests.support.memory_client import MemoryClient, Stream
from tests.support.memory_wire import Data, End, Head, Hints, Reset, Trailers
from tests.support.wait import until

pytestmark = pure_only  # its classes are based on the engine's

Start = Callable[..., MemoryClient]

MANY = 20


def kinds(stream: Stream) -> list[type]:
    return [type(event) for event in stream.events]


def test_hello(start: Start) -> None:
    stream = start().open()
    assert stream.whole().body == b"hello"
    assert kinds(stream) == [Head, Data, End]
    assert stream.head() == (200, {"content-type": "text/plain", "content-length": "5"})


def test_many_exchanges_of_one_connection_are_open_at_once(start: Start, worker_class: str) -> None:
    """Under threads and asgi all are in the application before the first answers; sync has all of them wait."""
    all_here = threading.Barrier(1 if worker_class == "sync" else MANY)
    here: list[str] = []
    all_in_loop = asyncio.Event()

    def wsgi(environ: Any, start_response: Any) -> Any:
        all_here.wait(60)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode() * 100]

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        here.append(scope["path"])
        if len(here) == MANY:
            all_in_loop.set()
        await all_in_loop.wait()
        await send(asgi_start(200))
        await send(asgi_block(scope["raw_path"] * 100, more=False))

    client = start(wsgi, asgi, threads=MANY)
    streams = [client.open(f"/{number}") for number in range(MANY)]
    for number, stream in enumerate(streams):
        assert stream.whole().body == f"/{number}".encode() * 100


def test_a_block_is_sent_before_the_next_is_asked_for(start: Start) -> None:
    gates = [Gate(), Gate()]

    def wsgi(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"one"
        gates[0].wait()
        yield b"two"
        gates[1].wait()
        yield b"three"

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send(asgi_start(200))
        await send(asgi_block(b"one"))
        await gates[0].passed()
        await send(asgi_block(b"two"))
        await gates[1].passed()
        await send(asgi_block(b"three", more=False))

    stream = start(wsgi, asgi).open()
    stream.wait_for_body(b"one")
    assert stream.head() == (200, {})
    gates[0].open()
    stream.wait_for_body(b"onetwo")
    assert not stream.is_over
    gates[1].open()
    assert stream.whole().body == b"onetwothree"


def test_early_hints(start: Start) -> None:
    """While the application still works, without the fields that are the server's."""
    gate = Gate()
    link = "</style.css>; rel=preload"

    def wsgi(environ: Any, start_response: Any) -> Any:
        environ["wsgi.early_hints"]([("Link", link), ("Content-Length", "5"), ("Connection", "close")])
        gate.wait()
        start_response("200 OK", [])
        environ["wsgi.early_hints"]([("Link", "</late>")])
        return [b"page"]

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": [link.encode()]})
        await gate.passed()
        await send(asgi_start(200))
        await send(asgi_block(b"page", more=False))

    stream = start(wsgi, asgi).open()
    assert stream.wait_for(Hints).fields == [(b"link", link.encode())]
    gate.open()
    assert stream.whole().body == b"page"
    assert [kind for kind in kinds(stream) if kind is not Hints] == [Head, Data, End]


@pytest.mark.parametrize("blocks", [[b"body"], [b"bo", b"dy"]])
@pytest.mark.parametrize(("te", "sent"), [([(b"te", b"trailers")], {"x-sum": "5", "x-more": "6"}), ([], {})])
def test_trailers(blocks: list[bytes], te: list[tuple[bytes, bytes]], sent: dict[str, str]) -> None:
    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send({**asgi_start(200, ("trailer", "x-sum")), "trailers": True})
        for number, block in enumerate(blocks, 1):
            await send(asgi_block(block, more=number < len(blocks)))
        trailers = {"type": "http.response.trailers", "more_trailers": True, "headers": [(b"X-Sum", b"5")]}
        await send(trailers)
        await send({**trailers, "more_trailers": False, "headers": [(b"x-more", b"6")]})

    with Engine(asgi, "asgi") as engine, MemoryClient(engine) as client:
        stream = client.open("/", "GET", *te)
        answer = stream.whole()
        assert (answer.body, answer.trailers) == (b"body", sent)
        assert kinds(stream)[-2:] == ([Trailers, End] if te else [Data, End])


@pytest.mark.parametrize(
    ("method", "status", "fields", "blocks", "length"),
    [
        ("HEAD", "200 OK", [("Content-Length", "4")], [b"body"], "4"),
        ("HEAD", "200 OK", [], [b"bo", b"dy"], None),
        ("GET", "204 No Content", [], [b""], None),
        ("GET", "304 Not Modified", [("Content-Length", "4")], [b"body"], "4"),
    ],
)
def test_responses_without_a_body(
    start: Start, method: str, status: str, fields: Any, blocks: list[bytes], length: str | None
) -> None:
    client = start(wsgi_answer(status, fields, *blocks), asgi_answer(int(status[:3]), fields, *blocks))
    stream = client.open("/", method)
    answer = stream.whole()
    assert (answer.status, answer.headers.get("content-length")) == (int(status[:3]), length)
    assert kinds(stream) == [Head, End]


def test_an_empty_body(start: Start) -> None:
    stream = start(wsgi_answer("200 OK", []), asgi_answer(200, [], b"")).open()
    assert stream.whole().headers["content-length"] == "0"
    assert kinds(stream) == [Head, End]


def test_a_body_that_is_longer_than_it_said(start: Start, worker_class: str) -> None:
    """WSGI is cut where it said; an ASGI application hears of it, and its client has no whole response."""
    said = [("Content-Length", "5")]
    client = start(wsgi_answer("200 OK", said, b"hello", b"more"), asgi_answer(200, said, b"hello", b"more"))
    stream = client.open()
    if worker_class == "asgi":
        assert isinstance(stream.end(), Reset)
    else:
        assert stream.whole().body == b"hello"
    assert stream.body == b"hello"


@pytest.mark.parametrize("blocks", [[b"hell"], [b"he", b"ll"]])
def test_a_body_that_is_shorter_than_it_said_is_never_whole(start: Start, blocks: list[bytes]) -> None:
    said = [("Content-Length", "5")]
    client = start(wsgi_answer("200 OK", said, *blocks), asgi_answer(200, said, *blocks))
    stream = client.open()
    end = stream.end()
    if isinstance(end, End):  # nothing had been sent yet
        assert stream.head()[0] == 500
    else:
        assert (stream.head()[0], stream.body) == (200, b"hell")
    client.engine.wait_for_log("Content-Length says")


def test_an_application_that_raises_before_its_response(start: Start) -> None:
    client = start()
    stream = client.open("/raise")
    assert (stream.whole().status, stream.body) == (500, b"500 Internal Server Error\n")
    client.engine.wait_for_log("Oops")
    assert client.open().whole().body == b"hello"


def test_an_application_that_raises_in_mid_response(start: Start, worker_class: str) -> None:
    """Others on the same connection have nothing to do with it."""
    client = start()
    other = client.open("/length?200000", window=200_000 if worker_class == "sync" else 10)
    stream = client.open("/middle")
    assert isinstance(stream.end(), Reset)
    other.allow(200_000)
    assert kinds(stream) == [Head, Data, Reset]
    assert stream.body == b"first"
    assert other.whole().body == b"x" * 200_000
    client.engine.wait_for_log("in mid-response")


def test_an_application_that_raises_behind_its_response(start: Start, worker_class: str) -> None:
    """All that it announced is there: the response is whole, and WSGI says so at once."""

    def wsgi(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "2")])
        yield b"o"
        yield b"k"
        raise ValueError("too late")

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send(asgi_start(200, ("content-length", "2")))
        await send(asgi_block(b"ok", more=False))
        raise ValueError("too late")

    client = start(wsgi, asgi)
    assert client.open().whole().body == b"ok"
    client.engine.wait_for_log("too late")


def test_what_an_application_is_told(start: Start, worker_class: str) -> None:
    client = start()
    told = json.loads(client.open("/path%20x?q=1", "PUT", (b"x-a", b"b")).whole().body)
    (peer, port), (server, server_port) = client.addresses()
    if worker_class == "asgi":
        assert (told["http_version"], told["method"], told["path"]) == ("2", "PUT", "/path x")
        assert (told["raw_path"], told["query_string"], told["scheme"]) == ("/path%20x", "q=1", "http")
        assert told["headers"] == [["host", "test"], ["x-a", "b"]]
        assert (told["client"], told["server"]) == ([peer, port], [server, server_port])
    else:
        assert (told["SERVER_PROTOCOL"], told["REQUEST_METHOD"], told["PATH_INFO"]) == (
            "HTTP/2.0",
            "PUT",
            "/path x",
        )
        assert (told["QUERY_STRING"], told["HTTP_HOST"], told["HTTP_X_A"]) == ("q=1", "test", "b")
        assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == (peer, str(port))
        assert (told["SERVER_NAME"], told["SERVER_PORT"]) == (server, str(server_port))


def test_a_trusted_proxy_names_the_client_of_each_exchange(start: Start, worker_class: str) -> None:
    """Of each for itself: they are many clients' on one connection."""
    client = start(trusted_proxies=("127.0.0.1",))
    addresses = ["192.0.2.7", "192.0.2.8"]
    streams = [
        client.open("/path", "GET", (b"x-forwarded-for", address.encode()), (b"x-forwarded-proto", b"https"))
        for address in addresses
    ]
    streams.append(client.open("/path"))
    told = [json.loads(stream.whole().body) for stream in streams]
    if worker_class == "asgi":
        assert [each["client"][0] for each in told] == [*addresses, "127.0.0.1"]
        assert [each["scheme"] for each in told] == ["https", "https", "http"]
    else:
        assert [each["REMOTE_ADDR"] for each in told] == [*addresses, "127.0.0.1"]
        assert [each["wsgi.url_scheme"] for each in told] == ["https", "https", "http"]


@pytest.mark.parametrize("host", [None, b"two hosts"])
def test_a_request_without_a_sound_host_is_refused(start: Start, host: bytes | None) -> None:
    client = start()
    refused, served = client.open(host=host), client.open()
    assert (refused.whole().status, served.whole().status) == (400, 200)


def test_files(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 2000)

    def wsgi(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file.open("rb"))

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await send(asgi_start(200))
        await send({"type": "http.response.pathsend", "path": str(file)})

    stream = start(wsgi, asgi, pathsend=True).open(window=100)
    stream.allow(1 << 20)
    answer = stream.whole()
    assert answer.body == file.read_bytes()
    assert answer.headers["content-length"] == "512000"


def test_one_large_block_goes_as_its_client_takes_it(start: Start) -> None:
    """Also where all of it is at hand at once; announced or not."""
    client = start(
        wsgi_answer("200 OK", [], bytes(1_000_000)), asgi_answer(200, [], bytes(1_000_000)), threads=2
    )
    stream = client.open(window=1000)
    stream.wait_for_body(bytes(1000))
    for _ in range(10):
        stream.allow(100_000)
    answer = stream.whole()
    assert (answer.body, answer.headers["content-length"]) == (bytes(1_000_000), "1000000")


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_blocks_that_are_written_go_before_those_that_are_returned(start: Start) -> None:
    def wsgi(_environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        write(b"one, ")
        write(b"two, ")
        return [b"three"]

    stream = start(wsgi).open()
    assert stream.whole().body == b"one, two, three"
    assert kinds(stream) == [Head, Data, Data, Data, End]


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_a_response_is_whole_for_its_client_before_its_iterable_is_closed(start: Start) -> None:
    """What close() does is nothing that a client has to wait for, if the loop is free to send."""
    gate = Gate()

    class Blocks:
        def __iter__(self) -> Any:
            return iter([b"one, ", b"two"])

        def close(self) -> None:
            gate.wait()

    def wsgi(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "8")])
        return Blocks()

    stream = start(wsgi).open()
    assert stream.whole().body == b"one, two"
    assert gate.reached.wait(60)
    gate.open()


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
@pytest.mark.parametrize("overload", ["wait", "refuse"])
def test_requests_over_the_bound_wait_or_are_refused(start: Start, overload: str) -> None:
    """``requests_max`` counts exchanges, whatever connection they are on."""
    gate = Gate()

    def wsgi(_environ: Any, start_response: Any) -> Any:
        gate.wait()
        start_response("200 OK", [])
        return [b"served"]

    async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
        await gate.passed()
        await send(asgi_start(200))
        await send(asgi_block(b"served", more=False))

    client = start(wsgi, asgi, requests_max=1, overload=overload, threads=1)
    first = client.open()
    assert gate.reached.wait(60)
    second = client.open()
    if overload == "refuse":
        assert second.whole().status == 503
    else:
        client.exchange(second)
        assert second.events == []
    gate.open()
    assert first.whole().body == b"served"
    if overload == "wait":
        assert second.whole().body == b"served"


def test_the_access_log_names_client_and_protocol_of_each(start: Start) -> None:
    client = start(access_log=True, trusted_proxies=("127.0.0.1",))
    assert client.open("/one", "GET", (b"user-agent", b"a")).whole().status == 200
    assert client.open("/two", "GET", (b"x-forwarded-for", b"192.0.2.7")).whole().status == 200
    assert client.open("/three", "GET", host=None).whole().status == 400
    engine = client.engine
    until(lambda: engine.access_path.read_text().count("\n") == 3, "the lines")
    one, two, three = engine.access_path.read_text().splitlines()
    assert one.startswith("127.0.0.1 - - ")
    assert '"GET /one HTTP/2.0" 200 5 "-" "a"' in one
    assert two.startswith("192.0.2.7 - - ")
    assert '"GET /two HTTP/2.0" 200 5' in two
    assert '"GET /three HTTP/2.0" 400' in three
