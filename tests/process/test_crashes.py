"""Workers that die: replaced at once, with backoff when it goes on, and never at their siblings' cost."""

from __future__ import annotations

import os
import signal

import httpx
import pytest

from tests.support.raw import request_on
from tests.support.wait import until

APP = "wsgi_bare:application"


def pid_of_slot(server, slot: int) -> int:
    match = server.wait_for_log(rf"web\.{slot} g\d+ +pid (\d+) ready")
    return int(match[1])


def test_killed_worker_is_replaced_and_named(gwctl_server):
    with gwctl_server(APP, worker="sync", processes=2, allow_errors=["SIGKILL"], allow_kill=True) as server:
        victim = pid_of_slot(server, 1)
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(rf"web\.1 g1 +pid {victim} died: signal 9 \(SIGKILL\)")
        server.wait_for_log(r"web\.1 g1 +pid \d+ ready", count=2)
        assert httpx.get(server.url).text == "hello"
        assert victim not in server.workers
        assert len(server.workers) == 2


@pytest.mark.parametrize("worker", ["threads", "asgi"])
def test_what_many_requests_at_once_were_at_is_shown_and_named_at_a_death(gwctl_server, tmp_path, worker):
    """As of the last turn of its sweep: nothing is noted for each request."""
    (tmp_path / "slow.py").write_text(
        "import asyncio, threading\n"
        "def threads(environ, start_response):\n"
        "    threading.Event().wait(60)\n"
        "async def asgi(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    await asyncio.sleep(60)\n"
    )
    options = {"worker": worker, "chdir": tmp_path, "allow_errors": ["died"], "allow_kill": True}
    with gwctl_server(f"slow:{worker}", **options) as server:
        (victim,) = server.workers
        with request_on(server.url, "/resize"):
            until(
                lambda: "GET /resize" in server.gwctl("status", "-c", str(server.config)).stdout, "it to show"
            )
            os.kill(victim, signal.SIGKILL)
            server.wait_for_log(r"died: .*, while serving GET /resize for [\d.]+ s \(as of [\d.]+ s before\)")
        server.wait_for_log(r"pid \d+ ready in", count=2)


def test_one_that_dies_of_a_fault_of_its_own_is_told_with_the_frames_of_the_application(
    gwctl_server, tmp_path
):
    """Once, and in its record; those of a child of the application, which is nobody's record, on stderr."""
    (tmp_path / "resize.py").write_text(
        "import ctypes, os\n"
        "def of_a_child():\n"
        "    ctypes.string_at(0)\n"
        "def resize():\n"
        "    ctypes.string_at(0)\n"
        "def application(environ, start_response):\n"
        "    if (pid := os.fork()) == 0:\n"
        "        of_a_child()\n"
        "    os.waitpid(pid, 0)\n"
        "    resize()\n"
    )
    options = {"worker": "sync", "chdir": tmp_path, "allow_errors": ["died"]}
    with gwctl_server("resize:application", **options) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{server.url}/x?y", timeout=30)  # two processes leave their memory behind before
        server.wait_for_log(
            r"died: signal 11 \(SIGSEGV\), .*, while serving GET /x\?…\. .*\n"
            r'  +File ".*", line \d+ in string_at\n +File ".*resize\.py", line 5 in resize\n'
            r' +File ".*resize\.py", line 10 in application\n(?! +File)'
        )
        assert server.log.count("Fatal Python error") == 1
        assert server.log.count("in of_a_child") == 1
        server.wait_for_log(r"pid \d+ ready in", count=2)


def test_worker_told_to_end_by_a_stranger_is_replaced_without_alarm(gwctl_server):
    """A direct SIGTERM drains a worker; that is not a crash: no error line."""
    with gwctl_server(APP, worker="sync", processes=2) as server:
        victim = pid_of_slot(server, 0)
        os.kill(victim, signal.SIGTERM)
        server.wait_for_log(r"web\.0 g1 +pid \d+ ready", count=2)
        until(lambda: victim not in server.workers, "the terminated worker to go")
        assert httpx.get(server.url).text == "hello"


def test_slot_that_keeps_dying_backs_off_while_its_sibling_serves(gwctl_server, tmp_path):
    """A worker that dies whenever slot 1 starts: the waits grow, slot 0 answers all along."""
    (tmp_path / "shop.py").write_text(
        "import os, signal, sys, pathlib\n"
        "flag = pathlib.Path(__file__).with_name('die')\n"
        "if flag.exists():\n"
        "    os.kill(os.getpid(), signal.SIGSEGV)\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'alive']\n"
    )
    crash = {"backoff_min_s": 0.2, "backoff_max_s": 1.0}
    options = {"allow_errors": ["SIGSEGV", "SIGKILL", "died"], "allow_kill": True}
    with gwctl_server("shop:application", chdir=tmp_path, processes=2, crash=crash, **options) as server:
        victim = pid_of_slot(server, 1)
        (tmp_path / "die").touch()
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(r"web\.1 g1 .*signal 11 \(SIGSEGV\).*next try in", count=3)
        assert httpx.get(server.url).text == "alive"
        (tmp_path / "die").unlink()
        server.wait_for_log(r"web\.1 g1 +pid \d+ ready", count=2)


def test_application_that_cannot_be_imported_ends_the_start_with_status_4(gwctl_server, tmp_path):
    """Exit status 4, the application's frames on stderr and none of ours."""
    (tmp_path / "shop.py").write_text("import prices_that_are_not_there\n")
    server = gwctl_server("shop:application", chdir=tmp_path, processes=2, allow_errors=["."])
    try:
        server.start()
        assert server.wait_for_exit() == 4
        assert "No module named 'prices_that_are_not_there'" in server.log
        assert 'shop.py", line 1' in server.log
        assert "gwctl/workers" not in server.log
        assert "importlib" not in server.log
        server.assert_no_process_left()
    finally:
        server.destroy()


@pytest.mark.parametrize("preload", [False, True])
def test_lifespan_that_fails_ends_the_start_with_status_3(gwctl_server, tmp_path, preload):
    (tmp_path / "live.py").write_text(
        "async def application(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        await receive()\n"
        "        raise RuntimeError('no database')\n"
    )
    server = gwctl_server(
        "live:application", chdir=tmp_path, processes=2, lifespan="on", preload=preload, allow_errors=["."]
    )
    try:
        server.start()
        assert server.wait_for_exit() == 3
        assert "no database" in server.log
        assert 'live.py", line 4' in server.log
        assert "gwctl/workers" not in server.log
        server.assert_no_process_left()
    finally:
        server.destroy()
