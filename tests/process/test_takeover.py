"""gwctl start --takeover: a new master takes the place of one that runs, and nobody notices."""

from __future__ import annotations

import os
import signal
import socket

import httpx
import pytest

from tests.load.runner import Load
from tests.support.apps import BARE, write_shop
from tests.support.raw import refuses
from tests.support.server import APPS, GwctlServer
from tests.support.status import status_of
from tests.support.wait import until

TAKEOVERS = int(os.environ.get("TAKEOVERS", "2"))
"""In a row under load, for each worker class."""
QUICK = {"settle_s": 0.05}
WAITS = """
import sys
import time
from pathlib import Path

sys.path.append(APPS)
Path("importing").touch()
while not Path("go").exists():
    time.sleep(0.01)
from wsgi_bare import application
"""
"""Is imported when the test says so."""


class Heir(GwctlServer):
    """A master that is started with --takeover by the settings of another one."""

    def __init__(self, before: GwctlServer, **more: object) -> None:
        super().__init__("", bind=[], **more)  # type: ignore[arg-type]
        self.config = before.config
        self.environ |= {"RUNTIME_DIRECTORY": before.environ["RUNTIME_DIRECTORY"]}
        self.arguments = ["start", "-c", str(self.config), "--takeover"]


def has_gone(server: GwctlServer) -> None:
    """It has ended as it should."""
    assert server.wait_for_exit() == 0, server.log
    server.assert_no_process_left()
    server.assert_log_clean()


@pytest.mark.timeout(60 + 30 * TAKEOVERS)
@pytest.mark.parametrize("worker", BARE)
def test_takeovers_in_a_row_under_load_fail_no_request(gwctl_server, worker, tmp_path):
    pidfile = tmp_path / "pid"
    more = {
        "processes": 2,
        "reload": QUICK,
        "master": {"pidfile": str(pidfile)},
        "admin": {"bind": ["127.0.0.1:0"]},
    }
    with gwctl_server(BARE[worker], worker=worker, bind="127.0.0.1:0", **more) as first:
        present: GwctlServer = first
        heirs = []
        with Load(first.url, connections=16, expect_body=b"hello") as load:
            for _ in range(TAKEOVERS):
                heir = Heir(first)
                heirs.append(heir)
                heir.start()
                heir.wait_until_serving(timeout_s=60)
                has_gone(present)
                present = heir
                load.wait_for_requests(50)
                assert int(pidfile.read_text()) == present.pid
        assert load.result.failures == {}, load.result
        print(f"{worker}: {TAKEOVERS} takeovers, {load.result.requests} requests")
        known = status_of(first)
        assert (known["pid"], known["pools"][0]["ready"]) == (present.pid, 2)
        assert present.gwctl("reload", "-c", str(first.config)).returncode == 0, "it is a master like any"
        present.stop()
        assert not pidfile.exists()
        for heir in heirs:
            heir.destroy()


def test_every_kind_of_listener_changes_hands_and_what_the_settings_drop_is_closed(gwctl_server, tmp_path):
    path, dropped = tmp_path / "web.sock", tmp_path / "dropped.sock"
    with socket.create_server(("127.0.0.1", 0)) as passed:
        passed.set_inheritable(True)
        bind = [f"unix:{path}", f"unix:{dropped}", "127.0.0.1:0", "unix:@gwctl-takeover"]
        with gwctl_server(BARE["sync"], bind=bind, reload=QUICK) as first:
            inode, url = path.stat().st_ino, first.url
            first.tables["pool"]["web"]["bind"] = [*bind[:1], *bind[2:], "127.0.0.2:0"]
            first.tables["pool"]["web"]["socket_mode"] = "600"
            first.write_config()
            with Heir(first) as heir:
                has_gone(first)
                assert httpx.get(url).text == "hello"
                for uds in (str(path), "\0gwctl-takeover"):
                    with httpx.Client(transport=httpx.HTTPTransport(uds=uds)) as client:
                        assert client.get("http://shop.example/").text == "hello"
                found = path.stat()
                assert (found.st_ino, found.st_mode & 0o777) == (inode, 0o600)
                assert not dropped.exists()
                assert "taking over from pid" in heir.log
                assert "4 listening sockets" in heir.log
            assert not path.exists(), "removed at the end, as its inode is ours"
            assert refuses(url)


