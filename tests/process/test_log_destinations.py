"""Where the event log goes, in real processes: a file that is rotated, a journal, a syslog."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support import started
from tests.support.apps import BARE
from tests.support.datagrams import Reader, parse_entry
from tests.support.server import ROOT, GwctlServer
from tests.support.status import status_of
from tests.support.wait import until

CLASSES = ["sync", "threads", "asgi"]
FILE = {"to": "events.log"}
RAISES = {"allow_errors": ["Deliberate"]}


def raises(server: GwctlServer) -> None:
    assert httpx.get(f"{server.url}/raise").status_code == 500


@pytest.mark.parametrize("worker", CLASSES)
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_a_file_takes_all_and_is_reopened_by_usr1(gwctl_server, worker: str, preload: bool) -> None:
    """Master, worker, admin process and whoever replaces them write to the new one, and none to the old."""
    admin = {"bind": ["unix:admin.sock"]}
    with gwctl_server(
        BARE[worker], worker=worker, preload=preload, log=FILE, admin=admin, allow_kill=True, **RAISES
    ) as server:
        path, moved = server.folder / "events.log", server.folder / "events.log.1"
        assert server.stderr == f"gwctl: pid {server.pid} tells what happens to {path}\n"
        assert path.stat().st_mode & 0o777 == 0o640
        server.wait_for_log(r"admin: unix:\S+ \(pid \d+")
        path.rename(moved)
        server.signal(signal.SIGUSR1)
        server.wait_for_log(
            rf"reopened the logs \(SIGUSR1\): 0 access logs, 0 workers told, and the event log {path}"
        )
        processes = [server.pid, *server.workers]
        until(
            lambda: all(Path(f"/proc/{pid}/fd/2").readlink() == path for pid in processes),
            "stderr to be the new file",
        )
        before = moved.read_text()
        raises(server)
        server.wait_for_log(r"web\.0 g1 +GET /raise: the application raised: \S*Deliberate")
        (victim,) = (each["pid"] for each in status_of(server)["pools"][0]["workers"])
        server.allow_errors.append(f"pid {victim} died")
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(r"web\.0 g1 +pid \d+ ready")
        raises(server)
        server.wait_for_log(r"GET /raise: the application raised", count=2)
        assert moved.read_text() == before
        assert server.stderr.count("\n") == 1


def test_what_is_printed_to_stderr_is_in_the_file_too(gwctl_server) -> None:
    with gwctl_server(
        "logs:application", worker="sync", log=FILE, log_application=False, allow_errors=[".*"]
    ) as server:
        httpx.get(f"{server.url}/x")
        server.wait_for_log("while imported")
        assert "while imported" not in server.stderr


def test_a_file_that_cannot_be_reopened_goes_on_as_it_was(gwctl_server) -> None:
    allowed = ["cannot write the event log", *RAISES["allow_errors"]]
    with gwctl_server(BARE["sync"], worker="sync", log=FILE, allow_errors=allowed) as server:
        path, moved = server.folder / "events.log", server.folder / "events.log.1"
        path.rename(moved)
        path.mkdir()
        server.signal(signal.SIGUSR1)
        until(lambda: "writing to the old file goes on" in moved.read_text(), "the complaint")
        assert f"cannot write the event log {path}: Is a directory" in moved.read_text()
        path.rmdir()
        moved.rename(path)
        raises(server)
        server.wait_for_log("GET /raise")


def test_a_start_that_fails_is_told_where_it_was_tried_and_in_the_file(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "gw.toml"
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        config.write_text(
            f'[master]\nbind_retry_s = 0\n[log]\nto = "events.log"\n'
            f'[pool.web]\napp = "x:y"\nbind = ["{bind}"]\n'
        )
        run = start(config)
    assert run.returncode == 1
    assert re.fullmatch(rf"gwctl: cannot listen on {bind}: in use by .*\n", run.stderr)
    assert run.stderr.removeprefix("gwctl: ").strip() in (tmp_path / "events.log").read_text()


def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    config = tmp_path / "gw.toml"
    config.write_text('[log]\nto = "not/there/events.log"\n[pool.web]\napp = "x:y"\nbind = ["127.0.0.1:0"]\n')
    run = start(config)
    assert run.returncode == 2
    assert f'log.to = "not/there/events.log": there is no folder {tmp_path}/not/there' in run.stderr


@pytest.mark.parametrize("to", ["events.log", "syslog:{}/nobody"])
def test_an_application_that_cannot_be_imported_is_told_where_it_was_started(tmp_path: Path, to: str) -> None:
    """Where nobody takes the log it would be told nowhere else."""
    config = tmp_path / "gw.toml"
    (tmp_path / "shop.py").write_text("prices = {}\nprices['tea']\n")
    config.write_text(
        f'[log]\nto = "{to.format(tmp_path)}"\n[pool.web]\napp = "shop:app"\nbind = ["127.0.0.1:0"]\n'
    )
    run = start(config)
    assert run.returncode == 4
    assert "KeyError: 'tea'" in run.stderr
    assert 'shop.py", line 2' in run.stderr


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    """Applications would find a stderr that does not wait."""
    path = Path("/dev/null")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    config = tmp_path / "gw.toml"
    config.write_text(f'[log]\nto = "{path}"\n[pool.web]\napp = "x:y"\nbind = ["127.0.0.1:0"]\n')
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb"):
        run = start(config)
    assert run.returncode == 1
    assert f"cannot write the event log {path}: it is no file" in run.stderr


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_a_worker_that_boots_at_the_rotation_goes_on_in_the_new_file(gwctl_server, preload: bool) -> None:
    """It was forked with the old one, and hears of the new one when it has begun to listen."""
    settings = {"preload": preload, "allow_kill": True, "allow_errors": ["died"]}
    with gwctl_server(BARE["sync"], worker="sync", log=FILE, processes=4, **settings) as server:
        path = server.folder / "events.log"
        for turn in range(3):
            before = server.workers
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            until(lambda: len(set(server.workers) - set(before)) > 2, "some to be there again")  # noqa: B023
            path.rename(server.folder / f"events.log.{turn}")
            server.signal(signal.SIGUSR1)
            until(
                lambda: all(stderr_of(pid) == path for pid in [server.pid, *server.workers]),
                "all to write there",
            )
        until(lambda: status_of(server)["pools"][0]["ready"] == 4, "all to be ready")


def stderr_of(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/fd/2").readlink()
    except OSError:
        return None  # it has ended


@pytest.mark.parametrize("worker", CLASSES)
def test_what_was_kept_comes_without_another_line(gwctl_server, worker: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    server = gwctl_server(BARE[worker], worker=worker, log={"to": f"syslog:{path}"}, **RAISES)
    server.start()
    try:
        until(lambda: answers(server), "it to serve")
        raises(server)
        with Reader(path) as reader:
            found: list[bytes] = []
            until(
                lambda: found.extend(reader.all()) or any(b"Deliberate" in each for each in found),
                "what was kept",
            )
    finally:
        server.stop()


def answers(server: GwctlServer) -> bool:
    try:
        return httpx.get(server.url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("worker", CLASSES)
def test_what_an_application_logs_has_its_fields_and_its_socket_is_not_taken_for_the_applications(
    gwctl_server, worker: str, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    with Reader(path) as reader:
        journal = Journal(reader)
        app = "logs:live" if worker == "asgi" else "logs:application"
        server = gwctl_server(
            app, worker=worker, preload=True, log={"to": f"journal:{path}"}, allow_errors=["."]
        )
        server.start()
        try:
            journal.wait_for("pools_serve")
            httpx.get(f"{server.url}/x")
            low = journal.wait_for("application", "stock of tea is low")
            assert (low["LOGGER"], low["PRIORITY"]) == ("shop.views", "4")
            assert json.loads(low["GWCTL_FIGURES"]) == {"left": 3, "path": "\\udcff"}
            assert not [each for each in journal.entries if "opened 1 socket" in each["MESSAGE"]]
        finally:
            server.stop()


def start(config: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "RUNTIME_DIRECTORY": str(config.parent)}
    return started.run(["start", "-c", str(config)], environ=environ, cwd=Path.cwd())


class Journal:
    """The entries of one server that came so far."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.entries: list[dict[str, str]] = []

    def wait_for(self, event: str, text: str = "") -> dict[str, str]:
        def found() -> dict[str, str] | None:
            self.entries += map(parse_entry, self._reader.all())
            matching = [
                e for e in self.entries if e["GWCTL_EVENT"] == event and re.search(text, e["MESSAGE"])
            ]
            return matching[-1] if matching else None

        entry = until(found, lambda: f"{event} {text} among\n" + "\n".join(map(str, self.entries)))
        assert entry
        return entry


