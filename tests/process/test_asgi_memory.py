"""Constant memory of a live `asgi` worker, whatever the size of what passes through it.

What is measured is the highest resident size while something large passes, less the size
before. Each bound stands beside an application, or a setting, that does hold everything, for
which the same measurement must show it.

TEST_MIB changes the size of the bodies.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.engine import PARSERS, Client
from tests.support.raw import connect
from tests.support.server import GwctlServer
from tests.support.wait import until
from tests.support.websocket import BINARY, TEXT, frame, open_on, read_close, read_frame

MIB = 1 << 20
SIZE = int(os.environ.get("TEST_MIB", "64")) * MIB
GROWTH_MAX = 8 * MIB
BLOCK = b"u" * 65536


class Memory:
    """Of a process, from now on: `growth` is the highest resident size less the present one, in bytes."""

    def __init__(self, server: GwctlServer) -> None:
        (pid,) = server.workers
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5")  # proc(5): the peak starts afresh
        self._before = self._read("VmRSS")

    def _read(self, name: str) -> int:
        for line in (self._folder / "status").read_text("utf-8").splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(name)

    @property
    def growth(self) -> int:
        return self._read("VmHWM") - self._before


def large(gwctl_server: type[GwctlServer], parser: str = PARSERS[0], **settings: object) -> GwctlServer:
    return gwctl_server("asgi_large:application", worker="asgi", environ={"GWCTL_PARSER": parser}, **settings)


def send_body(client: Client, path: str, chunked: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % SIZE
    client.sock.settimeout(110)
    client.send(b"POST " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
    block = b"10000\r\n" + BLOCK + b"\r\n" if chunked else BLOCK
    for _ in range(SIZE // 65536):
        client.send(block)
    if chunked:
        client.send(b"0\r\n\r\n")


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("chunked", [True, False])
def test_an_upload_that_the_application_reads_slowly(gwctl_server, parser: str, chunked: bool) -> None:
    with large(gwctl_server, parser) as server, connect(server) as client:
        client.get("/progress")
        memory = Memory(server)
        send_body(client, "/upload", chunked)
        assert client.response().body == str(SIZE).encode()
        assert memory.growth < GROWTH_MAX
        send_body(client, "/collect", chunked)
        assert client.response().body == str(SIZE).encode()
        assert memory.growth > SIZE * 0.8  # the same measurement sees what an application holds


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_download_that_the_client_reads_slowly(gwctl_server, parser: str, version: bytes) -> None:
    """First not at all, until the application is held, then in small pieces."""
    with large(gwctl_server, parser) as server, connect(server) as other:
        blocks = SIZE // 65536
        assert other.get("/progress").body == b"0"
        memory = Memory(server)
        with connect(server, receive_buffer=16384) as client:
            client.sock.settimeout(110)
            client.send(b"GET /download?%d HTTP/" % blocks + version + b"\r\nHost: x\r\n\r\n")
            client.head()
            held = held_at(lambda: int(other.get("/progress").body))
            assert held < blocks // 2
            size = sum(map(len, client.chunks())) if version == b"1.1" else len(client.rest())
            assert size == SIZE
        assert memory.growth < GROWTH_MAX
        other.sock.settimeout(110)
        other.send(b"GET /at-once?%d HTTP/1.1\r\nHost: x\r\n\r\n" % blocks)
        assert len(other.response().body) == SIZE
        assert memory.growth > SIZE * 0.8


def held_at(progress: Callable[[], int]) -> int:
    """Wait until ``progress`` stays the same, above 0, and return it."""
    before = -1

    def same() -> bool:
        nonlocal before
        now = progress()
        is_same = now == before > 0
        before = now
        return is_same

    until(same, "the application to be held")
    return before


def test_a_file_sent_by_path(gwctl_server, tmp_path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(SIZE)
    with large(gwctl_server) as server, connect(server, receive_buffer=16384) as client:
        client.get("/progress")
        memory = Memory(server)
        client.sock.settimeout(110)
        client.send(b"GET /file?%s HTTP/1.1\r\nHost: x\r\n\r\n" % bytes(path))
        assert len(client.response().body) == SIZE
        assert memory.growth < 4 * MIB


def packed(size: int) -> bytes:
    """``size`` zeros as a permessage-deflate message: a thousandth of it."""
    packer = zlib.compressobj(9, wbits=-15)
    zeros = bytes(MIB)
    parts = [packer.compress(zeros) for _ in range(size // MIB)]
    return (b"".join(parts) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"


def test_a_zip_bomb(gwctl_server) -> None:
    """A message of 256 KiB that holds 256 MiB is refused with 1009, at the cost of what is allowed."""
    bomb = frame(BINARY, packed(256 * MIB), rsv=4)
    assert len(bomb) < MIB
    with large(gwctl_server, websocket={"message_bytes_max": MIB}) as server:
        with connect(server) as client:
            open_on(client, DEFLATE, path=b"/count")
        memory = Memory(server)
        for _ in range(10):
            with connect(server) as client:
                open_on(client, DEFLATE, path=b"/count")
                client.send(bomb)
                assert read_close(client)[0] == 1009
        assert memory.growth < GROWTH_MAX
    with large(gwctl_server, websocket={"message_bytes_max": 512 * MIB}) as server, connect(server) as client:
        open_on(client, path=b"/count")
        client.send(frame(BINARY, b"x"))
        assert read_frame(client) == (TEXT, b"1")
        memory = Memory(server)
        with connect(server) as other:
            open_on(other, DEFLATE, path=b"/count")
            other.send(bomb)
            other.read_exactly(2)
        assert memory.growth > 200 * MIB


@pytest.mark.parametrize("payload", [packed(MIB), packed(0)])
def test_compressed_messages_that_nobody_receives(gwctl_server, payload: bytes) -> None:
    """A thousand of them would be a gigabyte; a slice of input at a time is all that is unpacked."""
    message = frame(BINARY, payload, rsv=4)
    with large(gwctl_server) as server, connect(server) as client:
        open_on(client, DEFLATE, path=b"/deaf")
        memory = Memory(server)
        client.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                client.send(message * max(1, 65536 // len(message)))
        assert memory.growth < GROWTH_MAX
        with connect(server) as other:
            other.get("/release")
        client.sock.settimeout(20)
        assert read_close(client)[0] == 1000


def test_many_slow_clients_at_once(gwctl_server) -> None:
    """Thirty that upload to an application that holds nothing, and thirty that read nothing."""
    with large(gwctl_server) as server, connect(server) as other:
        other.get("/progress")
        memory = Memory(server)
        clients = [connect(server, receive_buffer=4096) for _ in range(30)]
        for client in clients:
            client.send(b"GET /download?%d HTTP/1.1\r\nHost: x\r\n\r\n" % (SIZE // 65536))
        uploads = [connect(server) for _ in range(30)]
        threads = [threading.Thread(target=trickle, args=(client,)) for client in uploads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert other.get("/progress").status == 200
        assert memory.growth < 60 * MIB // 2
        for client in (*clients, *uploads):
            client.sock.close()


def trickle(client: Client) -> None:
    client.send(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n")
    for _ in range(32):
        client.send(BLOCK)