def test_a_request_under_way_is_finished_by_the_one_before(gwctl_server, tmp_path):
    source = """
    import time
    from pathlib import Path

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            Path("begun").touch()
            while not Path("go").exists():
                time.sleep(0.01)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    """
    folder = write_shop(tmp_path, "\n".join(line[4:] for line in source.splitlines()))
    app = {"app": "shop:application", "chdir": folder, "worker": "sync", "bind": "127.0.0.1:0"}
    with gwctl_server(**app, processes=1, reload=QUICK) as first, socket.socket() as slow:
        slow.connect(("127.0.0.1", int(first.url.rpartition(":")[2])))
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        until((folder / "begun").exists, "the request to begin")
        with Heir(first) as heir:
            assert httpx.get(first.url).text == "ok"
            assert status_of(first)["pid"] == heir.pid
            first.wait_for_log(r"stopping \(gwctl start --takeover, pid \d+\)")
            assert first.status is None
            (folder / "go").touch()
            assert slow.recv(65536).endswith(b"ok")
            has_gone(first)


def test_new_settings_that_are_broken_leave_the_one_that_runs_as_it_was(gwctl_server, tmp_path):
    path = tmp_path / "web.sock"
    with gwctl_server(BARE["asgi"], bind=["127.0.0.1:0", f"unix:{path}"], reload=QUICK) as first:
        workers, good = first.workers, first.tables["pool"]["web"]
        for change, status, says in (
            ({"app": "no_such_module:app"}, 4, "not taken over: cannot import no_such_module"),
            ({"bind": [f"unix:{tmp_path}/no/folder.sock"]}, 1, "no/folder.sock"),
            ({"timeouts": {"boot_timeout_s": -1}}, 2, "boot_timeout_s"),
        ):
            first.tables["pool"]["web"] = {**good, "socket_mode": "600", "backlog": 5, **change}
            first.write_config()
            heir = Heir(first)
            heir.start()
            assert heir.wait_for_exit() == status, heir.log
            assert says in heir.log
            heir.destroy()
            assert httpx.get(first.url).text == "hello"
            until(lambda: path.stat().st_mode & 0o777 == 0o660, "the mode to be set back")
        assert first.workers == workers
        first.tables["pool"]["web"] = good
        first.write_config()
        assert first.gwctl("reload").returncode == 0
        assert "and serves on: cannot import no_such_module" in first.log


@pytest.mark.parametrize("dies", ["new", "old"])
def test_a_kill_of_either_in_the_middle_leaves_the_other(gwctl_server, tmp_path, dies):
    write_shop(tmp_path, WAITS.replace("APPS", repr(str(APPS))))
    with gwctl_server(BARE["sync"], bind="127.0.0.1:0", reload=QUICK) as first:
        first.tables["pool"]["web"] |= {"app": "shop:application", "chdir": str(tmp_path)}
        first.write_config()
        heir = Heir(first)
        try:
            heir.start()
            until((tmp_path / "importing").exists, lambda: heir.log)
            assert httpx.get(first.url).text == "hello"
            second = Heir(first)
            second.start()
            assert second.wait_for_exit() == 1
            assert "is not taken over: a takeover is under way" in second.log
            second.destroy()
            if dies == "new":
                os.kill(heir.pid, signal.SIGKILL)
                first.wait_for_log(r"and serves on: it ended before it was ready")
                assert httpx.get(first.url).text == "hello"
                assert first.gwctl("status").returncode == 0
            else:
                first.kill_master()
                heir.wait_for_log(r"took the place of pid \d+ .*: it died before this one was ready")
                (tmp_path / "go").touch()
                heir.wait_until_serving()
                assert httpx.get(first.url).text == "hello"
                assert status_of(first)["pid"] == heir.pid
                heir.stop()
        finally:
            heir.destroy()


def test_without_one_that_runs_it_starts_as_usual_and_says_so(gwctl_server):
    server = gwctl_server(BARE["sync"], bind="127.0.0.1:0")
    server.arguments.append("--takeover")
    with server:
        assert "nothing to take over: no master runs at" in server.log
        assert "starting as usual" in server.log
        assert httpx.get(server.url).text == "hello"
        server.kill_master()
        again = Heir(server, allow_kill=True)
        with again:
            assert "nothing to take over" in again.log, "its control socket is still there, and refuses"


def test_it_needs_a_control_socket(gwctl_server):
    server = gwctl_server(BARE["sync"], bind="127.0.0.1:0", master={"control": "off"})
    server.arguments.append("--takeover")
    server.start()
    assert server.wait_for_exit() == 1
    assert "--takeover asks over the control socket, and there is none" in server.log
    server.destroy()