@pytest.mark.parametrize("worker", CLASSES)
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_a_journal(gwctl_server, worker: str, preload: bool, tmp_path: Path) -> None:
    """Each process writes its own entries, over a reload that changes the format, and over an upgrade."""
    path = tmp_path / "journal"
    log = {"to": f"journal:{path}"}
    with Reader(path) as reader:
        journal = Journal(reader)
        server = gwctl_server(
            BARE[worker], worker=worker, preload=preload, log=log, reload={"settle_s": 0.05}, **RAISES
        )
        server.start()
        try:
            ready = journal.wait_for("worker_ready", r"web\.0")
            assert (ready["PRIORITY"], ready["SYSLOG_IDENTIFIER"], ready["GWCTL_SLOT"]) == ("6", "test", "0")
            assert json.loads(ready["GWCTL_FIGURES"])["worker_class"] == worker
            journal.wait_for("pools_serve")
            assert server.stderr == f"gwctl: pid {server.pid} tells what happens to journal:{path}\n"
            raises(server)
            raised = journal.wait_for("worker", "GET /raise: the application raised")
            assert (raised["PRIORITY"], raised["GWCTL_PID"]) == ("3", ready["GWCTL_PID"])
            assert raised["MESSAGE"].count("\n") > 2
            server.tables["log"]["format"] = "json"
            server.tables["log"]["to"] = "stderr"
            server.write_config()
            assert server.gwctl("reload").returncode == 0
            assert journal.wait_for("restart_needed")["GWCTL_FIGURES"] == '{"setting":"log.to"}'
            raises(server)
            raised = journal.wait_for("worker", "GET /raise.*Deliberate")
            assert json.loads(raised["MESSAGE"])["generation"] == 2
            assert server.gwctl("upgrade").returncode == 0
            raises(server)
            raised = journal.wait_for("worker", '"generation":3.*GET /raise|GET /raise.*"generation":3')
            assert server.stderr.count("\n") == 1
        finally:
            server.stop()
        assert journal.wait_for("master_stopped")


def test_a_syslog_that_is_not_there_is_told_and_gets_what_was_kept(gwctl_server, tmp_path: Path) -> None:
    path = tmp_path / "log"
    server = gwctl_server(BARE["sync"], worker="sync", log={"to": f"syslog:{path}"})
    server.start()
    try:
        kept = "each process keeps 1000 lines until it can"
        until(lambda: kept in server.stderr, lambda: server.stderr)
        assert f"gwctl: syslog cannot be reached (No such file or directory): {kept}\n" in server.stderr
        until(lambda: answers(server), "it to serve all the same")
        with Reader(path) as reader:
            found: list[bytes] = []
            until(
                lambda: found.extend(reader.all()) or any(b" worker_ready - " in each for each in found),
                "the lines",
            )
            assert b" master_started - master: gwctl " in found[0]
    finally:
        server.stop()
