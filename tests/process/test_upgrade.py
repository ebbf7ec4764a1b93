"""The program of a running master is replaced: same pid, same workers, and nobody notices."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from gwctl import __version__
from tests.load.runner import Load
from tests.support.apps import BARE
from tests.support.installation import Installation
from tests.support.processes import descriptors
from tests.support.status import status_of
from tests.support.tls import Files, client_context
from tests.support.wait import until

QUICK = {"settle_s": 0.05}
UPGRADES = int(os.environ.get("UPGRADES", "2"))
"""In a row under load, for each worker class; `make test-upgrade` sets more."""


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def resident_kib(pid: int) -> int:
    """Private memory of the process: what grows if something is kept."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def executes(server) -> bool:
    """The master has executed a new program, whose signals are still blocked."""
    with contextlib.suppress(OSError):
        return b"_GWCTL_UPGRADE=restore" in Path(f"/proc/{server.pid}/environ").read_bytes()
    return False


@pytest.mark.timeout(60 + 30 * UPGRADES)
@pytest.mark.parametrize("worker", BARE)
def test_upgrades_in_a_row_under_load_fail_no_request(gwctl_server, worker, tmp_path):
    """Each class of failure counts zero; pid, pid file and counters stay; descriptors do not add up."""
    pidfile = tmp_path / "pid"
    master = {"pidfile": str(pidfile)}
    log = {"access_log": str(tmp_path / "access.log")}
    with gwctl_server(BARE[worker], worker=worker, processes=2, reload=QUICK, master=master, **log) as server:
        before = len(descriptors(server.pid))
        with Load(server.url, connections=16, expect_body=b"hello") as load:
            memory = []
            for count in range(1, UPGRADES + 1):
                server.signal(signal.SIGUSR2)
                server.wait_for_log(rf"adopted generation {count + 1}\b", timeout_s=60)
                load.wait_for_requests(50)
                memory.append(resident_kib(server.pid))
        assert load.result.failures == {}, load.result
        gone = (
            f"{UPGRADES} upgrades, {load.result.requests} requests, private KiB {memory[0]} -> {memory[-1]}"
        )
        until(lambda: len(server.workers) == 2, "the workers of before to go")
        until(lambda: len(descriptors(server.pid)) == before, lambda: str(descriptors(server.pid)))
        known = status_of(server)
        assert int(pidfile.read_text()) == server.pid == known["pid"]
        counted = sum(pool["requests"] for pool in known["pools"])
        assert counted >= load.result.requests - 16, "counters go on"
        assert memory[-1] < memory[0] + 2048, gone
        print(gone, f"{before} descriptors")


def test_the_command_shows_how_it_goes_and_the_next_version_runs(gwctl_server, installed):
    """The connection of whoever waits for the answer is handed over; so is one with half a line."""
    with gwctl_server(BARE["sync"], processes=1, reload=QUICK, environ=installed.environ) as server:
        worker = server.workers
        installed.becomes("9.9.9")
        with socket.socket(socket.AF_UNIX) as half:
            half.connect(str(server.folder / "gwctl" / "test.sock"))
            half.sendall(b'{"jsonrpc": "2.0", "id": "x", ')
            done = server.gwctl("upgrade")
            half.sendall(b'"method": "status"}\n')
            assert b'"id":"x"' in half.recv(65536)
        assert done.returncode == 0, done
        assert "master  check ok (gwctl 9.9.9, Python" in done.stdout
        assert "1 worker kept)" in done.stdout
        assert "g1 -> g2  validate ok" in done.stdout
        assert f"upgraded from gwctl {__version__}" in done.stdout
        known = status_of(server)
        assert (known["version"], known["pid"], known["generation"]) == ("9.9.9", server.pid, 2)
        assert known["adopted_by"] == "upgrade"
        assert server.workers != worker


