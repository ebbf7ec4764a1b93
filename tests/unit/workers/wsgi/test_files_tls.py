"""Files over TLS: no sendfile, but the same bytes, and a slow reader holds no worker there either."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tls
from tests.support.engine import Engine
from tests.support.wait import until
from tests.unit.workers.http1.test_file_sender import CONTENT, GET, SIZE, Files


@pytest.fixture(params=["sync", "threads"])
def worker_class(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return Files(path)


def test_a_large_file_and_what_is_pipelined_behind_it(
    worker_class: str, files: Files, shop: tls.Files
) -> None:
    with Engine(files, worker_class, tls=shop.server()) as engine, tls.connect(engine) as client:
        client.send((GET % b"/file" + GET % b"/other") * 3)
        for _ in range(3):
            assert client.response().body == CONTENT
            assert client.response().body == b"other"


def test_a_slow_reader_holds_no_worker(worker_class: str, files: Files, shop: tls.Files) -> None:
    with files.path.open("ab") as file:
        file.truncate(1 << 28)  # more than the kernel's buffers
    timeouts = {"response_timeout_s": 1.5}
    with (
        Engine(files, worker_class, tls=shop.server(), threads=1, timeouts=timeouts) as engine,
        tls.connect(engine) as slow,
        tls.connect(engine) as other,
    ):
        slow.send(GET % b"/file")
        slow.read_until(b"\r\n\r\n")
        assert other.get().body == b"other"
        until(lambda: files.opened[0].closed, "the file to be closed")
        assert slow.read_exactly(SIZE) == CONTENT
        assert other.get().body == b"other"
        engine.wait_for_log("GET /file: the client took no byte for 1.5 s; connection aborted")
        assert other.get().body == b"other"
