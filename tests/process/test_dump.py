"""``gwctl dump`` and ``gwctl requests``: what workers are at, with the stacks of it; and they serve on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from gwctl.control.protocol import Dump, Requests
from tests.load.runner import Load
from tests.support.apps import BARE
from tests.support.processes import wait_until_stopped
from tests.support.raw import request_on
from tests.support.server import GwctlServer
from tests.support.status import active_requests, control_of, status_of
from tests.support.wait import DEADLINE_S, until

WSGI = """
import os, time
def wait_for_the_others():
    while not os.path.exists("go"):
        time.sleep(0.01)
def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        wait_for_the_others()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""
ASGI = """
import asyncio, os
async def wait_for_the_others():
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/wait":
        await wait_for_the_others()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
"""
ENDS = {"sync": WSGI, "threads": WSGI, "asgi": ASGI}


@pytest.fixture
def waiting(gwctl_server, tmp_path):
    """A server with a request that waits, whose response is looked at in the end: nothing has hurt it."""

    @contextlib.contextmanager
    def start(worker: str) -> Iterator[GwctlServer]:
        (tmp_path / "app.py").write_text(ENDS[worker])
        with (
            gwctl_server("app:application", worker=worker, chdir=tmp_path) as server,
            ThreadPoolExecutor() as clients,
        ):
            waits = clients.submit(httpx.get, f"{server.url}/wait?token=secret", timeout=60)
            until(lambda: active_requests(server), "it")
            yield server
            (tmp_path / "go").touch()
            assert waits.result().text == "done"

    return start


def dumped(server: GwctlServer, worker: str) -> dict[str, Any]:
    """What `gwctl dump --json` prints, by way of the control socket: it is asked often."""
    with control_of(server) as client:
        return client.call("dump", Dump(worker), timeout_s=DEADLINE_S)


def dumped_with(server: GwctlServer, worker: str, what: str, count: int = 1) -> dict[str, Any]:
    """The first dump with ``what`` in it: who does not run for a second on a busy machine is not waited for."""
    found: list[dict[str, Any]] = []

    def told() -> bool:
        found[:] = [dumped(server, worker)]
        return found[0]["text"].count(what) >= count

    until(told, lambda: f"{what!r} x{count} in {found[0]['text']}")
    return found[0]


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_a_request_under_way_is_shown_with_its_stack(waiting, worker: str) -> None:
    with waiting(worker) as server:
        (pid,) = server.workers
        document = dumped_with(server, "web.0", "in wait_for_the_others")
        (found,) = document["workers"]
        assert (found["pool"], found["slot"], found["generation"], found["pid"]) == ("web", 0, 1, pid)
        text = document["text"]
        assert text.startswith(f"web.0 g1 pid {pid}"), text
        assert re.search(
            r"(main thread|thread \S+|task \S+) \(GET /wait\?…(, [\d.]+ s)?\):\n +File ", text
        ), text
        if worker == "sync":
            assert f"pid {pid}, serving GET /wait?… for " in text
        assert re.search(r"^  worker: up \d+ s, \d+ requests?, \d+ MiB", text, re.MULTILINE), text
        assert "secret" not in json.dumps(document)
        printed = json.loads(server.gwctl("dump", "web.0", "--json", "-c", str(server.config)).stdout)
        assert printed.keys() > document.keys()
        assert [each["pid"] for each in printed["workers"]] == [pid]
        assert server.gwctl("dump", "web.0", "-c", str(server.config)).stdout.startswith("web.0 g1 pid ")
        assert server.workers == [pid], "it lives on"


def test_two_who_ask_at_once_have_both_their_answer(waiting) -> None:
    with waiting("sync") as server, ThreadPoolExecutor() as people:

        def all_told() -> bool:
            answers = [people.submit(dumped, server, "web") for _ in range(3)]
            return all("in wait_for_the_others" in each.result()["text"] for each in answers)

        until(all_told, "the stacks in all answers")


def test_all_workers_of_a_pool_in_order(gwctl_server) -> None:
    with gwctl_server(BARE["asgi"], worker="asgi", processes=3) as server:
        document = dumped_with(server, "web", "  idle: none of its ", count=3)  # nobody is at anything
        assert [each["slot"] for each in document["workers"]] == [0, 1, 2]
        assert {each["pid"] for each in document["workers"]} == set(server.workers)
        assert document["text"].count("  idle: none of its ") == 3


