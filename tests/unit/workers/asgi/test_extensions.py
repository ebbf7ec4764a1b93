"""Extensions of the http scope: early hints, trailers, files by path."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from gwctl.workers.asgi import extensions
from tests.support.engine import Client, Engine
from tests.support.wait import until

pytestmark = pytest.mark.usefixtures("asgi_under")

START = {"type": "http.response.start", "status": 200, "headers": []}
TRAILED = {**START, "trailers": True, "headers": [(b"trailer", b"x-sum")]}
TE = "TE: gzip;q=0.5, trailers"
SUM = {"type": "http.response.trailers", "headers": [(b"x-sum", b"5")]}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def pathsend(path: Any) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


def hint(*links: bytes) -> dict[str, Any]:
    return {"type": "http.response.early_hint", "links": links}


def sends(*messages: Any) -> Any:
    async def application(scope, receive, send):
        for message in messages:
            await send(message)

    return application


def trailers(client: Client) -> list[bytes]:
    """What follows the last chunk, after `Client.chunks`, whose last read was that chunk's empty line."""
    lines = []
    while line := client.read_until(b"\r\n")[:-2]:
        lines.append(line)
    return lines


def chunked_body(client: Client) -> bytes:
    whole = b""
    while size := int(client.read_until(b"\r\n"), 16):
        whole += client.read_exactly(size)
        assert client.read_exactly(2) == b"\r\n"
    return whole


# ---- what is offered


@pytest.mark.parametrize("pathsend", [True, False])
def test_extensions_are_offered_and_one_connection_cannot_spoil_them_for_others(pathsend: bool) -> None:
    offers = []

    async def application(scope, receive, send):
        offers.append((scope["http_version"], sorted(scope["extensions"])))
        scope["extensions"].clear()
        await send(START)
        await send(body(b""))

    with Engine(application, "asgi", pathsend=pathsend) as engine:
        for _ in range(2):
            with engine.connect() as client:
                client.get("/")
        with engine.connect() as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert client.response().status == 200
    always = ["gwctl.draining", *(["http.response.pathsend"] if pathsend else [])]
    all_of_them = sorted([*always, "http.response.early_hint", "http.response.trailers"])
    assert offers == [("1.1", all_of_them)] * 2 + [("1.0", always)]


# ---- early hints


@pytest.mark.parametrize("started", [True, False])
def test_early_hints_go_out_before_the_response(started: bool) -> None:
    hints = [hint(b"</a.css>; rel=preload; as=style", b"</b.js>; rel=preload"), hint(b"</c>; rel=next")]
    first = [START, *hints] if started else [*hints, START]
    with Engine(sends(*first, body(b"page")), "asgi") as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_until(b"\r\n\r\n") == (
            b"HTTP/1.1 103 Early Hints\r\n"
            b"Link: </a.css>; rel=preload; as=style\r\nLink: </b.js>; rel=preload\r\n\r\n"
        )
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nLink: </c>; rel=next\r\n\r\n"
        assert client.response().body == b"page"
        assert client.get("/").status == 103  # kept alive


def test_early_hints_are_not_for_http_1_0_nor_in_a_response() -> None:
    late = sends(START, body(b"be", more=True), hint(b"</a>; rel=next"), body(b"gun"))
    with Engine(late, "asgi") as engine, engine.connect() as client:
        assert client.get("/").chunks == (b"be", b"gun")
    early = sends(hint(b"</a>; rel=next"), START, body(b"page"))
    with Engine(early, "asgi") as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.response().body == b"page"


def test_an_early_hint_cannot_split_the_response() -> None:
    with Engine(sends(hint(b"</a>\r\nX: y"), START), "asgi") as engine, engine.connect() as client:
        assert client.get("/").status == 500
        engine.wait_for_log("control characters")


# ---- trailers


