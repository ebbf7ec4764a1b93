"""What the end of a worker runs of the application, and what it does not wait for: in each class, and preloaded."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.support.processes import look, session_of
from tests.support.raw import RawClient
from tests.support.server import GwctlServer
from tests.support.status import active_requests
from tests.support.wait import until

SOON_S = 12.0
"""Less than what is not waited for takes, and enough for a busy machine."""
CLASSES = ("sync", "threads", "asgi", "sync+asgi", "threads+asgi")
"""The last two: an ASGI application under another class."""
each = pytest.mark.parametrize(
    ("worker", "preload"),
    [*((worker, False) for worker in CLASSES), *((worker, True) for worker in CLASSES[:3])],
)
native = pytest.mark.parametrize("worker", CLASSES)


def is_asgi(worker: str) -> bool:
    return worker.endswith("asgi")


class Ends(GwctlServer):
    """Serves tests/apps/endings.py."""

    def __init__(self, folder: Path, worker: str, preload: bool = False, **settings: object) -> None:
        self.said_in = folder / "said"
        self.said_in.touch()
        app = "endings:asgi" if is_asgi(worker) else "endings:wsgi"
        worker = worker.partition("+")[0]
        environ = {"ENDINGS": str(self.said_in), **settings.pop("environ", {})}  # type: ignore[dict-item]
        if preload:
            environ["PRELOADED"] = "1"
        timeouts = {"linger_s": 0.05, "drain_timeout_s": 20.0} | settings.pop("timeouts", {})  # type: ignore[operator, arg-type]
        super().__init__(
            app,
            worker=worker,
            preload=preload,
            environ=environ,
            timeouts=timeouts,
            **settings,  # type: ignore[arg-type]
        )

    def leave(self, *names: str, seconds: float = 0.0) -> None:
        answer = httpx.get(f"{self.url}/{'+'.join(names)}?{seconds}", headers={"connection": "close"})
        assert answer.text == "hello"

    @property
    def said(self) -> list[str]:
        return [word for word in self.said_in.read_text().splitlines() if word != "template"]

    def ended(self) -> list[str]:
        """Wait for the end; return what the worker said."""
        assert self.wait_for_exit() == 0
        return self.said


def stop(server: Ends) -> None:
    server.signal(signal.SIGTERM)


def stop_worker(server: Ends) -> None:
    os.kill(int(re.findall(r"web\.0 g\d+ +pid (\d+) ready", server.log)[-1]), signal.SIGTERM)


def reload(server: Ends) -> None:
    assert server.gwctl("reload").returncode == 0


@each
def test_work_left_in_the_background_is_finished(tmp_path, worker, preload):
    """Threads, jobs of executors and tasks, then the rest of the application's end, in this order."""
    names = ["thread", "executor"] + (["task", "default"] if is_asgi(worker) else [])
    work = {*names, "task finally"} if is_asgi(worker) else {*names}
    others = ["child", "generator"] if is_asgi(worker) else ["child"]
    rest = ["lifespan", "service finally", "generator closed"] if is_asgi(worker) else []
    with Ends(tmp_path, worker, preload, reload={"settle_s": 0.05}) as server:
        for end in (reload, stop_worker, stop):
            server.said_in.write_text("")
            server.leave(*names, *others, seconds=0.5)
            end(server)
            until(lambda: "atexit" in server.said, lambda: str(server.said))
            order = [word for word in server.said if not word.startswith("child")]
            assert set(order[: len(work)]) == work
            assert order[len(work) :] == [*rest, "atexit"]
            (child,) = [int(line.split()[1]) for line in server.said if line.startswith("child")]
            until(lambda pid=child: look(pid) is None, "the daemonic child to end")
            if end is not stop:
                server.wait_for_log(r"web\.0 g\d+ +pid \d+ ready", count=3 if end is stop_worker else 2)
                until(lambda: httpx.get(server.url + "/").text == "hello", "a worker to serve")
        assert server.wait_for_exit() == 0
        assert not re.search(r"\bcut\b", server.log.replace("0 requests cut", ""))


