"""wsgi.file_wrapper: sendfile where it can be, reading where it can't, and the same bytes always."""

from __future__ import annotations

import gzip
import io
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gwctl.workers.wsgi.file_wrapper import extent
from tests.support.wait import until

SIZE = 3_000_000
CONTENT = bytes(range(250)) * (SIZE // 250)
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def sendfiles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each sendfile() sent."""
    sent: list[int] = []
    real = os.sendfile

    def counted(*args: Any) -> int:
        sent.append(real(*args))
        return sent[-1]

    monkeypatch.setattr(os, "sendfile", counted)
    return sent


def sends(make: Callable[[], Any], *headers: tuple[str, str], opened: list[Any] | None = None) -> Any:
    def application(environ, start_response):
        file = make()
        if opened is not None:
            opened.append(file)
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](file)

    return application


def wait_for(sendfiles: list[int], size: int) -> None:
    """A call is noted when it has returned: the client may have the bytes before."""
    until(lambda: sum(sendfiles) >= size, lambda: f"{size} bytes by sendfile: {sendfiles}")
    assert sum(sendfiles) == size


@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_file_goes_by_sendfile_with_its_length(serve, path: Path, sendfiles, buffering: int) -> None:
    opened: list[Any] = []
    with serve(sends(lambda: path.open("rb", buffering), opened=opened)).connect() as client:
        for _ in range(2):  # the connection goes on
            response = client.get()
            assert response.headers["content-length"] == str(SIZE)
            assert response.body == CONTENT
        until(lambda: all(file.closed for file in opened), "the files to be closed")
    wait_for(sendfiles, 2 * SIZE)


def test_the_position_is_where_it_begins(serve, path: Path, sendfiles) -> None:
    """That of the file object, which has read ahead of its descriptor's."""

    def make():
        file = path.open("rb")
        file.read(7)
        return file

    with serve(sends(make)).connect() as client:
        assert client.get().body == CONTENT[7:]
    wait_for(sendfiles, SIZE - 7)


@pytest.mark.parametrize("length", [1, 1000, 100_000])
def test_a_smaller_content_length_cuts(serve, path: Path, length: int) -> None:
    """That is how an application answers a range."""

    def make():
        file = path.open("rb")
        file.seek(10)
        return file

    engine = serve(sends(make, ("Content-Length", str(length))))
    with engine.connect() as client:
        for _ in range(2):
            assert client.get().body == CONTENT[10 : 10 + length]
    assert "cut" not in engine.log


def test_a_small_file_leaves_with_its_head(serve, tmp_path: Path, sendfiles) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"small")
    with serve(sends(lambda: path.open("rb"))).connect() as client:
        assert client.get().body == b"small"
    assert not sendfiles