@pytest.mark.parametrize(
    "blocks",
    [[body(b"whole")], [body(b"wh", more=True), body(b"ole")], [body(b"whole", more=True), body(b"")]],
)
def test_trailers_follow_the_last_chunk(blocks: list[Any]) -> None:
    more = {**SUM, "headers": [(b"server-timing", b"db;dur=53")], "more_trailers": True}
    with Engine(sends(TRAILED, *blocks, more, SUM), "asgi") as engine, engine.connect() as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + TE.encode() + b"\r\n\r\n")
            status, headers = client.head()
            assert (status, headers["transfer-encoding"], headers["trailer"]) == (200, "chunked", "x-sum")
            assert chunked_body(client) == b"whole"
            assert trailers(client) == [b"server-timing: db;dur=53", b"x-sum: 5"]
        assert engine.log == ""


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\nTE: trailers\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTE: nottrailers\r\n\r\n",
    ],
)
def test_trailers_nobody_can_take_are_left_out(request_head: bytes) -> None:
    with Engine(sends(TRAILED, body(b"whole"), SUM), "asgi") as engine, engine.connect() as client:
        client.send(request_head)
        response = client.response()
        assert (response.headers["content-length"], response.body) == ("5", b"whole")
        assert "error" not in engine.log


@pytest.mark.parametrize(
    ("headers", "method"), [([(b"content-length", b"5")], b"GET"), ([], b"HEAD"), ([(b"x", b"y")], b"HEAD")]
)
def test_trailers_without_a_last_chunk_are_left_out(headers: list[Any], method: bytes) -> None:
    start = {**TRAILED, "headers": headers}
    with Engine(sends(start, body(b"whole"), SUM), "asgi") as engine, engine.connect() as client:
        for _ in range(2):
            client.send(method + b" / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
            response = client.response(head_only=method == b"HEAD")
            assert response.status == 200
            assert response.body == (b"" if method == b"HEAD" else b"whole")
        assert "error" not in engine.log


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([TRAILED, body(b"x", more=True), SUM], "before the body was complete"),
        ([TRAILED, body(b"x"), body(b"y"), SUM], "after the body was complete"),
        ([TRAILED, body(b"x"), body(b""), SUM], "after the body was complete"),
        ([TRAILED, body(b"x")], "returned in mid-response"),
        ([TRAILED, body(b"x"), {**SUM, "headers": [(b"content-length", b"1")]}], "not allowed as a trailer"),
        ([TRAILED, body(b"x"), {**SUM, "headers": [(b"connection", b"close")]}], "not allowed as a trailer"),
        ([TRAILED, body(b"x"), {**SUM, "headers": [(b"x", b"a\r\nb: c")]}], "control characters"),
        ([TRAILED, body(b"x"), {**SUM, "headers": [("x", "y")]}], "must be bytes"),
        ([START, body(b"x", more=True), SUM], "was not announced"),
    ],
)
def test_broken_trailers_never_look_complete(messages: list[Any], words: str) -> None:
    with Engine(sends(*messages), "asgi") as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
        with pytest.raises((ConnectionResetError, AssertionError)):  # Truncated is an AssertionError
            client.response()
            trailers(client)
        engine.wait_for_log(words)


# ---- files


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """8 MiB that differ at each place."""
    path = tmp_path_factory.mktemp("files") / "big"
    path.write_bytes(b"".join(b"%07x " % number for number in range(1 << 20)))
    return path


@pytest.mark.parametrize("unix", [True, False])
@pytest.mark.parametrize("length", [None, 8 << 20, 1 << 20, 7])
def test_a_file_is_sent(big, unix: bool, length: int | None) -> None:
    """With the application's Content-Length no more of it than that; then the connection goes on."""
    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    application = sends({**START, "headers": headers}, pathsend(big))
    expected = big.read_bytes()[:length]
    with Engine(application, "asgi", unix=unix, access_log=True) as engine, engine.connect() as client:
        for _ in range(3):
            response = client.get("/")
            assert response.headers["content-length"] == str(len(expected))
            assert response.body == expected
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)  # pipelined: what is left of one goes first
        assert [client.response().body == expected for _ in range(3)] == [True] * 3
        until(
            lambda: (
                engine.call(engine.server.accounts.flush) or engine.access_path.read_text().count("\n") == 6
            ),
            "6",
        )
        assert f'" 200 {len(expected)} "' in engine.access_path.read_text()


