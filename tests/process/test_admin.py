"""The admin process beside a real master: what it survives, what survives it, and who serves its listener."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from tests.support.apps import BARE
from tests.support.processes import descriptors, look
from tests.support.server import GwctlServer
from tests.support.wait import until

TOKEN = "0123456789abcdef0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def lives(pid: int) -> bool:
    process = look(pid)
    return process is not None and not process.is_zombie


class Admin:
    """The admin listener of ``server``."""

    def __init__(self, server: GwctlServer) -> None:
        self.server = server
        self.url = server.wait_for_log(r"admin: (http://127\.0\.0\.1:\d+)")[1]

    @property
    def pid(self) -> int:
        """Of the last one that was ready."""
        return int(re.findall(r"admin: .* \(pid (\d+),", self.server.log)[-1])

    @property
    def workers(self) -> list[int]:
        return [pid for pid in self.server.workers if pid != self.pid]

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, timeout=30)

    def post(self, path: str, token: str = TOKEN, **fields: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.post(self.url + path, headers=headers, json=fields, timeout=60)

    def samples(self, name: str, **labels: str) -> list[float]:
        return [
            float(line.rpartition(" ")[2])
            for line in self.get("/metrics").text.splitlines()
            if line.startswith((f"{name}{{", f"{name} "))
            and all(f'{k}="{v}"' in line for k, v in labels.items())
        ]

    def sample(self, name: str, **labels: str) -> float:
        """The value of one metric."""
        (value,) = self.samples(name, **labels)
        return value

    def has_served(self, count: int) -> bool:
        """Workers count a moment after the answer; until the first of a method is counted, there is no line for it."""
        return self.samples("gwctl_requests_total", method="GET", status="2xx") == [count]

    def until_ok(self, path: str) -> None:
        """Wait for 200: a probe fails, too, when the machine keeps the master from its answer for 2 s."""
        until(lambda: self.get(path).status_code == 200, lambda: f"200, not {self.get(path).text}")

    def has_none_of(self, workers: set[int]) -> bool:
        return not workers & set(self.workers)

    def until_pid_is_not(self, pid: int) -> None:
        until(lambda: self.pid != pid, "another admin process")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def with_admin(gwctl_server, token_file):
    @contextmanager
    def start(worker: str = "sync", **settings: Any) -> Iterator[Admin]:
        admin = {"bind": "127.0.0.1:0", "token_file": str(token_file)} | settings.pop("admin", {})
        reload = {"settle_s": 0.0}
        with gwctl_server(BARE[worker], worker=worker, admin=admin, reload=reload, **settings) as server:
            yield Admin(server)

    return start


@contextmanager
def asked_all_the_time(admin: Admin) -> Iterator[list[str]]:
    """A client with new connections; what it gets besides 200, and besides that a master was too busy to answer."""
    over, others = threading.Event(), list[str]()

    def ask() -> None:
        while not over.is_set():
            try:
                answer = admin.get("/livez")
            except httpx.HTTPError as error:
                others.append(repr(error))
            else:
                if answer.status_code != 200 and "did not answer" not in answer.text:
                    others.append(answer.text)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield others
    finally:
        over.set()
        thread.join()


def test_it_is_a_process_of_its_own(with_admin) -> None:
    with with_admin(processes=2) as admin:
        title = Path(f"/proc/{admin.pid}/cmdline").read_bytes().rstrip(b"\0")
        assert title == b"gwctl: admin [test]"
        for probe in ("/livez", "/readyz", "/readyz/web", "/startupz"):
            admin.until_ok(probe)
        assert admin.get("/api/status").json()["pools"][0]["ready"] == 2
        assert admin.get("/").headers["content-type"].startswith("text/html")


def test_it_holds_nothing_of_the_pools(with_admin) -> None:
    """Neither their listeners nor their scoreboards nor their channels, nor the control socket."""
    with with_admin(processes=2) as admin:
        links = list(descriptors(admin.pid).values())
        memory = sorted(link for link in links if "memfd" in link)
        assert memory == ["/memfd:gwctl-log-lock (deleted)", "/memfd:gwctl-scoreboard (deleted)"]
        port = int(admin.server.url.rpartition(":")[2])
        inodes = {f"socket:[{inode}]" for inode in listening_inodes(port)}
        assert inodes
        assert not inodes & set(links)
        maps = Path(f"/proc/{admin.pid}/maps").read_text()
        assert maps.count("gwctl-scoreboard") == 1, "its own"
        as_the_test = no_new_privileges(os.getpid())
        assert no_new_privileges(admin.server.pid) == as_the_test, "nor have those that applications start"
        assert no_new_privileges(admin.pid) == "1", "it faces a network, and executes nothing"


def no_new_privileges(pid: int) -> str:
    text = Path(f"/proc/{pid}/status").read_text()
    return text.partition("\nNoNewPrivs:")[2].split()[0]


def listening_inodes(port: int) -> list[str]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port]


def test_it_goes_on_over_a_reload_and_does_it(with_admin) -> None:
    with with_admin() as admin, asked_all_the_time(admin) as others:
        pid = admin.pid
        answer = admin.post("/api/reload")
        assert (answer.status_code, answer.json()["generation"]) == (200, 2)
        assert admin.pid == pid
        assert lives(pid)
        assert admin.sample("gwctl_generation") == 2
        assert admin.sample("gwctl_reloads_total", outcome="adopted") == 1
    assert others == []


@pytest.mark.parametrize("worker", ["sync", "asgi"])
def test_a_worker_is_profiled_and_a_browser_may_open_the_picture(with_admin, worker: str) -> None:
    with with_admin(worker) as admin:
        admin.until_ok("/readyz")
        before = len(descriptors(admin.pid))
        wish: dict[str, Any] = {"worker": "web.0", "seconds": 0.3, "idle": True}
        folded = admin.post("/api/profile", **wish, format="folded")
        assert (folded.status_code, folded.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert re.search(r"^.+;.+ [0-9]+$", folded.text, re.MULTILINE)
        assert ET.fromstring(admin.post("/api/profile", **wish).content).tag.endswith("svg")
        kept = admin.post("/api/profile", **wish, keep=True).json()
        assert kept["ok"]
        assert "samples in" in kept["text"]
        picture = admin.get(f"/{kept['path']}")
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/svg+xml")
        assert "script-src 'sha256-" in picture.headers["content-security-policy"]
        assert admin.get("/profile/another").status_code == 404
        assert admin.post("/api/profile", token="wrong", **wish).status_code == 401
        refused = admin.post("/api/profile", worker="web.7").json()["error"]
        assert (refused["code"], "no worker web.7" in refused["message"]) == ("refused", True)
        until(lambda: len(descriptors(admin.pid)) <= before, "no descriptor to be left")
        admin.until_ok("/readyz")


def test_nothing_else_notices_its_death(with_admin) -> None:
    with with_admin(allow_kill=True) as admin:
        workers, pid = admin.workers, admin.pid
        os.kill(pid, signal.SIGKILL)
        admin.server.wait_for_log(rf"the admin process {pid} ended: signal 9 \(SIGKILL\)")
        admin.until_pid_is_not(pid)
        admin.until_ok("/readyz")  # at the same address
        assert admin.workers == workers
        assert httpx.get(admin.server.url).status_code == 200


def test_an_upgrade_starts_another_without_a_refused_connection(with_admin) -> None:
    with with_admin() as admin, asked_all_the_time(admin) as others:
        pid = admin.pid
        for _ in range(3):
            httpx.get(admin.server.url)
        admin.server.signal(signal.SIGUSR2)
        admin.server.wait_for_log("adopted generation 2")
        admin.until_pid_is_not(pid)
        until(lambda: not lives(pid), "the one before to end")
        assert admin.sample("gwctl_requests_total", method="GET", status="2xx") >= 3, (
            "no counter runs backwards"
        )
        assert admin.sample("gwctl_upgrades_total", outcome="done") == 1
    assert others == []


def test_settings_that_change_replace_it_without_a_refused_connection(with_admin, token_file: Path) -> None:
    with with_admin() as admin, asked_all_the_time(admin) as others:
        pid, other = admin.pid, TOKEN[::-1]
        token_file.write_text(other)
        assert admin.post("/api/reload").status_code == 200
        admin.until_pid_is_not(pid)
        until(lambda: not lives(pid), "the one before to end")
        assert admin.post("/api/reload").status_code == 401
        assert admin.post("/api/log_level", other, level="debug").status_code == 200
    assert others == []


def test_it_goes_with_its_setting_and_comes_with_it(with_admin) -> None:
    with with_admin() as admin:
        server, pid = admin.server, admin.pid
        table = server.tables.pop("admin")
        server.write_config()
        assert server.gwctl("reload", "-c", str(server.config)).returncode == 0
        until(lambda: not lives(pid), "it to end")
        with pytest.raises(httpx.ConnectError):
            admin.get("/livez")
        server.tables["admin"] = table
        server.write_config()
        assert server.gwctl("reload", "-c", str(server.config)).returncode == 0
        admin.until_pid_is_not(pid)
        assert Admin(server).server.wait_for_log(r"admin: http", count=2)


def test_a_reload_that_cannot_bind_its_address_is_refused(with_admin) -> None:
    with with_admin() as admin, socket.create_server(("127.0.0.1", 0)) as taken:
        pid = admin.pid
        admin.server.tables["admin"]["bind"] = f"127.0.0.1:{taken.getsockname()[1]}"
        admin.server.write_config()
        admin.server.allow_errors.append("was not adopted")
        answer = admin.post("/api/reload")
        assert answer.status_code == 409
        assert "in use" in answer.text
        assert admin.pid == pid
        admin.until_ok("/livez")


def test_a_stop_is_told_to_probes_before_the_door_is_closed(with_admin) -> None:
    with with_admin(master={"drain_delay_s": 20.0}) as admin:
        admin.until_ok("/readyz")
        admin.server.signal(signal.SIGTERM)
        until(
            lambda: "stopping" in (answer := admin.get("/readyz")).text and answer.status_code == 503, "503"
        )
        admin.until_ok("/livez")
        assert httpx.get(admin.server.url).status_code == 200, "who comes is served"
        admin.server.signal(signal.SIGINT)  # ends the delay
        admin.server.wait_for_exit()


def test_who_follows_the_events_hears_of_the_end(with_admin) -> None:
    with with_admin() as admin, httpx.stream("GET", f"{admin.url}/events", timeout=30) as stream:
        lines = stream.iter_lines()
        assert admin.post("/api/log_level", level="debug").status_code == 200
        assert any("log_level_changed" in line for line in lines)
        admin.server.signal(signal.SIGTERM)
        rest = list(lines)
        assert any("master_stopped" in line for line in rest), rest
        assert "event: end" in rest
        admin.server.wait_for_exit()


def test_ready_min_counts(with_admin) -> None:
    with with_admin(processes=2, ready_min=2, allow_kill=True) as admin:
        admin.server.allow_errors.append("died")
        until(lambda: admin.get("/readyz").status_code == 200, "both")
        victim = admin.workers[0]
        os.kill(victim, signal.SIGSTOP)
        os.kill(victim, signal.SIGKILL)
        admin.server.wait_for_log(rf"pid {victim} died")
        until(lambda: admin.get("/readyz").status_code == 200, "its successor")


def test_counters_never_run_backwards(with_admin) -> None:
    """Over recycling, kills and reloads."""
    with with_admin(processes=2, allow_kill=True) as admin:
        admin.server.allow_errors.append("died")
        served = 0
        for round_ in range(3):
            for _ in range(5):
                assert httpx.get(admin.server.url).status_code == 200
                served += 1
            until(partial(admin.has_served, served), lambda: admin.get("/metrics").text)
            by_slot = [admin.sample("gwctl_worker_requests_total", slot=str(slot)) for slot in (0, 1)]
            assert sum(by_slot) == served
            if round_ == 0:
                before = set(admin.workers)
                assert admin.post("/api/recycle", pool="web").status_code == 200
                until(partial(admin.has_none_of, before), "new workers")
            elif round_ == 1:
                os.kill(admin.workers[0], signal.SIGKILL)
                admin.server.wait_for_log("died")
            assert admin.has_served(served)
            assert by_slot == [admin.sample("gwctl_worker_requests_total", slot=str(slot)) for slot in (0, 1)]
        assert admin.sample("gwctl_worker_exits_total", reason="crashed") == 1


def test_a_worker_has_nothing_of_it(with_admin) -> None:
    with with_admin() as admin:
        (worker,) = admin.workers
        port = int(admin.url.rpartition(":")[2])
        inodes = {f"socket:[{inode}]" for inode in listening_inodes(port)}
        assert not inodes & set(descriptors(worker).values())


def test_without_a_token_nothing_can_be_changed(gwctl_server) -> None:
    with gwctl_server(BARE["sync"], worker="sync", admin={"bind": "127.0.0.1:0"}) as server:
        admin = Admin(server)
        server.wait_for_log("to read only: no token")
        assert admin.post("/api/reload").status_code == 403


def test_on_a_unix_socket(gwctl_server, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with gwctl_server(BARE["sync"], worker="sync", admin={"bind": f"unix:{path}"}) as server:
        server.wait_for_log("admin: unix:")
        assert path.stat().st_mode & 0o777 == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://anybody/api/status").json()["name"] == "test"
    assert not path.exists()


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"bind": "tls:127.0.0.1:0"}, "the admin listener does not speak TLS"),
        ({"bind": "127.0.0.1:99999"}, "is not in"),
        ({"bind": "127.0.0.1:0", "token_file": "/nowhere"}, "cannot be read: No such file"),
        ({"bind": "127.0.0.1:0", "user": "nobody-such"}, "there is no such user"),
        ({"bnid": "127.0.0.1:0"}, "no such setting"),
    ],
)
def test_mistakes_are_told(gwctl_server, table: dict[str, str], complaint: str) -> None:
    server = gwctl_server(BARE["sync"], admin=table)
    result = server.gwctl("check", "-c", str(server.config))
    assert result.returncode == 2
    assert complaint in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("text", "mode", "complaint"),
    [
        ("short", 0o600, "a token of 5 characters"),
        ("two words of many characters", 0o600, "holds no token"),
        (TOKEN, 0o644, "can be read by everybody. chmod o= "),
    ],
)
def test_a_token_that_is_none(gwctl_server, tmp_path: Path, text: str, mode: int, complaint: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    server = gwctl_server(BARE["sync"], admin={"bind": "127.0.0.1:0", "token_file": str(path)})
    result = server.gwctl("check", "-c", str(server.config))
    assert result.returncode == 2
    assert complaint in result.stderr, result.stderr