def test_signals_across_the_exec_are_honoured(gwctl_server):
    """HUP, TTIN and a death (CHLD) in steps of 1 ms while nobody listens; then TERM during another one."""
    errors = {"allow_errors": ["SIGKILL"], "allow_kill": True}
    lasts = {"settle_s": 3.0}  # nothing is adopted, and no worker gone, before all signals are sent
    with gwctl_server(BARE["sync"], processes=2, reload=lasts, **errors) as server:
        victim = server.workers[0]
        server.signal(signal.SIGUSR2)
        until(lambda: executes(server), "the exec")
        for number, pid in (
            (signal.SIGHUP, server.pid),
            (signal.SIGTTIN, server.pid),
            (signal.SIGKILL, victim),
        ):
            os.kill(pid, number)
            _pause(0.001)
        server.wait_for_log(r"web +2 -> 3 workers")
        server.wait_for_log(rf"pid {victim} died: signal 9")
        server.wait_for_log(r"adopted generation 2\b.*web 3/3 ready|adopted generation 3\b.*web 3/3 ready")
        server.wait_for_log(r"reload \(SIGHUP\)|reload \(upgrade\).*", count=2)
        until(lambda: status_of(server)["phase"] == "serving", "everything to be adopted")
        server.signal(signal.SIGUSR2)
        until(lambda: "checking the program" in server.log.rpartition("adopted")[2], "the second upgrade")
        until(lambda: executes(server), "the second exec")
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit() == 0


def _pause(seconds: float) -> None:
    """Let less time pass than anything can be awaited in: signals are to come one after the other."""
    until_at = time.perf_counter() + seconds
    while time.perf_counter() < until_at:
        pass


def test_a_program_that_cannot_be_checked_changes_nothing(gwctl_server, installed):
    errors = {"allow_errors": ["not upgraded"]}
    with gwctl_server(BARE["sync"], environ=installed.environ, reload=QUICK, **errors) as server:
        workers, open_before = server.workers, descriptors(server.pid)
        installed.edit(
            "gwctl/supervisor/listeners/listener_set.py", "class ListenerSet", "class Listener Set"
        )
        done = server.gwctl("upgrade")
        assert done.returncode == 1
        assert "with status 1: SyntaxError: " in done.stderr
        assert "click/core.py" not in done.stderr
        assert "The program that ran goes on, with all its workers" in done.stderr
        server.wait_for_log(
            r"error master +not upgraded: the check of the program on disk ended with status 1"
        )
        assert httpx.get(server.url).text == "hello"
        assert server.workers == workers
        # The command has ended; that its connection has, the master may still be about to hear.
        until(
            lambda: descriptors(server.pid).keys() == open_before.keys(), lambda: str(descriptors(server.pid))
        )
        installed.edit(
            "gwctl/supervisor/listeners/listener_set.py", "class Listener Set", "class ListenerSet"
        )
        assert server.gwctl("upgrade").returncode == 0, "mended, it works"


def test_a_program_whose_check_says_what_is_no_text_changes_nothing(gwctl_server, installed):
    said = "    sys.stdout.buffer.write(msgspec.json.encode(Verdict(this_program())))\n"
    nonsense = """    sys.stdout.buffer.write(b'{"upgrade_to": "\\xff"}')\n"""
    with gwctl_server(BARE["sync"], environ=installed.environ, allow_errors=["not upgraded"]) as server:
        installed.becomes("9.9.9")
        installed.edit("gwctl/supervisor/upgrade/restore.py", said, nonsense)
        refused = server.gwctl("upgrade")
        assert refused.returncode == 1
        assert "the check of the program on disk said nothing of an upgrade" in refused.stderr
        assert httpx.get(server.url).text == "hello"