@pytest.mark.parametrize("block_bytes", [16, 262_144])
@pytest.mark.parametrize("path", ["/proc/filesystems", "empty"])
def test_a_file_that_does_not_say_its_size_is_read_to_its_end(
    tmp_path, monkeypatch, path: str, block_bytes: int
) -> None:
    """As those of /proc: their size is 0, which an empty file's is too."""
    (tmp_path / "empty").touch()
    file = tmp_path / path
    monkeypatch.setattr(extensions, "FILE_BLOCK_BYTES", block_bytes)
    with Engine(sends(START, pathsend(file)), "asgi") as engine, engine.connect() as client:
        for _ in range(2):
            response = client.get()
            assert response.status == 200
            assert response.body == file.read_bytes()
        if path == "empty":
            assert response.headers["content-length"] == "0"


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145])
def test_small_files_and_other_framings(tmp_path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    with Engine(sends(START, pathsend(path)), "asgi") as engine, engine.connect() as client:
        assert client.get("/").body == path.read_bytes()
        client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = client.response(head_only=True)
        assert head.headers.get("content-length") == (str(size) if size else None)
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.rest().partition(b"\r\n\r\n")[2] == path.read_bytes()
    with Engine(sends(TRAILED, pathsend(path), SUM), "asgi") as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
        client.head()
        assert chunked_body(client) == path.read_bytes()
        assert trailers(client) == [b"x-sum: 5"]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([START, pathsend("relative")], "must be absolute"),
        ([START, {"type": "http.response.pathsend", "path": 5}], "must be absolute"),
        ([START, pathsend("/no/such/file")], "FileNotFoundError"),
        ([START, pathsend("/tmp")], "not that of a regular file"),
        ([START, pathsend("/dev/zero")], "not that of a regular file"),
        ([pathsend("/etc/hostname")], "before http.response.start"),
    ],
)
def test_a_file_that_cannot_be_sent_is_a_500(messages: list[Any], words: str) -> None:
    with Engine(sends(*messages), "asgi") as engine, engine.connect() as client:
        assert client.get("/").status == 500
        engine.wait_for_log(words)


def test_a_file_shorter_than_announced_is_a_500(big) -> None:
    start = {**START, "headers": [(b"content-length", b"%d" % (9 << 20))]}
    with Engine(sends(start, pathsend(big)), "asgi") as engine, engine.connect() as client:
        assert client.get("/").status == 500
        engine.wait_for_log("1048576 bytes shorter than Content-Length says")


@pytest.mark.not_under("sync", "threads", reason="slow readers are spooled and judged as those of WSGI are")
@pytest.mark.parametrize("ahead", [b"", b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_client_that_stops_reading_a_file_is_cut_off_and_costs_nothing_meanwhile(
    tmp_path, ahead: bytes
) -> None:
    """Also if its response comes behind another that must not be lost to a reset."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    over = []

    async def application(scope, receive, send):
        if scope["path"] == "/other":
            await send(START)
            await send(body(b"served"))
            return
        await send(START)
        await send(pathsend(path))
        over.append(await receive())

    limits = {"response_timeout_s": 1.5}
    with (
        Engine(application, "asgi", timeouts=limits) as engine,
        engine.connect(receive_buffer=4096) as client,
        engine.connect() as other,
    ):
        client.send(ahead + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        if ahead:
            assert client.response().body == b"served"
        client.head()
        assert other.get("/other").body == b"served"
        busy = time.process_time()
        until(lambda: over, "the file to be given up")
        assert time.process_time() - busy < 0.4  # it waits, it does not turn
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.read_exactly(1 << 30)
        until(lambda: not engine.call(lambda: engine.server.active_requests), "the request to end")
        assert engine.log.endswith("GET /: the client took no byte for 1.5 s; connection aborted\n")


def test_a_file_in_blocks_lets_others_have_their_turn_and_ends_with_its_client(tmp_path, monkeypatch) -> None:
    """The client takes each block at once, so that nothing ever has to wait; then it is gone."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    reading, blocks = os.pread, []

    def pread(file: int, size: int, offset: int) -> bytes:
        blocks.append(offset)
        assert len(blocks) < 20_000, "the loop was not let go"
        return reading(file, min(size, 1024), offset)

    monkeypatch.setattr("gwctl.workers.asgi.extensions.os.pread", pread)
    with Engine(sends(TRAILED, pathsend(path), SUM), "asgi") as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
        client.head()
        client.read_exactly(500_000)
        client.sock.close()
        until(lambda: not engine.call(lambda: engine.server.active_requests), "the request to end")
        assert engine.log == ""


@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_goes_while_it_is_sent_a_file(tmp_path, reset: bool) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with Engine(sends(START, pathsend(path)), "asgi") as engine:
        client = engine.connect(receive_buffer=4096)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.head()
        if not reset:
            client.finish_sending()
        client.sock.close()
        until(lambda: not engine.call(lambda: engine.server.active_requests), "the request to end")
        assert engine.log == ""
