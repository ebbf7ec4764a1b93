"""``gwctl profile``: where workers spend their time, told by themselves, whatever happens to them meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from gwctl.control.client import ControlClient
from gwctl.control.discovery import find
from gwctl.control.protocol import Profile
from tests.support import started
from tests.support.apps import BARE
from tests.support.processes import descriptors, wait_until_stopped
from tests.support.server import GwctlServer
from tests.support.wait import DEADLINE_S, until

BUSY = """
def hot():
    n = 0
    for i in range(300_000):
        n += i
    return n
def warm():
    return sum(range(10))
def work():
    warm()
    return hot()
"""
WSGI = (
    BUSY
    + """
import os, time
def fork():
    pid = os.fork()
    if not pid:
        time.sleep(300)
        os._exit(0)
    open("child", "w").write(str(pid))
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/spin":
        open("spins", "w")
        while not os.path.exists("go"):
            hot()
    elif path == "/fork":
        fork()
    elif path == "/reap":
        os.wait()
    elif path == "/lie":
        lie()
    else:
        work()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
def lie():
    from gwctl.workers.lifecycle import profiler
    profiler.encode = lambda line: b"%s\\n" % (b"x" * 100)
"""
)
ASGI = (
    BUSY
    + """
import os
import re
async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/spin":
        open("spins", "w")
        while not os.path.exists("go"):
            hot()
    work()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
"""
)
APPS = {"sync": WSGI, "threads": WSGI, "asgi": ASGI}
LONG_S = "300"
THINK_S = 0.03


@pytest.fixture
def served(gwctl_server: Callable[..., GwctlServer], tmp_path: Path) -> Callable[..., GwctlServer]:
    def start(worker: str, **more: Any) -> GwctlServer:
        (tmp_path / "app.py").write_text(APPS[worker])
        return gwctl_server("app:application", worker=worker, chdir=tmp_path, **more)

    return start


@contextmanager
def requests_to(url: str, count: int = 1) -> Iterator[None]:
    """Clients that ask again and again, and think between two requests: others want to run, too."""
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=DEADLINE_S) as client:
            while not over.wait(THINK_S):
                try:
                    client.get(url)
                except httpx.TransportError:
                    continue

    clients = [threading.Thread(target=ask) for _ in range(count)]
    for each in clients:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in clients:
            each.join()


def profiled(server: GwctlServer, worker: str, *more: str, timeout_s: float = 120) -> dict[str, Any]:
    command = ("profile", worker, "--json", "-c", str(server.config), *more)
    result = server.gwctl(*command, timeout_s=timeout_s)
    assert result.returncode == 0, (result.stdout, result.stderr)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


BEGUN = f"stacks are sampled for {LONG_S} s"


class Profiling:
    """A command that profiles until it is interrupted, or what it profiles ends."""

    def __init__(self, server: GwctlServer, worker: str, folder: Path, *more: str) -> None:
        self.server = server
        self.out = folder / "profile.json"
        arguments = ("profile", worker, "--json", "-s", LONG_S, "-c", str(server.config), *more)
        before = server.log.count(BEGUN)
        with self.out.open("wb") as out:
            self.process = server.begin_gwctl(*arguments, stdout=out)
        server.wait_for_log(re.escape(BEGUN), count=before + 1)
        until(lambda: len(sockets_of(self.process.pid)) > 1, "the connection to the worker")

    def interrupt(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGINT)
        return self.result()

    def result(self) -> dict[str, Any]:
        self.process.wait(DEADLINE_S)
        document: dict[str, Any] = json.loads(self.out.read_text())
        return document


def sockets_of(pid: int) -> set[str]:
    return {what for what in descriptors(pid).values() if what.startswith("socket:")}


@pytest.mark.parametrize("worker", APPS)
def test_a_busy_function_is_what_the_flame_graph_is_of(served, worker: str, tmp_path: Path) -> None:
    with served(worker) as server:
        svg = tmp_path / "out.svg"
        with requests_to(server.url, 2):
            document = profiled(server, "web.0", "-s", "2", "--by-function", "-o", str(svg))
        top = document["top"][0]
        assert (top["function"], top["file"]) == ("hot", "app.py"), document
        (one,) = document["workers"]
        assert one["samples"] > 5
        assert one["running_s"] > 0
        root = ET.fromstring(svg.read_bytes())
        titles = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}title")]
        assert any(each.startswith("hot (app.py") for each in titles)
        assert any(each.startswith("requests\n") for each in titles)
        assert httpx.get(server.url).text == "done"
        server.wait_for_log(r"web\.0 g1 .*stacks are sampled for 2 s \(gwctl profile\)")


@pytest.mark.parametrize("worker", APPS)
def test_a_request_that_holds_its_loop_is_seen_while_it_does(served, worker: str, tmp_path: Path) -> None:
    """It has begun before the profile, and ends after it: a loop that does not turn hears of nothing."""
    with served(worker) as server:
        asked = threading.Thread(target=lambda: httpx.get(f"{server.url}/spin", timeout=DEADLINE_S))
        asked.start()
        try:
            until((tmp_path / "spins").exists, "its request")
            document = profiled(server, "web.0", "-s", "1", "--by-function", "-o", str(tmp_path / "x.svg"))
        finally:
            (tmp_path / "go").touch()
            asked.join()
        assert document["top"][0]["function"] == "hot", document


def test_all_workers_of_a_pool_are_put_together(served, tmp_path: Path) -> None:
    with served("threads", processes=3) as server, requests_to(server.url, 3):
        folded = tmp_path / "web.folded.txt"
        document = profiled(server, "web", "-s", "2", "--format", "folded", "-o", str(folded), "--idle")
        assert [each["name"] for each in document["workers"]] == ["web.0", "web.1", "web.2"]
        assert all(each["samples"] > 1 and not each["failure"] for each in document["workers"])
        assert ";application (app.py:" in folded.read_text()


def test_what_it_writes_is_named_after_the_worker_and_replaces_nothing(served, tmp_path: Path) -> None:
    with served("sync") as server, requests_to(server.url):
        for name in ("web.0.svg", "web.0-2.svg"):
            result = run_in(tmp_path, server, "web.0", "-s", "0.3")
            assert f"wrote {name} (open it in a browser)" in result.stdout, (result.stdout, result.stderr)
            assert "samples in 0.3" in result.stdout
            assert "% of a CPU" in result.stdout
        out = run_in(tmp_path, server, "web.0", "-s", "0.3", "--format", "speedscope", "-o", "-")
        assert json.loads(out.stdout)["shared"]["frames"]
        assert "samples in" in out.stderr
        result = run_in(tmp_path, server, "web.0", "-s", "0.3", "-o", "no/such/folder.svg")
        assert result.returncode == 1
        assert "cannot write no/such/folder.svg: No such file or directory" in result.stderr


def run_in(folder: Path, server: GwctlServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In ``folder``."""
    command = ["profile", *arguments, "-c", str(server.config)]
    return started.run(command, cwd=folder, environ=server.environ)


