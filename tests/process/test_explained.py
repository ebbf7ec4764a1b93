"""Every kill is explained: one record with what the worker was at, taken from inside it where that can be."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.support.apps import by_class
from tests.support.engine import WORKER_CLASSES
from tests.support.processes import wait_until_stopped
from tests.support.raw import request_on
from tests.support.wait import until

APPS = by_class("hangs:application", "hangs:live")
OPTIONS = {"allow_errors": ["killed: did not finish"], "allow_kill": True}
FUNCTIONS = {
    "loop": "loop_in_python",
    "sleeps": "wait_in_a_loop",
    "lock": "wait_for_lock",
    "c": "wait_without_the_gil",
    "gil": "wait_with_the_gil",
    "await": "wait_for_nothing",
}


@pytest.fixture
def hanging(gwctl_server, tmp_path):
    """Start a server with a request that hangs in a given way; nobody waits for its answer."""

    @contextlib.contextmanager
    def start(worker: str, kind: str) -> Iterator:
        started = tmp_path / "started"
        with (
            gwctl_server(
                APPS[worker],
                worker=worker,
                environ={"HANGS_STARTED": str(started)},
                timeouts={"drain_timeout_s": 0.2},
                **OPTIONS,
            ) as server,
            request_on(server.url, f"/{kind}?a=1"),
        ):
            until(lambda: started.exists() and kind in started.read_text(), "the hang to begin")
            yield server

    return start


def record_of(log: str) -> str:
    """Return the one record about a kill, with its indented lines."""
    records = re.findall(r"^\S+ error web\.0 g1 .*\n(?:  .*\n)*", log, re.MULTILINE)
    assert len(records) == 1, log
    return records[0]


@pytest.mark.parametrize(
    ("worker", "kind"),
    [
        *((worker, kind) for worker in WORKER_CLASSES for kind in ("sleeps", "lock", "c", "gil")),
        ("threads", "loop"),  # a second busy thread would be no other case, and burns three seconds of a CPU
    ],
)
def test_the_stack_of_what_hangs_is_in_the_record(hanging, worker, kind):
    with hanging(worker, kind) as server:
        server.signal(signal.SIGTERM)
        server.wait_for_exit()
        record = record_of(server.log)
        assert re.search(r"pid \d+ killed: did not finish within 0\.20 s of draining", record)
        assert f"in {FUNCTIONS[kind]}\n" in record
        assert re.search(r"worker: up \d+ s, 0 requests, \d+ MiB, ", record)
        assert "gwctl/workers" not in record
        assert "click" not in record
        if worker == "sync":
            assert f"serving GET /{kind}?… for " in record
            assert f"main thread (GET /{kind}?…):" in record
        if worker == "asgi" and kind in {"sleeps", "lock"}:
            assert re.search(rf"serving GET /{kind}\?… for \d", record)
            assert f"main thread (GET /{kind}?…):" in record
        if worker == "threads" and kind != "gil":
            assert re.search(rf"thread \S+ \(GET /{kind}\?…, \d[.\d]* s\):", record)


def test_a_request_whose_child_task_blocks_the_loop_is_named(hanging):
    with hanging("asgi", "task") as server:
        server.signal(signal.SIGTERM)
        server.wait_for_exit()
        assert re.search(r"serving GET /task\?… for \d", record_of(server.log)), server.log


def test_an_endless_await_that_cannot_be_cancelled_is_shown_with_its_innermost_frame(hanging):
    with hanging("asgi", "await") as server:
        server.signal(signal.SIGTERM)
        server.wait_for_exit()
        assert re.search(
            r"warn  web\.0 g1 +drain_timeout_s \(0\.2 s\) is over: 1 request cut\n"
            r" +GET /await\?…, [\d.]+ s\n"
            r'\s+File ".*hangs\.py", line \d+ in wait_for_nothing\n'
            r'\s+File ".*hangs\.py", line \d+ in live\n',
            server.log,
        ), server.log


def test_of_a_stopped_worker_state_and_wait_channel_are_told(hanging):
    with hanging("sync", "lock") as server:
        (pid,) = server.workers
        os.kill(pid, signal.SIGSTOP)
        wait_until_stopped(pid)
        server.signal(signal.SIGTERM)
        server.wait_for_exit()
        record = record_of(server.log)
        assert "serving GET /lock?… for " in record
        assert "stopped (T)" in record
        assert re.search(r"wait channel \w*stop|no stacks: a stopped process", record)
        assert "no stacks: a stopped process cannot write them" in record


def test_a_boot_that_hangs_is_explained(gwctl_server, tmp_path):
    (tmp_path / "slow.py").write_text("import threading\ndef wait():\n    threading.Event().wait()\nwait()\n")
    server = gwctl_server(
        "slow:application",
        chdir=tmp_path,
        timeouts={"boot_timeout_s": 4.0},
        allow_errors=["."],
        allow_kill=True,
    )
    try:
        server.start()
        assert server.wait_for_exit() == 3
        assert re.search(r"pid \d+ killed: was not ready within 4 s\n", server.log)
        assert re.search(r'slow\.py", line 3 in wait\n\s+File ".*slow\.py", line 4 in <module>', server.log)
        assert "importlib" not in server.log
    finally:
        server.destroy()


def test_what_a_spared_worker_wrote_is_not_told_of_its_later_death(gwctl_server, tmp_path):
    (tmp_path / "slow.py").write_text(
        "import ctypes\n"
        "library = ctypes.CDLL(None)\n"
        "def be_slow():\n"
        "    library.pause()\n"  # until the signal that asks for its stacks
        "def application(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/slow':\n"
        "        be_slow()\n"
        "    start_response('200 OK', [])\n"
        "    return [b'done']\n"
    )
    options = {"worker": "sync", "processes": 1, "chdir": tmp_path, "timeouts": {"request_timeout_s": 3.0}}
    with gwctl_server("slow:application", **options, allow_errors=["died: signal 11"]) as server:
        assert httpx.get(f"{server.url}/slow", timeout=20).text == "done"
        server.wait_for_log(r"recovered and goes on: request timeout: GET /slow .*\n(?: .*\n)*.* in be_slow")
        told = len(server.log)
        (worker,) = server.workers
        os.kill(worker, signal.SIGSEGV)
        server.wait_for_log(r"died: signal 11")
        server.wait_for_log(r"pid \d+ ready in", count=2)
        assert "be_slow" not in server.log[told:], server.log
