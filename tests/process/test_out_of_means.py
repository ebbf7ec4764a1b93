"""The machine has no more of something: the master says which, what to do, and goes on.

Memory is taken by a real cgroup, descriptors by a real limit, and the kernel's answers to fork come from strace.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.debian import need
from tests.support.processes import status_field
from tests.support.server import APPS, ROOT
from tests.support.status import status_of
from tests.support.wait import until

MEMORY = Path("/sys/fs/cgroup/memory")
FORKS = "fork,vfork,clone,clone3"
LIMIT_BYTES = 192 << 20


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A memory cgroup of our own (v1); emptied and removed afterwards."""
    folder = MEMORY / f"gwctl-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    except OSError as error:
        pytest.skip(f"no cgroup for memory can be made here: {error}")
    yield folder
    until(lambda: not (folder / "cgroup.procs").read_text().strip(), "the cgroup to be empty")
    folder.rmdir()


def test_a_worker_killed_for_want_of_memory_is_told_from_one_that_somebody_killed(
    gwctl_server, tmp_path, cgroup
):
    (tmp_path / "eater.py").write_text(
        "kept = []\n"
        "def application(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/eat':\n"
        "        while True:\n"
        "            kept.append(bytearray(b'x' * (8 << 20)))\n"
        "    start_response('200 OK', [])\n"
        "    return [b'hello']\n"
    )
    inside = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$0" "$@"', sys.executable, "-m", "gwctl"]
    options = {"worker": "sync", "chdir": tmp_path, "allow_errors": ["died"], "allow_kill": True}
    with gwctl_server("eater:application", command=inside, **options) as server:
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{server.url}/eat", timeout=30)
        server.wait_for_log(
            r"error web\.0 g1 +pid \d+ died: killed by the kernel, out of memory \(cgroup limit 192 MiB; it had "
            r"\d+ MiB when last measured\), [\d.]+ s after it was ready, while serving GET /eat"
        )
        server.wait_for_log(r"pid \d+ ready in", count=2)
        (worker,) = until(lambda: server.workers, "its successor to be known")
        os.kill(worker, signal.SIGKILL)
        server.wait_for_log(r"died: signal 9 \(SIGKILL\), .* not sent by gwctl")
        server.wait_for_log(r"pid \d+ ready in", count=3)
        assert httpx.get(server.url).text == "hello"


GROWN_BYTES = 150 << 20
"""Less than `LIMIT_BYTES` by less than a new worker takes."""


def anonymous_bytes(cgroup: Path) -> int:
    words = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    return next(int(value) for name, value in words if name == "total_rss")


def test_workers_that_grow_are_replaced_before_the_kernel_kills_one(gwctl_server, tmp_path, cgroup):
    """One at a time, by default, and no request is lost."""
    (tmp_path / "leak.py").write_text(
        "import os\n"
        "kept = []\n"
        "def application(environ, start_response):\n"
        "    kept.append(bytearray(b'x' * (int(environ['QUERY_STRING'] or 0) << 20)))\n"
        "    start_response('200 OK', [])\n"
        "    return [str(os.getpid()).encode()]\n"
    )
    inside = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$0" "$@"', sys.executable, "-m", "gwctl"]
    crash = {"healthy_after_s": 0.1}
    with gwctl_server(
        "leak:application", command=inside, worker="sync", processes=2, chdir=tmp_path, crash=crash
    ) as server:
        before = set(server.workers)
        until(
            lambda: all(each["up_s"] > 6 for each in status_of(server)["pools"][0]["workers"]),
            "both to be looked at",
        )
        while anonymous_bytes(cgroup) < GROWN_BYTES:
            assert httpx.get(f"{server.url}?4").status_code == 200
        server.wait_for_log(
            r"is recycled: it (is the largest of 2 workers that have grown|has grown), and the control"
        )
        until(lambda: len(set(server.workers) & before) == 1, "one of them to be gone")
        assert httpx.get(server.url).status_code == 200
        assert "died" not in server.log