def test_an_empty_file(serve, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with serve(sends(lambda: path.open("rb"))).connect() as client:
        for _ in range(2):
            assert client.get().body == b""


def test_http_10(serve, path: Path, sendfiles) -> None:
    with serve(sends(lambda: path.open("rb"))).connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        response = client.response()
        assert (response.headers["content-length"], response.body) == (str(SIZE), CONTENT)
        assert client.at_end()
    wait_for(sendfiles, SIZE)


def test_head_and_304_send_no_body(serve, path: Path, sendfiles) -> None:
    def application(environ, start_response):
        start_response("304 Not Modified" if environ["PATH_INFO"] == "/304" else "200 OK", [])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    with serve(application).connect() as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response(head_only=True).headers["content-length"] == str(SIZE)
        assert client.get("/304").status == 304
        assert client.get().body == CONTENT
    wait_for(sendfiles, SIZE)


class Reading:
    """An application's own: it has a descriptor and reads something else."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")
        self.left = [b"not ", b"the file"]

    def fileno(self) -> int:
        return self.file.fileno()

    def read(self, _size: int) -> bytes:
        return self.left.pop(0) if self.left else b""

    def close(self) -> None:
        self.file.close()


def proc() -> Any:
    return Path("/proc/version").open("rb")


def pipe() -> Any:
    ours, theirs = os.pipe()
    os.write(theirs, b"through a pipe")
    os.close(theirs)
    return os.fdopen(ours, "rb")


@pytest.mark.parametrize("kind", ["memory", "gzip", "own", "pipe", "proc", "spooled"])
def test_what_is_not_plainly_a_file_is_read(serve, tmp_path: Path, sendfiles, kind: str) -> None:
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(CONTENT))

    def spooled() -> Any:
        file = tempfile.SpooledTemporaryFile(10)  # noqa: SIM115 - closed with the request
        file.write(CONTENT)
        file.seek(3)
        return file

    make, expected = {
        "memory": (lambda: io.BytesIO(CONTENT), CONTENT),
        "gzip": (lambda: gzip.GzipFile(packed), CONTENT),
        "own": (lambda: Reading(packed), b"not the file"),
        "pipe": (pipe, b"through a pipe"),
        "proc": (proc, Path("/proc/version").read_bytes()),
        "spooled": (spooled, CONTENT[3:]),
    }[kind]
    with serve(sends(make)).connect() as client:
        for _ in range(2):
            response = client.get()
            assert "content-length" not in response.headers
            assert response.body == expected
    assert not sendfiles


def test_wrappers_that_pass_read_on_are_seen_through(path: Path) -> None:
    from django.core.files import File

    with path.open("rb") as file:
        assert extent(File(file)) == (file.fileno(), 0, SIZE)
    with tempfile.NamedTemporaryFile() as named:
        named.write(b"not flushed yet")
        named.seek(4)
        assert extent(named) == (named.fileno(), 4, 11)
        with io.BufferedReader(gzip.GzipFile(named.name)) as twice:  # type: ignore[arg-type]
            assert extent(twice) is None
    assert extent(file) is None
    assert extent(object()) is None


def test_a_file_after_write(serve, path: Path) -> None:
    def application(environ, start_response):
        headers = [("Content-Length", str(SIZE + 5))] if environ["PATH_INFO"] == "/length" else []
        start_response("200 OK", headers)(b"first")
        return environ["wsgi.file_wrapper"](path.open("rb"))

    with serve(application).connect() as client:
        assert client.get("/length").body == b"first" + CONTENT
        assert client.get("/chunked").body == b"first" + CONTENT


def test_a_closed_file_is_the_applications_mistake(serve, path: Path) -> None:
    def make():
        file = path.open("rb")
        file.close()
        return file

    engine = serve(sends(make))
    with engine.connect() as client:
        assert client.get().status == 500
    engine.wait_for_log("closed file")


@pytest.mark.parametrize("size", [100, 200_000])
def test_a_file_that_shrinks_aborts(serve, path: Path, monkeypatch, size: int) -> None:
    """The head says a length that the file no longer has: the client must see that it is cut."""
    from gwctl.workers.wsgi import call

    def then_cut(filelike: Any) -> Any:
        found = extent(filelike)
        os.truncate(path, size)
        return found

    monkeypatch.setattr(call, "extent", then_cut)
    engine = serve(sends(lambda: path.open("rb")))
    with engine.connect() as client:
        client.send(GET % b"/")
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.response()
    engine.wait_for_log(f"{SIZE - size} bytes shorter than Content-Length")


@pytest.mark.parametrize("code", ["EINVAL", "ENOSYS"])
def test_a_file_system_without_sendfile(serve, path: Path, monkeypatch, code: str) -> None:
    import errno

    def refuse(*_args: Any) -> int:
        raise OSError(getattr(errno, code), code)

    monkeypatch.setattr(os, "sendfile", refuse)
    with serve(sends(lambda: path.open("rb"))).connect() as client:
        assert client.get().body == CONTENT


def test_an_unreadable_disk_aborts_and_is_logged(serve, path: Path, monkeypatch) -> None:
    import errno

    def fail(*_args: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "sendfile", fail)
    engine = serve(sends(lambda: path.open("rb")))
    with engine.connect() as client:
        client.send(GET % b"/")
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.response()
    engine.wait_for_log("Input/output error")


def test_the_last_part_does_not_hold_the_worker(serve, tmp_path: Path) -> None:
    """What the socket does not take of a file's end is left to the loop."""
    path = tmp_path / "fits"
    path.write_bytes(CONTENT[:200_000])

    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"](path.open("rb"))
        return [b"other"]

    engine = serve(application, threads=1)
    with engine.connect(receive_buffer=4096) as slow, engine.connect() as other:
        engine.call(lambda: None)
        until(lambda: engine.server.connections == 2, "both connections")
        for connection in engine.call(lambda: list(engine.server._connections)):
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        slow.send(GET % b"/file")
        assert other.get().body == b"other"
        assert slow.response().body == CONTENT[:200_000]
