"""What a worker inherits, and what it must not: descriptors, environment, process group, code."""

from __future__ import annotations

import os
import re
from pathlib import Path

import httpx

from tests.support.processes import descriptors, listening_sockets, pidfd_target, title
from tests.support.wait import until

APP = "wsgi_bare:application"


def test_a_worker_holds_no_descriptor_of_the_master_or_of_other_workers(gwctl_server, tmp_path):
    """Two pools, a pid file, a control client: each worker has its own listener, channel and connection queue only."""
    other = {
        "app": APP,
        "chdir": str(Path(__file__).parents[1] / "apps"),
        "bind": ["127.0.0.1:0"],
        "processes": 1,
    }
    with gwctl_server(
        APP,
        worker="sync",
        processes=3,
        master={"pidfile": str(tmp_path / "pid")},
        pools={"other": other},
    ) as server:
        listeners = listening_sockets(server.pid)
        queues = []
        for pid in server.workers:
            theirs = descriptors(pid)
            sockets = {target for fd, target in theirs.items() if fd > 2 and target.startswith("socket:")}
            assert len(sockets & listeners) == 1, theirs
            mine = set(descriptors(server.pid).values())
            shared = {t for t in sockets & mine if t not in listeners}
            assert len(shared) == 2, f"worker {pid} shares {shared} with the master, not its pool's queue"
            queues.append(frozenset(shared))
            assert not [t for t in theirs.values() if str(tmp_path) in t], theirs
            watched = [pidfd_target(pid, fd) for fd, target in theirs.items() if "pidfd" in target]
            assert watched == [server.pid], "a worker watches its master and nobody else"
        assert sorted(queues.count(each) for each in set(queues)) == [1, 3], "one for each pool"


def test_the_master_leaks_no_descriptor_over_respawns(gwctl_server):
    with gwctl_server(APP, worker="sync", processes=2, reload={"settle_s": 0.0}) as server:
        before = len(descriptors(server.pid))
        for generation in range(2, 8):
            server.signal(1)
            server.wait_for_log(rf"adopted generation {generation}\b")
            until(lambda: len(server.workers) == 2, "the previous workers to go")
        until(lambda: len(descriptors(server.pid)) <= before, "the descriptors of the previous to be closed")


def test_a_worker_does_not_answer_for_the_master(gwctl_server):
    """Own process group; no LISTEN_*, NOTIFY_SOCKET or WATCHDOG_* in its environment."""
    environ = {"NOTIFY_SOCKET": "@gwctl-test-nobody", "WATCHDOG_USEC": "60000000"}
    with gwctl_server("wsgi_bare:application", worker="sync", processes=2, environ=environ) as server:
        groups = {os.getpgid(pid) for pid in server.workers}
        assert len(groups) == 2
        assert os.getpgid(server.pid) not in groups
        assert groups == set(server.workers)


def test_the_master_imports_neither_application_nor_server_libraries(gwctl_server):
    """Its memory maps show no uvloop and no parser."""
    with gwctl_server(APP, worker="asgi", processes=1) as server:
        maps = Path(f"/proc/{server.pid}/maps").read_text()
        assert not re.search(r"uvloop|gunicorn_h1c|httptools|websockets", maps)
        assert re.search(r"uvloop", Path(f"/proc/{server.workers[0]}/maps").read_text())


def test_process_titles(gwctl_server):
    with gwctl_server(APP, worker="sync", processes=2) as server:
        assert title(server.pid) == "gwctl: master [test]"
        assert {title(pid) for pid in server.workers} == {
            "gwctl: worker web.0 g1 [test]",
            "gwctl: worker web.1 g1 [test]",
        }


def test_nothing_is_written_to_the_working_directory(gwctl_server):
    with gwctl_server(APP, worker="threads", processes=2) as server:
        httpx.get(server.url)
        before = {"gw.toml", "stdout", "stderr", "gwctl"}
        assert {path.name for path in server.folder.iterdir()} <= before


def test_a_start_that_fails_leaves_no_control_socket(gwctl_server, tmp_path):
    """The pid file is another live master's; the control socket, opened before, is taken back."""
    pidfile = tmp_path / "pid"
    with gwctl_server(APP, worker="sync", master={"pidfile": str(pidfile)}) as server:
        master = {"name": "second", "pidfile": str(pidfile)}
        second = gwctl_server(APP, worker="sync", master=master, allow_errors=["."])
        try:
            second.start()
            assert second.wait_for_exit() == 1
            assert f"the pid file {pidfile} is held by" in second.log
            assert not list(second.folder.rglob("*.sock"))
        finally:
            second.destroy()
        assert pidfile.read_text().strip() == str(server.pid)
