"""Large WSGI bodies in temporary files: when these go away, and when there is no room for them."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import Client, Engine
from tests.support.wait import until

ROOT = Path(__file__).resolve().parents[4]
SMALL = {"body_memory_bytes": 1000}
BODY = b"x" * 50_000


def post(client: Client, body: bytes = BODY) -> int:
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return client.response().status


def spooled() -> int:
    """How many temporary files of bodies this process has open."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            name = str(fd.readlink())
        except OSError:
            continue
        count += name.startswith(tempfile.gettempdir()) and name.endswith(" (deleted)")
    return count


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


class Hoard:
    """An application that keeps every environ it ever saw."""

    def __init__(self, failing: bool = False) -> None:
        self.environs: list[dict[str, Any]] = []
        self.seen: list[int] = []
        self.failing = failing

    def __call__(self, environ, start_response):
        self.environs.append(environ)
        self.seen.append(spooled())
        if self.failing:
            raise ValueError
        start_response("200 OK", [])
        environ["wsgi.input"] = None  # as middleware that wraps it does
        return [b"done"]


@pytest.mark.parametrize("failing", [False, True])
def test_the_file_goes_with_the_request_not_with_its_environ(serve, folder: Path, failing: bool) -> None:
    hoard = Hoard(failing)
    engine: Engine = serve(hoard, limits=SMALL)
    for _ in range(3):
        with engine.connect() as client:
            assert post(client) == (500 if failing else 200)
        until(lambda: not spooled(), "the file to be closed")
    assert hoard.seen == [1, 1, 1]


PART = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n" + BODY


def test_the_file_of_a_client_that_goes_away_is_closed(serve, folder: Path) -> None:
    engine: Engine = serve(Hoard(), limits=SMALL)
    with engine.connect() as client:
        client.send(PART)
        until(spooled, "the file")
    until(lambda: not spooled(), "the file to be closed")


def test_the_file_of_a_body_that_never_ends_is_closed(
    serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    plain = tempfile.TemporaryFile

    def temporary_file(**options: Any) -> Any:
        made.append("one")
        return plain(**options)

    monkeypatch.setattr(tempfile, "TemporaryFile", temporary_file)
    engine: Engine = serve(Hoard(), limits=SMALL, timeouts={"body_timeout_s": 0.5})
    with engine.connect() as client:
        client.send(PART)
        assert client.response().status == 408
    assert made == ["one"]
    until(lambda: not spooled(), "the file to be closed")


def test_no_folder_for_temporary_files(serve, folder: Path) -> None:
    hoard = Hoard()
    engine: Engine = serve(hoard, limits=SMALL)
    folder.rename(folder.parent / "moved")
    with engine.connect() as client:
        assert post(client) == 500
        assert client.at_end()
    with engine.connect() as client:
        assert post(client, b"small") == 200
        (folder.parent / "moved").rename(folder)
        assert post(client) == 200
    assert f"POST /: its body could not be kept in {folder}: No such file or directory; answered 500." in (
        engine.log
    )
    assert "Traceback" not in engine.log


class FullDisk(io.FileIO):
    """Takes nothing, as /dev/full does."""

    def __init__(self) -> None:
        super().__init__("/dev/full", "r+")

    def seek(self, *_position: int) -> int:
        return 0

    def tell(self) -> int:
        return 0

    def seekable(self) -> bool:
        return True


@pytest.mark.parametrize("size", [1001, 50_000])
def test_a_full_disk_is_507_and_said_plainly(serve, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Also where the file object only notices when what it holds is written, at the body's end."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_options: io.BufferedRandom(FullDisk()))
    engine: Engine = serve(Hoard(), limits=SMALL)
    with engine.connect() as client:
        assert post(client, b"x" * size) == 507
        assert client.at_end()
    with engine.connect() as client:
        assert post(client, b"small") == 200
    assert "its body could not be kept in" in engine.log
    assert "No space left on device" in engine.log
    assert "Traceback" not in engine.log


# In a process of its own: the limit of a file's size is the process's.
_LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from tests.support.engine import Engine
from tests.support.engine_apps import wsgi

POST = b"POST /echo HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n"
with Engine(wsgi, sys.argv[2], limits={"body_memory_bytes": 1000}) as engine:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    with engine.connect() as client:
        client.send(POST % 300_000 + b"x" * 300_000)
        print(client.response().status)
    with engine.connect() as client:
        client.send(POST % 100_000 + b"x" * 100_000)
        print(len(client.response().body))
    assert "File too large" in engine.log, engine.log
"""


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_a_file_that_really_cannot_grow(worker_class: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(ROOT), worker_class], capture_output=True, text=True, timeout=60
    )
    assert run.stdout.split() == ["507", "100000"], run.stderr


@pytest.mark.parametrize("memory", [0, 1000, 1_000_000])
def test_input_is_closed_with_the_request_wherever_it_was_kept(
    serve: Callable[..., Engine], memory: int
) -> None:
    """Else an application that reads too late would work in tests and fail with large bodies."""
    kept: list[Any] = []

    def application(environ, start_response):
        kept.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return iter([kept[-1].read(2), kept[-1].read(2)])

    with serve(application, limits={"body_memory_bytes": memory}).connect() as client:
        for _ in range(2):
            assert post(client, b"body") == 200
    until(lambda: all(file.closed for file in kept), "both to be closed")