@pytest.mark.parametrize(
    ("calls", "answer", "said"),
    [
        (FORKS, "EAGAIN", "the fork was refused: no further process is allowed"),
        (FORKS, "ENOMEM", "the fork was refused: the kernel has no memory for it"),
        ("epoll_ctl", "ENOSPC", "watching it was refused: .* fs.epoll.max_user_watches"),
    ],
)
def test_what_the_kernel_refuses_for_a_new_worker_is_named_and_tried_again(gwctl_server, calls, answer, said):
    """Also what it needs when it is forked already: that process is ended, and the master goes on."""
    strace = need("strace", "strace")
    crash = {"backoff_min_s": 0.2, "backoff_max_s": 0.4, "breaker_failures": 2}
    with gwctl_server("wsgi_bare:application", processes=2, crash=crash, allow_errors=["."]) as server:
        server.allow_kill = True
        first, other = server.workers
        tracer = subprocess.Popen(
            [strace, "-q", "-o", os.devnull, f"--inject={calls}:error={answer}", "-p", str(server.pid)]
        )
        try:
            tracer_pid = str(tracer.pid)
            until(
                lambda: status_field(server.pid, "TracerPid") == tracer_pid or tracer.poll() is not None,
                "strace to be there",
            )
            if tracer.poll() is not None:
                pytest.skip("strace may not attach here")
            os.kill(first, signal.SIGKILL)
            server.wait_for_log(rf"error web\.\d g1 +could not be started: {said}", count=3)
            assert httpx.get(server.url).status_code == 200
        finally:
            tracer.terminate()
            tracer.wait()
        server.wait_for_log(r"pid \d+ ready in", count=3)
        assert "keeps dying" not in server.log
        assert other in server.workers


def test_a_master_without_descriptors_says_so_and_goes_on(gwctl_server):
    crash = {"backoff_min_s": 0.2, "backoff_max_s": 0.4}
    with gwctl_server("wsgi_bare:application", processes=2, crash=crash, allow_errors=["."]) as server:
        server.allow_kill = True
        before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (4, before[1]))
        os.kill(server.workers[0], signal.SIGKILL)
        server.wait_for_log(
            r"error web\.\d g1 +could not be started: the master has no descriptor left \(its limit is \d+\)",
            count=2,
        )
        assert httpx.get(server.url).status_code == 200
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
        server.wait_for_log(r"pid \d+ ready in", count=3)
        assert server.gwctl("status", "-c", str(server.config)).returncode == 0


def test_a_start_with_too_few_descriptors_is_refused(tmp_path):
    """It would be tried again for ever, with a listener that nobody serves."""
    command = f"ulimit -n 12; exec {sys.executable} -m gwctl start wsgi_bare --bind 127.0.0.1:0"
    done = subprocess.run(["sh", "-c", command], cwd=APPS, env=environ(), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "gwctl may have 12 open files, and needs at least 32 and three for each worker "
        "(five with capture_output). Raise it: LimitNOFILE= in the service unit, ulimit -n in a shell\n"
    )


def test_a_limit_of_the_size_of_files_is_named(tmp_path):
    command = f"ulimit -f 1; exec {sys.executable} -m gwctl start wsgi_bare --bind 127.0.0.1:0"
    with subprocess.Popen(
        ["sh", "-c", command], cwd=APPS, env=environ(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if " error " in line)
        process.terminate()
    assert re.search(r"may not be larger than \d+ bytes\. Raise LimitFSIZE=", line), line
    assert process.returncode == 0


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "gwctl-test", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_costs_lines_of_the_access_log_and_nothing_else(gwctl_server, small_disk):
    access, ballast = small_disk / "access.log", small_disk / "ballast"
    with gwctl_server(
        "wsgi_bare:application",
        processes=2,
        access_log=str(access),
        reload={"settle_s": 0.1},
        allow_errors=["lines of the access log lost", "1 line of the access log lost"],
    ) as server:
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(b"x" * 4096)
        size = access.stat().st_size
        with httpx.Client(base_url=server.url) as client:
            for _ in range(200):
                assert client.get("/while-full").status_code == 404
        server.wait_for_log(r"access\.log: \d+ lines? of the access log lost: No space left on device")
        assert server.gwctl("reload", "-c", str(server.config)).returncode == 0
        assert httpx.get(server.url).status_code == 200
        assert access.stat().st_size < size + 4096 * 8
        ballast.unlink()

        def written() -> bool:
            assert httpx.get(f"{server.url}/again").status_code == 404
            return b"GET /again" in access.read_bytes()

        until(written, "lines to be written again")
