"""Requests over their limit and loops that stand still: explained, killed, replaced; and nobody else is."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.processes import session_of
from tests.support.raw import request_on
from tests.support.wait import pass_time, until

FREEZER = Path("/sys/fs/cgroup/freezer")
FINE = {"request_timeout_s": 0.5, "request_timeout_paths": ["/fine 20"]}
"""For hangs; whoever asks for /fine may be held up by a busy machine."""
EXPECTED = {"allow_errors": ["killed: request timeout", "killed: its loop"], "allow_kill": True}


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    return {"HANGS_STARTED": str(tmp_path / "started")}


def begun(environ: dict[str, str], kind: str) -> None:
    started = Path(environ["HANGS_STARTED"])
    until(lambda: started.exists() and kind in started.read_text(), "the hang to begin")


@pytest.mark.parametrize("kind", ["loop", "gil"])
def test_a_sync_request_over_its_limit_is_explained_and_its_worker_replaced(gwctl_server, environ, kind):
    with gwctl_server(
        "hangs:application", worker="sync", environ=environ, timeouts=FINE, **EXPECTED
    ) as server:
        with request_on(server.url, f"/{kind}?a=1") as client:
            assert client.recv(100) == b"", "the client sees the connection end, not a response"
        server.wait_for_log(r"pid \d+ ready in", count=2)
        assert httpx.get(f"{server.url}/fine").status_code == 200
        record = re.search(
            rf"error web\.0 g1 +pid \d+ killed: request timeout: GET /{kind}\?… has run ([\d.]+) s "
            rf"\(limit 0\.50 s\)\n  worker: .*\n  main thread \(GET /{kind}\?…\):\n    File \"",
            server.log,
        )
        assert record, server.log
        assert 0.5 <= float(record[1]) < 5
        assert len(re.findall(r" error ", server.log)) == 1, "one record"


@pytest.mark.parametrize("worker", ["asgi", "threads"])
def test_an_asgi_request_over_its_limit_ends_alone(gwctl_server, environ, worker):
    """504 and one record; the worker, and the request beside it, go on. It ignores that it is cancelled: a
    stop waits for it a few seconds, but not for as long as for work."""
    options = {"worker": worker, "environ": environ, "timeouts": FINE}
    with gwctl_server("hangs:live", **options, allow_errors=["request timeout: GET /await"]) as server:
        workers = server.workers
        assert httpx.get(f"{server.url}/await").status_code == 504
        server.wait_for_log(r"request timeout: GET /await has run .*\n.*task .*\n.*in wait_for_nothing\n")
        assert httpx.get(f"{server.url}/fine").text == str(workers[0])
        assert server.workers == workers
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit(20) == 0  # drain_timeout_s is 30
        assert "ends: 1 task of the application cut, although cancelled before\n  task" in server.log


@pytest.mark.parametrize(
    ("worker", "app", "target", "names"),
    [
        ("threads", "application", "/sleeps", "request timeout: GET /sleeps [abc-1] has run"),
        ("asgi", "live", "/await", "request timeout: GET /await [abc-1] has run"),
        ("sync", "live", "/await", "(GET /await [abc-1], "),
        ("threads", "live", "/await", "request timeout: GET /await [abc-1] has run"),
    ],
)
def test_what_is_told_of_a_request_over_its_limit_has_its_id(
    gwctl_server, environ, worker, app, target, names
):
    options = {"worker": worker, "environ": environ, "timeouts": FINE, "request_id_header": "X-Request-ID"}
    allowed = {"allow_errors": [*EXPECTED["allow_errors"], "request timeout"], "allow_kill": True}
    with gwctl_server(f"hangs:{app}", **options, **allowed) as server:
        with request_on(server.url, target, "X-Request-ID: abc-1") as client:
            client.recv(100)
        server.wait_for_log(re.escape(names))


@pytest.mark.parametrize("preload", [False, True])
def test_a_sync_request_of_an_asgi_application_is_explained_by_its_task(gwctl_server, environ, preload):
    """The main thread only waits for it: the record says where the application stands."""
    options = {"worker": "sync", "environ": environ, "timeouts": FINE}
    with gwctl_server("hangs:live", preload=preload, **options, **EXPECTED) as server:
        with request_on(server.url, "/await") as client:
            assert client.recv(100) == b""
        server.wait_for_log(r"pid \d+ ready in", count=2)
        assert httpx.get(f"{server.url}/fine").status_code == 200
        record = re.search(r"killed: request timeout: GET /await has run .*\n(?:  .*\n)*", server.log)
        assert record, server.log
        assert re.search(
            r"task .* \(GET /await, [\d.]+ m?s\):\n    File .* in wait_for_nothing\n", record[0]
        ), record[0]


def test_paths_and_the_application_may_have_more_time(gwctl_server, environ, tmp_path):
    """/slow has its own limit; /extended asks for more than its own; /short has neither and is ended."""
    (tmp_path / "slow.py").write_text(
        "import threading\n"
        "def application(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/extended':\n"
        "        environ['gwctl.extend_timeout'](20)\n"
        "    threading.Event().wait({'/slow': 1.2, '/extended': 4, '/short': 60}[environ['PATH_INFO']])\n"
        "    start_response('200 OK', [])\n"
        "    return [b'done']\n"
    )
    timeouts = {"request_timeout_s": 0.4, "request_timeout_paths": ["/slow 20", "/extended 3"]}
    with gwctl_server(
        "slow:application", worker="sync", chdir=tmp_path, timeouts=timeouts, **EXPECTED
    ) as server:
        for path in ("/slow", "/extended"):
            assert httpx.get(server.url + path).text == "done"
        with pytest.raises(httpx.RemoteProtocolError):  # nor was the next one given what /extended asked for
            httpx.get(server.url + "/short")
        server.wait_for_log(r"pid \d+ ready in", count=2)


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_a_stopped_worker_is_explained_killed_and_replaced(gwctl_server, environ, worker):
    """What a stopped process cannot say the kernel does. With the limit off it stays."""
    app = "hangs:live" if worker == "asgi" else "hangs:application"
    timeouts = {"heartbeat_timeout_s": 3}
    with gwctl_server(app, worker=worker, environ=environ, timeouts=timeouts, **EXPECTED) as server:
        (victim,) = server.workers
        os.kill(victim, signal.SIGSTOP)
        server.wait_for_log(rf"pid {victim} killed: its loop has not turned for [\d.]+ s", timeout_s=30)
        server.wait_for_log(r"pid \d+ ready in", count=2)
        assert httpx.get(server.url).status_code == 200
        assert re.search(r"worker: up .*, stopped \(T\)", server.log)
        assert "no stacks: a stopped process cannot write them" in server.log


def test_an_asgi_application_that_blocks_the_loop_is_found_by_its_heartbeat(gwctl_server, environ):
    timeouts = {"heartbeat_timeout_s": 3}
    with gwctl_server("hangs:live", worker="asgi", environ=environ, timeouts=timeouts, **EXPECTED) as server:
        with request_on(server.url, "/sleeps") as client:
            assert client.recv(100) == b""
        server.wait_for_log("in wait_in_a_loop\n")
        server.wait_for_log(r"pid \d+ ready in", count=2)


def test_a_sync_call_that_holds_the_loop_is_no_lost_heartbeat(gwctl_server, tmp_path):
    (tmp_path / "slow.py").write_text(
        "import threading\n"
        "def application(environ, start_response):\n"
        "    threading.Event().wait(8)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'done']\n"
    )
    timeouts = {"heartbeat_timeout_s": 3}
    with gwctl_server("slow:application", worker="sync", chdir=tmp_path, timeouts=timeouts) as server:
        assert httpx.get(server.url, timeout=30).text == "done"


@pytest.mark.parametrize("means", ["signals", "cgroup"])
def test_nothing_is_killed_after_the_whole_tree_was_stopped(gwctl_server, environ, tmp_path, means):
    """All limits pass while nobody runs; afterwards the same workers serve."""
    timeouts = {"request_timeout_s": 4.5, "heartbeat_timeout_s": 3}
    (tmp_path / "slow.py").write_text(
        "import threading, pathlib\n"
        "def application(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/slow':\n"
        "        pathlib.Path(__file__).with_name('begun').touch()\n"
        "        for _ in range(10):  # in steps: it must still be at it when all run again\n"
        "            threading.Event().wait(0.1)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'done']\n"
    )
    with gwctl_server(
        "slow:application", worker="sync", processes=2, chdir=tmp_path, timeouts=timeouts
    ) as server:
        workers = sorted(server.workers)
        with request_on(server.url, "/slow") as client:
            until((tmp_path / "begun").exists, "the request to begin")
            tree = [server.pid, *workers]
            with stopped(tree) if means == "signals" else frozen(tree):
                pass_time(7.0)
            assert b"done" in client.recv(1000)
        pass_time(2.0)
        assert sorted(server.workers) == workers, server.log


@contextlib.contextmanager
def stopped(tree: list[int]) -> Iterator[None]:
    for pid in tree:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_stopped(tree[0], len(tree))
        yield
    finally:
        for pid in tree:
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def frozen(tree: list[int]) -> Iterator[None]:
    """By a freezer cgroup (v1), as a container that is paused."""
    folder = FREEZER / f"gwctl-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        for pid in tree:
            (folder / "cgroup.procs").write_text(str(pid))
        (folder / "freezer.state").write_text("FROZEN")
        until(lambda: (folder / "freezer.state").read_text().strip() == "FROZEN", "all to be frozen")
        yield
    finally:
        (folder / "freezer.state").write_text("THAWED")
        for pid in (folder / "cgroup.procs").read_text().split():
            (FREEZER / "cgroup.procs").write_text(pid)
        folder.rmdir()


def wait_stopped(session: int, count: int) -> None:
    def stopped() -> bool:
        return [process.state for process in session_of(session)].count("T") >= count

    until(stopped, "all to be stopped")


@pytest.mark.parametrize("worker", ["sync", "threads"])
def test_a_slow_reader_of_a_stream_costs_no_worker_and_no_other_client(gwctl_server, tmp_path, worker):
    """Its time is not the application's: far beyond request_timeout_s nobody is killed, others are served."""
    (tmp_path / "streams.py").write_text(
        "import os\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    if environ['PATH_INFO'] != '/stream':\n"
        "        return [str(os.getpid()).encode()]\n"
        "    return (bytes(65536) for _ in range(400))\n"
    )
    settings = {"worker": worker, "processes": 2, "threads": 1, "timeouts": {"request_timeout_s": 2.5}}
    if worker == "sync":
        del settings["threads"]
    with gwctl_server("streams:application", chdir=tmp_path, **settings) as server:
        workers = server.workers
        slow = [request_on(server.url, "/stream") for _ in range(4)]
        since = time.monotonic()
        for step in range(60):
            until(lambda at=since + step / 10: time.monotonic() >= at, "a tenth of a second")
            for client in slow:
                assert client.recv(4096)
        for _ in range(10):
            assert int(httpx.get(server.url, timeout=10).text) in workers
        for client in slow:
            end = b""
            while end != b"\r\n0\r\n\r\n":  # which may come in parts
                block = client.recv(1 << 20)
                assert block, "the response is cut"
                end = (end + block)[-7:]
            client.close()
        assert server.workers == workers


def test_no_spelling_of_a_path_passes_its_limit_under_sync(gwctl_server, environ):
    """The master judges by what the worker notes: also by a long authority the path is not pushed out of that."""
    timeouts = {"request_timeout_s": 60.0, "request_timeout_paths": ["/lock 0.4"]}
    targets = ["/%6cock", "/api/lock", "http://x/lock", f"http://{'x' * 200}/api/l%6Fck?a"]
    options = {"worker": "sync", "environ": environ, "timeouts": timeouts, "root_path": "/api"}
    with gwctl_server("hangs:application", processes=len(targets), **options, **EXPECTED) as server:
        with contextlib.ExitStack() as clients:
            hanging = [clients.enter_context(request_on(server.url, target)) for target in targets]
            assert [client.recv(100) for client in hanging] == [b""] * len(targets)
        server.wait_for_log(r"killed: request timeout: GET /\S+ has run", count=len(targets))
        server.wait_for_log(r" ready in", count=2 * len(targets))