@native
def test_what_does_not_finish_is_cut_and_named(tmp_path, worker):
    """Within drain_timeout_s, and the lifespan's shutdown and the exit functions run all the same."""
    with Ends(tmp_path, worker, timeouts={"drain_timeout_s": 2.0}) as server:
        server.leave("endless", "executor", seconds=0.1)
        server.leave("thread" if not is_asgi(worker) else "task", seconds=60)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        said = server.ended()
        assert time.monotonic() - began < SOON_S
        assert "executor" in said
        assert said[-1] == "atexit"
        what = "2 tasks" if is_asgi(worker) else "2 threads"
        server.wait_for_log(rf"drain_timeout_s \(2 s\) is over: {what} of the application cut\n")
        server.wait_for_log(
            r"(task|thread) endless\n +File .*endings\.py\", line \d+ in (task|forever)"
            if not is_asgi(worker)
            else r"task endless\n"
        )
        if is_asgi(worker):
            assert {*said[-5:-3]} == {"task finally", "endless finally"}
            assert said[-3:] == ["lifespan", "service finally", "atexit"]


@native
@pytest.mark.parametrize("name", ["hang", "refuse"])
def test_exit_functions_that_hang_or_raise_are_no_obstacle(tmp_path, worker, name):
    with Ends(tmp_path, worker, timeouts={"drain_timeout_s": 0.2}) as server:
        server.leave(name, "child")
        (child,) = [int(line.split()[1]) for line in server.said]
        server.signal(signal.SIGTERM)
        said = server.ended()
        assert ("atexit" in said) == (name == "refuse")
        if name == "hang":
            server.wait_for_log(
                r"the application's exit functions cut\n +File .*endings\.py\", line \d+ in at_exit"
            )
        until(lambda: look(child) is None, "the daemonic child to end")


@pytest.mark.parametrize("worker", ["sync", "asgi"])
def test_threads_that_were_there_at_the_start_are_joined_after_the_lifespan(tmp_path, worker):
    """As the interpreter does; they have what is left of drain_timeout_s."""
    with Ends(tmp_path, worker, environ={"SERVICE_S": "0.7"}) as server:
        server.signal(signal.SIGTERM)
        said = server.ended()
        rest = ["lifespan", "service finally"] if is_asgi(worker) else []
        assert said == [*rest, "old thread", "atexit"]


@native
def test_an_exit_function_of_threading_that_hangs_is_cut(tmp_path, worker):
    """A library's own way to end its threads. Those that follow it are called all the same."""
    with Ends(tmp_path, worker, timeouts={"drain_timeout_s": 0.5}) as server:
        server.leave("executor", "threading")
        server.signal(signal.SIGTERM)
        assert server.ended()[-1] == "atexit"
        server.wait_for_log(
            r"drain_timeout_s \(0\.5 s\) is over: 1 thread of the application cut\n  thread gwctl-exit"
        )


@each
def test_a_quick_stop_says_farewell(tmp_path, worker, preload):
    """In the middle of a call that takes long, with a thread or a task that does not end."""
    with Ends(tmp_path, worker, preload) as server, RawClient(server.url) as client:
        server.leave("child", "endless")
        client.send("/sleep?60")
        until(lambda: "sleeping" in server.said, lambda: str(server.said))
        if worker == "threads":  # in others one call follows the other
            until(
                lambda: active_requests(server) == 1, "the call before it to end: its answer may come sooner"
            )
        (child,) = [int(line.split()[1]) for line in server.said if line.startswith("child")]
        began = time.monotonic()
        server.signal(signal.SIGINT)
        said = server.ended()
        assert time.monotonic() - began < SOON_S
        assert said[-1] == "atexit"
        if worker == "asgi":
            assert said[-4:] == ["endless finally", "lifespan", "service finally", "atexit"]
        if worker in {"sync", "asgi"}:  # in others it has another thread, and that cannot be interrupted
            assert "interrupted" in said
        until(lambda: look(child) is None, "the daemonic child to end")
        assert " 1 request cut" in server.log


@native
def test_a_second_signal_shortens_what_the_first_began(tmp_path, worker):
    with Ends(tmp_path, worker) as server:
        server.leave("endless")
        server.signal(signal.SIGTERM)
        server.wait_for_log("waiting for web.0: no connection left")
        began = time.monotonic()
        server.signal(signal.SIGINT)
        assert server.ended()[-1] == "atexit"
        assert time.monotonic() - began < SOON_S