def test_an_interruption_gives_what_was_sampled(served, tmp_path: Path) -> None:
    with served("threads") as server, requests_to(server.url):
        profiling = Profiling(server, "web.0", tmp_path, "-o", str(tmp_path / "x.svg"))
        until(lambda: httpx.get(server.url).text == "done", "it serves on")
        document = profiling.interrupt()
        assert document["ok"], document
        assert document["workers"][0]["why"] == "who asked had enough"


def test_a_command_that_is_killed_ends_the_profile(served, tmp_path: Path) -> None:
    with served("threads") as server:
        (pid,) = server.workers
        before = sockets_of(pid)
        profiling = Profiling(server, "web.0", tmp_path)
        until(lambda: sockets_of(pid) - before, "its socket")
        profiling.process.kill()
        profiling.process.wait()
        until(lambda: sockets_of(pid) == before, "the end of it")
        assert profiled(server, "web.0", "-s", "0.2", "--idle", "-o", str(tmp_path / "x"))["ok"]


def test_one_profile_at_a_time(served, tmp_path: Path) -> None:
    with served("sync") as server, requests_to(server.url):
        profiling = Profiling(server, "web.0", tmp_path, "-o", str(tmp_path / "x.svg"))

        def refused() -> bool:
            result = server.gwctl("profile", "web.0", "-s", "0.1", "--idle", "-o", str(tmp_path / "y"))
            return "a profile of it is being taken already" in result.stderr and result.returncode == 1

        until(refused, "a refusal")
        assert profiling.interrupt()["ok"]


def test_a_worker_that_drains_in_the_midst_of_it_tells_what_it_has(served, tmp_path: Path) -> None:
    with served("threads") as server:
        with requests_to(server.url):
            profiling = Profiling(server, "web.0", tmp_path, "--idle", "-o", str(tmp_path / "x.svg"))
            assert server.gwctl("recycle", "web.0", "-c", str(server.config)).returncode == 0
            document = profiling.result()
        assert document["ok"], document
        assert document["workers"][0]["why"] == "the worker has ended"


def test_a_worker_that_is_killed_in_the_midst_of_it_leaves_what_it_told(served, tmp_path: Path) -> None:
    with served("threads", allow_errors=["died"], allow_kill=True) as server, requests_to(server.url):
        (pid,) = server.workers
        profiling = Profiling(server, "web.0", tmp_path, "-o", str(tmp_path / "x.svg"))
        os.kill(pid, signal.SIGKILL)
        document = profiling.result()
        failure = document["workers"][0]["failure"] if "workers" in document else document["text"]
        assert "it ended" in failure, document
        assert httpx.get(server.url, timeout=DEADLINE_S).text == "done"


def find_of(server: GwctlServer) -> Path:
    return find(
        name=None, config=server.config, control=None, environ=server.environ, uid=os.geteuid(), cwd=Path("/")
    )


