"""Large files and slow readers: the call ends, and the loop sends the rest."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import Client, Engine
from tests.support.raw import reset_at_close
from tests.support.wait import until

SIZE = 6_000_000
"""More than the loop sends in one turn."""
CONTENT = bytes(range(250)) * (SIZE // 250)
HUGE = 1 << 27
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
BEFORE = b"before "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


class Files:
    """/file is the file, /after-write has something before it, anything else is small."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened: list[Any] = []

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] not in {"/file", "/after-write"}:
            start_response("200 OK", [])
            return [b"other"]
        self.opened.append(self.path.open("rb"))
        if environ["PATH_INFO"] == "/after-write":
            length = len(BEFORE) + self.path.stat().st_size
            start_response("200 OK", [("Content-Length", str(length))])(BEFORE)
        else:
            start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](self.opened[-1])


@pytest.fixture
def files(path: Path) -> Files:
    return Files(path)


def connect(engine: Engine) -> Client:
    """A client for which the kernel keeps little, on either side."""
    client = engine.connect(receive_buffer=4096)
    until(lambda: engine.server.connections, "the connection")
    for connection in engine.call(lambda: list(engine.server._connections)):
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return client


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_slow_reader_holds_no_worker(serve: Callable[..., Engine], files: Files) -> None:
    """Others are served before it has read anything; its file object is closed by then."""
    engine = serve(files, threads=1)
    with connect(engine) as slow:
        slow.send(GET % b"/file")
        slow.read_until(b"\r\n\r\n")
        with engine.connect() as other:
            assert other.get().body == b"other"
        until(lambda: files.opened[0].closed, "the file to be closed")
        until(lambda: engine.server.active_requests == 0, "the call to end")
        assert slow.read_exactly(SIZE) == CONTENT
        assert slow.get().body == b"other"


@pytest.mark.parametrize("name", [b"/file", b"/after-write"])
def test_requests_behind_it_wait_their_turn(serve: Callable[..., Engine], files: Files, name: bytes) -> None:
    engine = serve(files, threads=2)
    expected = CONTENT if name == b"/file" else BEFORE + CONTENT
    before = descriptors()
    with connect(engine) as client:
        client.send((GET % name + GET % b"/other") * 3)
        for _ in range(3):
            assert client.response().body == expected
            assert client.response().body == b"other"
        client.send(b"GET " + name + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.response().body == expected
        assert client.at_end()
    until(lambda: descriptors() <= before + 2, "all descriptors to be closed")


def test_many_slow_readers_cost_no_memory(serve: Callable[..., Engine], files: Files) -> None:
    with files.path.open("ab") as file:
        file.truncate(1 << 30)
    engine = serve(files, threads=1, timeouts={"response_timeout_s": 2.0})
    clients = [engine.connect(receive_buffer=4096) for _ in range(30)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for client in clients:
        client.send(GET % b"/file")
    for client in clients:
        client.read_until(b"\r\n\r\n")
    with engine.connect() as other:
        assert other.get().body == b"other"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
    until(lambda: engine.server.connections == 0, "the readers that stopped to be dropped")
    for client in clients:
        client.sock.close()


def test_a_client_that_goes_away_meanwhile_leaves_nothing_behind(
    serve: Callable[..., Engine], files: Files
) -> None:
    engine = serve(files)
    with engine.connect() as client:
        client.get()
    until(lambda: engine.server.connections == 0, "the first connection to be gone")
    before = descriptors()
    for _ in range(10):
        with connect(engine) as client:
            client.send(GET % b"/file")
            client.read_until(b"\r\n\r\n")
            reset_at_close(client.sock)
        until(lambda: engine.call(lambda: engine.server.connections) == 0, "the connection to be gone")
    until(lambda: descriptors() <= before, "all descriptors to be closed")
    assert " error " not in engine.log


def test_a_file_that_shrinks_meanwhile_aborts(serve: Callable[..., Engine], files: Files) -> None:
    engine = serve(files)
    with connect(engine) as client:
        client.send(GET % b"/file")
        client.read_until(b"\r\n\r\n")
        until(lambda: files.opened[0].closed, "the call to end")
        os.truncate(files.path, 100)
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.read_exactly(SIZE)
    engine.wait_for_log("bytes shorter than Content-Length says; connection aborted")
    until(lambda: engine.call(lambda: engine.server.connections) == 0, "the connection to be gone")


def test_without_a_descriptor_to_spare_the_call_waits(
    serve: Callable[..., Engine], files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int) -> int:
        raise OSError(24, "Too many open files")

    engine = serve(files)
    with connect(engine) as client:
        monkeypatch.setattr(os, "dup", refuse)
        client.send(GET % b"/file" * 2)
        assert client.response().body == CONTENT
        assert client.response().body == CONTENT


def test_a_drain_waits_for_it(serve: Callable[..., Engine], files: Files) -> None:
    engine = serve(files, timeouts={"linger_s": 0.1})
    with connect(engine) as client:
        client.send(GET % b"/file")
        client.read_until(b"\r\n\r\n")
        until(lambda: files.opened[0].closed, "the call to end")
        engine.call(lambda: engine.server.drain(sweep=False))
        assert not engine.call(lambda: engine.server.drained)
        assert client.read_exactly(SIZE) == CONTENT
        assert client.at_end()
    until(lambda: engine.call(lambda: engine.server.drained), "the drain")


def test_a_fast_reader_gets_it_quickly_and_others_in_between(
    serve: Callable[..., Engine], files: Files
) -> None:
    """A large file to a client on the same machine does not keep the loop to itself."""
    with files.path.open("ab") as file:
        file.truncate(HUGE)
    engine = serve(files, threads=1)
    with engine.connect() as fast, engine.connect() as other:
        fast.send(GET % b"/file")
        fast.read_until(b"\r\n\r\n")
        left = HUGE - len(fast.buffer)
        answered = 0
        other.send(GET % b"/")
        while left:
            left -= len(fast.sock.recv(1 << 20))
            if not answered:
                other.sock.setblocking(False)
                try:
                    assert other.sock.recv(1000).endswith(b"other")
                    answered = left
                except BlockingIOError:
                    pass
        assert answered, "the other was not answered before the file had gone"
