"""Child processes that the import starts in a template: one set for each generation, which ends after its workers."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.support.engine import WORKER_CLASSES
from tests.support.processes import has_ended
from tests.support.raw import RawClient
from tests.support.server import GwctlServer
from tests.support.wait import until

SOURCE = """
import asyncio, atexit, multiprocessing, os, time
MANAGER = multiprocessing.Manager()
SHARED = MANAGER.dict()
DAEMON = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True, name="poller")
DAEMON.start()

def answer(path):
    if path == "/slow":
        with open("begun", "w"):
            pass
        while not os.path.exists("go"):
            time.sleep(0.01)
    SHARED[os.getpid()] = path
    assert SHARED.copy()[os.getpid()] == path
    return f"{MANAGER._process.pid} {DAEMON.pid} {len(SHARED)}".encode()

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [answer(environ["PATH_INFO"])]

async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    body = await asyncio.to_thread(answer, scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


def serve(folder: Path, worker: str) -> GwctlServer:
    (folder / "shop.py").write_text(SOURCE)
    app = "shop:asgi" if worker == "asgi" else "shop:wsgi"
    settings = {"preload": True, "processes": 2, "chdir": folder, "timeouts": {"linger_s": 0.05}}
    return GwctlServer(app, worker=worker, reload={"settle_s": 0.05}, **settings)  # type: ignore[arg-type]


def asked(server: GwctlServer) -> list[int]:
    return [int(word) for word in httpx.get(server.url, headers={"connection": "close"}).text.split()[:2]]


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_a_manager_made_at_import_serves_all_workers_to_their_end_and_is_not_left(tmp_path, worker):
    with serve(tmp_path, worker) as server:
        until(lambda: int(httpx.get(server.url).text.split()[2]) == 2, "both workers to have used it")
        first = asked(server)
        server.wait_for_log(
            r"warn  web g1 .* preload: .* 2 child processes "  # by their pids, which may begin anew between them
            r"\((\d+ SyncManager-1, \d+ poller|\d+ poller, \d+ SyncManager-1)\)"
        )
        with RawClient(server.url) as slow:
            slow.send("/slow")
            until((tmp_path / "begun").exists, "the slow request to begin")
            assert server.gwctl("reload").returncode == 0
            second = asked(server)
            assert set(first).isdisjoint(second)
            assert not has_ended(first[0])
            (tmp_path / "go").touch()
            answer = slow.answer()
            assert answer.status == 200
            assert int(answer.body.split()[0]) == first[0]
        for pid in first:
            until(lambda pid=pid: has_ended(pid), "what the first generation's import has started to end")
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit() == 0
        assert all(has_ended(pid) for pid in second)
        assert "can only join" not in server.output + server.log


def test_they_end_after_the_workers_also_when_the_master_is_killed(tmp_path):
    with serve(tmp_path, "sync") as server, RawClient(server.url) as slow:
        started = asked(server)
        slow.send("/slow")
        until((tmp_path / "begun").exists, "the slow request to begin")
        server.kill_master()
        server.wait_for_log("is gone: accepts no more")
        assert not has_ended(started[0])
        (tmp_path / "go").touch()
        assert slow.answer().status == 200
        for pid in started:
            until(lambda pid=pid: has_ended(pid), "what the import has started to end")


def test_a_quick_stop_ends_them_too(tmp_path):
    with serve(tmp_path, "sync") as server:
        started = asked(server)
        server.signal(signal.SIGINT)
        assert server.wait_for_exit() == 0
        assert all(has_ended(pid) for pid in started)
        assert not re.search("Traceback|error", server.log)