@native
def test_work_is_finished_also_when_the_master_is_gone(tmp_path, worker):
    with Ends(tmp_path, worker) as server:
        server.leave("thread", "executor", "child", seconds=0.5)
        workers = server.workers
        server.kill_master()
        until(lambda: "atexit" in server.said, lambda: str(server.said))
        assert {"thread", "executor"} < set(server.said)
        assert ("lifespan" in server.said) == is_asgi(worker)
        (child,) = [int(line.split()[1]) for line in server.said if line.startswith("child")]
        for pid in (child, *workers):
            until(lambda pid=pid: look(pid) is None, "all to end")


@native
def test_an_idle_executor_with_processes_delays_no_stop(tmp_path, worker):
    with Ends(tmp_path, worker) as server:
        server.leave("processes")
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.ended()[-1] == "atexit"
        assert time.monotonic() - began < SOON_S
        assert "of the application cut" not in server.log


def test_a_job_of_an_executor_with_processes_is_finished(tmp_path):
    with Ends(tmp_path, "threads") as server:
        server.leave("processes", seconds=0.7)
        server.signal(signal.SIGTERM)
        assert server.ended()[0] == "process"
        # Multiprocessing's resource tracker ends when it notices that the worker has, and nobody waits for it.
        until(lambda: not session_of(server.pid), "the last process to end")


@pytest.mark.parametrize("preload", [False, True])
def test_exit_functions_run_after_an_import_that_fails_and_its_status_stays(tmp_path, preload):
    (tmp_path / "shop.py").write_text(
        "import atexit, multiprocessing, time\n"
        "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,), daemon=True)\n"
        "child.start()\n"
        "atexit.register(time.sleep, 60)\n"
        "raise RuntimeError(f'child {child.pid}')\n"
    )
    server = GwctlServer("shop:app", worker="sync", chdir=tmp_path, preload=preload)
    try:
        server.start()
        server.expected_status = 4
        assert server.wait_for_exit() == 4
        (child,) = re.findall(r"RuntimeError: child (\d+)$", server.log, re.MULTILINE)[:1]
        until(lambda: look(int(child)) is None, "the daemonic child to end")
        assert "the application's exit functions cut" in server.log
    finally:
        server.destroy()


BOOTS = """
import asyncio, atexit, os, time
def say(word):
    with open(os.environ["ENDINGS"], "a") as file:
        print(os.getpid(), word, file=file)
atexit.register(say, "atexit")
def hang(how):
    if os.environ["HANGS"] == how:
        try:
            say("hangs")  # whoever has read it may interrupt
            time.sleep(60)
        finally:
            say("finally")
hang("import")
async def app(scope, receive, send):
    await receive()
    hang("lifespan")
    try:
        say("hangs")
        await asyncio.sleep(60)
    finally:
        say("finally")
"""


@pytest.mark.parametrize(
    ("worker", "preload", "hangs"),
    [
        ("sync", False, "import"),
        ("sync", True, "import"),
        ("asgi", False, "import"),
        ("asgi", False, "lifespan"),
        ("asgi", False, "awaiting"),
        ("asgi", True, "awaiting"),
        ("threads", False, "awaiting"),
    ],
)
def test_a_worker_that_is_ended_while_it_boots_says_farewell(tmp_path, worker, preload, hangs):
    (tmp_path / "shop.py").write_text(BOOTS)
    said = tmp_path / "said"
    environ = {"ENDINGS": str(said), "HANGS": hangs}
    server = GwctlServer("shop:app", worker=worker, chdir=tmp_path, preload=preload, environ=environ)
    try:
        server.start()
        until(lambda: said.exists() and "hangs" in said.read_text(), lambda: server.log)
        began = time.monotonic()
        server.signal(signal.SIGINT)
        server.wait_for_exit()
        assert time.monotonic() - began < SOON_S
        lines = [line.split() for line in said.read_text().splitlines()]
        (who,) = [
            pid for pid, word in lines if word == "hangs"
        ]  # a template says farewell as well, when it likes
        assert [word for pid, word in lines if pid == who] == ["hangs", "finally", "atexit"]
        assert " error " not in server.log
    finally:
        server.destroy()
