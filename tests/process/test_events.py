"""``gwctl events`` of a real master: what was, what comes, over reloads and upgrades, and how it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.apps import BARE
from tests.support.processes import descriptors, look
from tests.support.server import GwctlServer
from tests.support.wait import DEADLINE_S, until

QUICK = {"settle_s": 0.05}


class Following:
    """A ``gwctl events --follow`` of ``server``, as it writes."""

    def __init__(self, server: GwctlServer, path: Path, *options: str) -> None:
        self._path = path
        self._out = path.open("wb")
        self.process = server.begin_gwctl(
            "events", "--follow", "--json", "-c", str(server.config), *options, stdout=self._out
        )

    def kinds(self) -> list[str]:
        whole = self._path.read_text("utf-8").rpartition("\n")[0]
        return [json.loads(line).get("kind", "lost") for line in whole.splitlines()]

    def last(self) -> dict:
        return json.loads(self._path.read_text("utf-8").splitlines()[-1])

    def wait_for(self, kind: str, count: int = 1) -> None:
        until(lambda: self.kinds().count(kind) >= count, f"{count} {kind} to be seen")

    def wait_until_it_follows(self) -> None:
        """Where it may write nothing: until it has asked, and sleeps until something comes."""

        def follows() -> bool:
            if not any(target.startswith("socket:") for target in descriptors(self.process.pid).values()):
                return False
            process = look(self.process.pid)
            return process is not None and process.state == "S"

        until(follows, "it to follow")

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, errors.decode()


@pytest.fixture
def following(tmp_path):
    """Follow a server's events; whoever still does at the end of the test is ended."""
    started: list[Following] = []

    @contextmanager
    def start(server: GwctlServer, *options: str) -> Iterator[Following]:
        one = Following(server, tmp_path / f"seen-{len(started)}", *options)
        started.append(one)
        try:
            yield one
        finally:
            if one.process.poll() is None:
                one.process.kill()
                one.process.communicate()
            one._out.close()

    return start


def listed(server: GwctlServer, *options: str) -> list[dict]:
    result = server.gwctl("events", "--json", *options, "-c", str(server.config))
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_happened_is_what_the_log_says(gwctl_server):
    with gwctl_server(BARE["sync"], worker="sync", reload=QUICK) as server:
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"adopted generation 2\b")
        events = listed(server)
        (text,) = [server.gwctl("events", "-c", str(server.config)).stdout]
        assert text == "".join(line + "\n" for line in server.log.splitlines()), (
            "line by line, to the millisecond"
        )
        (ready,) = [each for each in events if each["kind"] == "worker_ready" and each["generation"] == 2]
        assert ready["pid"] in server.workers
        assert (ready["pool"], ready["slot"], ready["instance"]) == ("web", 0, "test")
        assert ready["figures"]["worker_class"] == "sync"
        numbers = [each["number"] for each in listed(server, "--level", "debug")]
        assert numbers == [*range(1, len(numbers) + 1)], "none is missing"


def test_what_is_asked_for(gwctl_server):
    with gwctl_server(BARE["sync"], worker="sync", allow_errors=["died"], allow_kill=True) as server:
        (victim,) = server.workers
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(r"web\.0 g1 +pid \d+ ready in", count=2)
        (died,) = listed(server, "--kind", "worker_died")
        assert (died["pid"], died["figures"]["death"]["status"]) == (victim, -signal.SIGKILL)
        assert died in listed(server, "--level", "error", "--since", "10m")
        assert {each["kind"] for each in listed(server, "--kind", "worker_d*", "--kind", "worker_ready")} == {
            "worker_died",
            "worker_ready",
        }
        assert [each["kind"] for each in listed(server, "--last", "1", "--kind", "worker_*")] == [
            "worker_ready"
        ]
        assert listed(server, "--since", "0s") == []
        wrong = server.gwctl("events", "--kind", "worker_dead", "-c", str(server.config))
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert wrong.stderr.startswith("there is no event of the kind 'worker_dead': did you mean ")


def test_who_follows_sees_reloads_upgrades_and_the_end(gwctl_server, following):
    with gwctl_server(BARE["sync"], worker="sync", reload=QUICK) as server:
        with following(server) as seen:
            seen.wait_for("pools_serve")
            server.signal(signal.SIGHUP)
            seen.wait_for("reload_adopted")
            server.signal(signal.SIGUSR2)
            seen.wait_for("reload_adopted", count=2)
            server.stop()
            assert seen.end() == (0, "")
        kinds = seen.kinds()
        assert kinds[0] == "master_started"
        assert kinds.count("master_upgraded") == 1
        assert kinds[-1] == "master_stopped"
        assert "lost" not in kinds


def test_a_master_that_ends_without_a_word(gwctl_server, following):
    with gwctl_server(BARE["sync"], worker="sync") as server, following(server) as seen:
        seen.wait_for("pools_serve")
        server.kill_master()
        assert seen.end() == (1, "")
        assert seen.last() == {"ok": False, "text": "the master went away before it answered"}


def test_ctrl_c_ends_it_without_a_word(gwctl_server, following):
    with gwctl_server(BARE["sync"], worker="sync") as server, following(server) as seen:
        seen.wait_for("pools_serve")
        seen.process.send_signal(signal.SIGINT)
        assert seen.end() == (130, "")


def test_who_does_not_read_holds_nobody(gwctl_server, following):
    with gwctl_server(BARE["sync"], worker="sync") as server, following(server, "--level", "debug") as seen:
        seen.wait_for("pools_serve")
        seen.process.send_signal(signal.SIGSTOP)
        for size in (2, 1):
            result = server.gwctl("scale", "web", str(size), "-c", str(server.config))
            assert result.returncode == 0, result.stderr
        server.wait_for_log(r"info  web        2 -> 1 worker")
        assert "pool_scaled" not in seen.kinds()
        seen.process.send_signal(signal.SIGCONT)
        seen.wait_for("pool_scaled", count=2)


@pytest.mark.parametrize("options", [["--level", "error"], ["--kind", "reload_*"]], ids=" ".join)
def test_a_filter_that_leaves_out_the_end_does_not_make_it_a_failure(gwctl_server, following, options):
    with gwctl_server(BARE["sync"], worker="sync", reload=QUICK) as server:
        with following(server, *options) as seen, following(server) as all_of_it:
            all_of_it.wait_for("pools_serve")
            seen.wait_until_it_follows()
            server.signal(signal.SIGHUP)
            all_of_it.wait_for("reload_adopted")
            server.stop()
            assert seen.end() == (0, "")
            assert all_of_it.end() == (0, "")
        assert set(seen.kinds()) <= {"reload_begun", "reload_adopted"}


def test_it_ends_when_nobody_reads_any_more(gwctl_server):
    """Also if nothing more happens."""
    with gwctl_server(BARE["sync"], worker="sync") as server:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as out:
            process = server.begin_gwctl("events", "--follow", "-c", str(server.config), stdout=out)
        with os.fdopen(reading, "rb") as lines:
            assert b"gwctl" in lines.readline()
        assert process.communicate(timeout=DEADLINE_S) == (None, b"")
        assert process.returncode == 0


def test_a_full_disk_ends_it_and_is_told(gwctl_server):
    with gwctl_server(BARE["sync"], worker="sync") as server, Path("/dev/full").open("wb") as full:
        process = server.begin_gwctl("events", "--follow", "-c", str(server.config), stdout=full)
        _, errors = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, errors) == (
            1,
            b"gwctl: cannot write to stdout: No space left on device\n",
        )