def test_a_worker_that_is_stopped_says_what_the_kernel_knows(gwctl_server) -> None:
    with gwctl_server(BARE["sync"], worker="sync") as server:
        (pid,) = server.workers
        os.kill(pid, signal.SIGSTOP)
        wait_until_stopped(pid)
        try:
            text = dumped(server, "web.0")["text"]
        finally:
            os.kill(pid, signal.SIGCONT)
        assert "stopped (T)" in text
        assert "no stacks: a stopped process cannot write them" in text
        assert httpx.get(server.url).text == "hello"


NOBODY = {
    "web.7": "no worker web.7: there are web.0\n",
    "wep": "no pool 'wep' with a worker: there are web\n",
    "web.x": "'web.x' names no worker: write a pool, or one of it, as in web or web.2",
    "web.": "'web.' names no worker",
    ".0": "'.0' names no worker",
}


def test_who_does_not_exist(gwctl_server, subtests) -> None:
    with gwctl_server(BARE["sync"], worker="sync") as server:
        for worker, error in NOBODY.items():
            with subtests.test(worker):
                result = server.gwctl("dump", worker, "-c", str(server.config))
                assert result.returncode in {1, 2}
                assert error in result.stderr


def test_one_that_ends_meanwhile(gwctl_server) -> None:
    with gwctl_server(
        "hangs:application",
        worker="sync",
        environ={"HANGS_STARTED": os.devnull},
        timeouts={"drain_timeout_s": 0.1},
        allow_errors=["killed", "died"],
        allow_kill=True,
    ) as server:
        (pid,) = server.workers
        with request_on(server.url, "/lock"), ThreadPoolExecutor() as people:
            until(lambda: "serving" in status_of(server)["phase"], "it to serve")
            asks = people.submit(server.gwctl, "dump", "web.0", "-c", str(server.config))
            os.kill(pid, signal.SIGKILL)
            result = asks.result()
        assert result.returncode in {0, 1}
        # It was asked, or nobody was there yet in its place.
        said = result.stdout + result.stderr
        assert "web.0 g1 pid " in said or said == "no pool 'web' with a worker\n", said
        assert httpx.get(server.url).text


def test_a_reload_is_not_disturbed_by_people_who_look(gwctl_server) -> None:
    with gwctl_server(BARE["threads"], worker="threads", processes=2, reload={"settle_s": 0.05}) as server:
        for generation in (2, 3):
            server.signal(signal.SIGHUP)
            while f"adopted generation {generation}" not in server.log:
                server.gwctl("dump", "web", "-c", str(server.config))
        server.signal(signal.SIGUSR2)
        dumped(server, "web")
        server.wait_for_log(r"adopted generation 4\b")
        dumped(server, "web")


def requests_of(server: GwctlServer) -> str:
    """What the command says when all loops have answered: on a busy machine one may be late."""
    said = [""]

    def all_answered() -> bool:
        result = server.gwctl("requests", "-c", str(server.config))
        assert result.returncode == 0, result.stderr
        said[:] = [result.stdout]
        return "does not answer" not in result.stdout

    until(all_answered, lambda: f"the loops to answer: {said[0]}")
    return said[0]


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_what_is_being_served(waiting, worker: str) -> None:
    with waiting(worker) as server:
        (pid,) = server.workers
        said = requests_of(server)
        first, last = said.splitlines()
        assert re.fullmatch(rf" +[\d.]+ m?s  web\.0 g1 +{pid}  GET /wait\?…", first), said
        assert last == "1 request under way, in 1 of 1 worker"
        found = json.loads(server.gwctl("requests", "web.0", "--json", "-c", str(server.config)).stdout)[
            "workers"
        ]
        assert [each["pid"] for each in found] == [pid]
        assert [each["request"] for each in found[0]["requests"]] == ["GET /wait?…"]
        assert found[0]["requests"][0]["age_s"] > 0
        wrong = server.gwctl("requests", "shop", "-c", str(server.config))
        assert (wrong.returncode, wrong.stderr) == (1, "no pool 'shop' with a worker: there are web\n")


def test_one_whose_loop_is_held_is_named(gwctl_server) -> None:
    with gwctl_server(BARE["asgi"], worker="asgi") as server:
        (pid,) = server.workers
        os.kill(pid, signal.SIGSTOP)
        wait_until_stopped(pid)
        try:
            text = server.gwctl("requests", "-c", str(server.config)).stdout
        finally:
            os.kill(pid, signal.SIGCONT)
        assert "as their loop does not answer: web.0 g1" in text