def test_a_program_that_cannot_restore_gives_way_to_the_one_before(gwctl_server, installed):
    """Half way, with the first worker restored and the second not, which may cost no descriptor.

    The files of that one are gone by then: it is executed from the copy that it kept of itself.
    """
    fine = "            children.append(Child.from_snapshot(each, settings[each.settings], record))\n"
    bad = f"{fine}            if each.slot:\n                raise OSError(5, 'bad')\n"
    errors = {"allow_errors": ["not upgraded"], "processes": 2}
    bind = ["127.0.0.1:0", "127.0.0.2:0"]
    with gwctl_server(BARE["asgi"], bind=bind, environ=installed.environ, reload=QUICK, **errors) as server:
        workers, open_before = server.workers, len(descriptors(server.pid))
        installed.becomes("9.9.9")
        installed.edit("gwctl/supervisor/children/children_snapshot.py", fine, bad)
        with httpx.Client() as client:
            assert client.get(server.url).text == "hello"
            done = server.gwctl("upgrade")
            assert client.get(server.url).text == "hello", "on the same connection"
        assert done.returncode == 1, done
        assert "the one before it was executed again" in done.stderr
        assert "[Errno 5] bad" in done.stderr
        assert server.workers == workers
        until(lambda: len(descriptors(server.pid)) == open_before, lambda: str(descriptors(server.pid)))
        assert status_of(server)["version"] == __version__
        reloaded = server.gwctl("reload")
        assert reloaded.returncode == 0, "it is whole: it starts workers"
        installed.edit("gwctl/supervisor/children/children_snapshot.py", bad, fine)
        assert server.gwctl("upgrade").returncode == 0
        assert status_of(server)["version"] == "9.9.9"


def test_a_folder_whose_name_is_no_text_costs_the_upgrade_and_not_the_master(gwctl_server, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff"))
    folder.mkdir()
    with gwctl_server(BARE["sync"], cwd=folder, allow_errors=["not upgraded"]) as server:
        refused = server.gwctl("upgrade")
        assert refused.returncode == 1
        assert r"x\udcff' is not UTF-8: it cannot be handed over" in refused.stderr
        assert httpx.get(server.url).text == "hello"


def test_every_kind_of_listener_is_kept_and_certificates_are_read_again(gwctl_server, tmp_path):
    """A Unix socket's file stays ours; a key that cannot be read fails the check, or, too late for it, is told."""
    files = Files(tmp_path, "shop.example", "127.0.0.1")
    path = tmp_path / "web.sock"
    tls = {"certificate": str(files.certificate), "key": str(files.key)}
    bind = [f"unix:{path}", "tls:127.0.0.1:0", "127.0.0.2:0"]
    errors = {"allow_errors": ["not upgraded"]}
    with gwctl_server("who:asgi", worker="asgi", bind=bind, tls=tls, reload=QUICK, **errors) as server:
        inode = path.stat().st_ino
        assert server.gwctl("upgrade").returncode == 0
        context = client_context()
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://shop.example/").status_code == 200
        assert httpx.get(server.url, verify=context).json()["scheme"] == "https"
        assert path.stat().st_ino == inode
        files.key.rename(tmp_path / "elsewhere")
        refused = server.gwctl("upgrade")
        assert refused.returncode == 1
        assert "pool.web.tls" in refused.stderr
        assert httpx.get(server.url, verify=context).status_code == 200
        (tmp_path / "elsewhere").rename(files.key)
    assert not path.exists(), "removed at the end, as its inode is ours"


def test_a_master_without_its_certificate_starts_no_worker_and_says_why(gwctl_server, tmp_path, installed):
    """It was readable in the check, and is not when the new program takes over."""
    files = Files(tmp_path, "shop.example", "127.0.0.1")
    tls = {"certificate": str(files.certificate), "key": str(files.key)}
    errors = {"allow_errors": ["."], "allow_kill": True, "environ": installed.environ}
    with gwctl_server(
        "who:asgi", bind="tls:127.0.0.1:0", tls=tls, processes=2, reload=QUICK, **errors
    ) as server:
        hide = f"os.rename({str(files.key)!r}, {str(files.key) + '.gone'!r})"
        installed.edit(
            "gwctl/supervisor/upgrade/restore.py",
            "    stdio.hold_open()\n",
            f"    {hide}\n    stdio.hold_open()\n",
        )
        assert server.gwctl("upgrade").returncode == 1, "the reload cannot read it either"
        victim, survivor = server.workers
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(
            "could not be started: its certificate could not be read when this program took over"
        )
        assert server.workers == [survivor]
        assert httpx.get(server.url, verify=client_context()).status_code == 200
        Path(f"{files.key}.gone").rename(files.key)
        installed.edit("gwctl/supervisor/upgrade/restore.py", f"    {hide}\n", "")
        assert server.gwctl("reload").returncode == 0