def test_an_upgrade_and_the_master_s_death_do_not_end_it(served, tmp_path: Path) -> None:
    with served("threads", reload={"settle_s": 0.05}) as server:
        with requests_to(server.url):
            profiling = Profiling(server, "web.0", tmp_path, "--idle", "-o", str(tmp_path / "x.svg"))
            assert server.gwctl("upgrade", "-c", str(server.config)).returncode == 0
            document = profiling.result()  # it drains: another generation serves
            assert document["workers"][0]["why"] == "the worker has ended"
        until(lambda: len(server.workers) == 1, "the worker before to be gone")
        (pid,) = server.workers
        profiling = Profiling(server, "web.0", tmp_path, "--idle", "-o", str(tmp_path / "x.svg"))
        server.kill_master()
        document = profiling.result()
        assert document["ok"], document
        assert document["workers"][0]["pid"] == pid


def test_a_worker_that_does_not_answer_is_said_to(served, tmp_path: Path) -> None:
    with served("threads") as server:
        (pid,) = server.workers
        os.kill(pid, signal.SIGSTOP)
        wait_until_stopped(pid)
        try:
            arguments = ("profile", "web.0", "-s", LONG_S, "-c", str(server.config))
            with (tmp_path / "out").open("wb") as out:
                process = server.begin_gwctl(*arguments, stdout=out)
            assert process.stderr is not None
            assert process.stderr.readline().startswith(b"sampling for 300 s; Ctrl-C ends it")
            assert b"does not answer yet" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=DEADLINE_S)[1].decode()
            assert process.returncode == 1
        finally:
            os.kill(pid, signal.SIGCONT)
        assert "C code that holds the interpreter keeps it, or it is stopped: gwctl dump web.0" in errors


def test_a_worker_that_tells_anything_else_fails_the_command_and_nothing_more(served, tmp_path: Path) -> None:
    with served("threads", processes=1) as server:
        assert httpx.get(f"{server.url}/lie").text == "done"
        result = server.gwctl("profile", "web.0", "-s", "0.5", "-c", str(server.config))
        assert (result.returncode, result.stdout) == (1, "")
        assert "web.0 pid" in result.stderr
        assert "what it tells is no profile" in result.stderr
        assert httpx.get(server.url).text == "done"
        assert server.gwctl("status").returncode == 0


def test_a_child_of_the_application_holds_nothing_of_it(served, tmp_path: Path) -> None:
    with served("threads") as server:
        (pid,) = server.workers
        before = sockets_of(pid)
        profiling = Profiling(server, "web.0", tmp_path, "--idle", "-o", str(tmp_path / "x.svg"))
        until(lambda: sockets_of(pid) - before, "its socket")
        (new,) = sockets_of(pid) - before
        httpx.get(f"{server.url}/fork")
        child = int((tmp_path / "child").read_text())
        try:
            until(lambda: new not in sockets_of(child), "the child to have closed it")
        finally:
            os.kill(child, signal.SIGKILL)
            httpx.get(f"{server.url}/reap")
        assert profiling.interrupt()["ok"]


def test_of_the_memory_a_table(served, tmp_path: Path) -> None:
    with served("threads") as server, requests_to(server.url):
        result = run_in(tmp_path, server, "web.0", "-s", "1", "--memory")
        assert result.returncode == 0, result.stderr
        assert "tracemalloc notes every allocation" in result.stderr
        assert "still in use at the end" in result.stdout
        assert "wrote" not in result.stdout
        server.wait_for_log("allocations are noted, which slows it down, for 1 s")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("web.7",), 1, "no worker web.7: there are web.0"),
        (("shop",), 1, "no pool 'shop' with a worker: there are web"),
        (("web.0", "-s", "0"), 2, "0<x<=600"),
        (("web.0", "-s", "1e9"), 2, "0<x<=600"),
        (("a.b.c",), 2, "names no worker"),
        (("web.0", "--format", "pdf"), 2, "pdf"),
    ],
)
def test_what_cannot_be(gwctl_server, arguments: tuple[str, ...], status: int, text: str) -> None:
    with gwctl_server(BARE["sync"], worker="sync") as server:
        result = server.gwctl("profile", *arguments, "-c", str(server.config))
        assert (result.returncode, result.stdout) == (status, "")
        assert text in result.stderr


def test_a_client_that_takes_no_descriptors_has_asked_for_nothing(served) -> None:
    with served("threads") as server:
        (pid,) = server.workers
        of_master, of_worker = sockets_of(server.pid), sockets_of(pid)
        with ControlClient(find_of(server)) as client:
            answer = client.call("profile", Profile("web.0", 300), timeout_s=DEADLINE_S)
            assert [each["pid"] for each in answer["workers"]] == [pid]
            until(lambda: sockets_of(pid) == of_worker, "the end of it")
        until(lambda: sockets_of(server.pid) == of_master, "no descriptor left in the master")


def test_a_client_that_leaves_before_the_answer_leaves_no_descriptor(served) -> None:
    with served("threads") as server:
        (pid,) = server.workers
        of_master, of_worker = sockets_of(server.pid), sockets_of(pid)
        for _ in range(5):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(find_of(server)))
                sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"profile","params":{"worker":"web"}}\n')
        until(lambda: sockets_of(server.pid) == of_master, "no descriptor left in the master")
        until(lambda: sockets_of(pid) == of_worker, "the end of them")