BUSY = """
import time
def application(environ, start_response):
    end = time.monotonic() + 0.01
    count = 0
    while time.monotonic() < end:  # functions come and go: so do the frames that somebody else may look at
        space = {}
        exec("def f(n):\\n    return n if n <= 0 else f(n - 1)\\n", space)
        count += space["f"](20)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_many_in_a_row_hurt_nobody(gwctl_server, tmp_path, worker: str) -> None:
    """Neither a worker whose threads are busy, nor what the master thinks of one that answers so often."""
    (tmp_path / "busy.py").write_text(BUSY)
    with gwctl_server("busy:application", worker=worker, chdir=tmp_path) as server:
        workers = server.workers
        with Load(server.url, connections=6, expect_body=b"done") as load, control_of(server) as client:
            for _ in range(40):
                assert client.call("dump", Dump("web.0"), timeout_s=DEADLINE_S)["workers"][0]["report"]
                assert client.call("requests", Requests(), timeout_s=DEADLINE_S)["workers"]
            load.wait_for_requests(50)
        assert load.result.failures == {}, load.result
        assert server.workers == workers


def test_a_fault_right_after_it_is_told_as_ever(gwctl_server, tmp_path) -> None:
    (tmp_path / "fault.py").write_text(
        "import ctypes, os, time\n"
        "def fault_here():\n"
        "    ctypes.string_at(0)\n"
        "def application(environ, start_response):\n"
        "    while not os.path.exists('go'):\n"
        "        time.sleep(0.01)\n"
        "    fault_here()\n"
    )
    with gwctl_server(
        "fault:application", worker="sync", chdir=tmp_path, allow_errors=["died"], allow_kill=True
    ) as server:
        with request_on(server.url, "/"):
            dumped_with(server, "web.0", "fault.py")
            (tmp_path / "go").touch()
            record = server.wait_for_log(r"error web\.0 g1 +pid \d+ died: .*\n(?:  .*\n)+")
        assert "in fault_here" in record[0]
        assert server.wait_for_log(r"pid \d+ ready in", count=2)


def test_a_worker_in_a_call_that_does_not_come_back_to_python(gwctl_server, tmp_path) -> None:
    with (
        gwctl_server(
            "hangs:application",
            worker="sync",
            environ={"HANGS_STARTED": str(tmp_path / "started")},
            timeouts={"drain_timeout_s": 0.1},
            allow_errors=["killed"],
            allow_kill=True,
        ) as server,
        request_on(server.url, "/c"),
    ):
        until((tmp_path / "started").exists, "the hang to begin")
        for _ in range(2):
            text = dumped(server, "web.0")["text"]
            assert re.search(r"^web\.0 g1 pid \d+, serving GET /c for ", text), text
            assert "no stacks: it did not write them" in text


def test_one_that_boots_shows_where_its_import_is(gwctl_server, tmp_path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, time\n"
        "def import_slowly():\n"
        "    while not os.path.exists('go'):\n"
        "        time.sleep(0.01)\n"
        "import_slowly()\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'hello']\n"
    )
    server = gwctl_server("slow:application", worker="threads", chdir=tmp_path)
    try:
        server.start()
        server.wait_for_log("web: 1 worker")
        until(
            lambda: "in import_slowly" in server.gwctl("dump", "web", "-c", str(server.config)).stdout,
            "its frames",
        )
        assert "0 requests under way" in server.gwctl("requests", "-c", str(server.config)).stdout
        (tmp_path / "go").touch()
        server.wait_until_serving()
        assert httpx.get(server.url).text == "hello"
        assert requests_of(server) == "0 requests under way, in 0 of 1 worker\n"
        server.stop()
    finally:
        server.destroy()


def test_what_an_application_calls_its_threads_does_not_control_the_terminal(gwctl_server, tmp_path) -> None:
    (tmp_path / "named.py").write_text(
        "import threading\n"
        "def wait_here():\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=wait_here, name='\\x1b[2Jevil', daemon=True).start()\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'hello']\n"
    )
    with gwctl_server("named:application", worker="threads", chdir=tmp_path) as server:
        said = [""]

        def is_named() -> bool:
            said[:] = [server.gwctl("dump", "web", "-c", str(server.config)).stdout]
            return "thread \\x1b[2Jevil:" in said[0]

        until(is_named, lambda: f"the thread in {said[0]}")
        assert "\x1b" not in said[0]
