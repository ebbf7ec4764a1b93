"""``preload = true``: one import for each generation, workers forked from it, and what becomes of them all."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import (
    descriptors,
    listening_sockets,
    look,
    pidfd_target,
    session_of,
    signals,
    title,
)
from tests.support.raw import urls
from tests.support.server import APPS, GwctlServer
from tests.support.status import status_of
from tests.support.wait import until

NO_SETTLING = {"settle_s": 0.0}


class Preloaded:
    """A server of `preloaded`, with its working directory and its log."""

    def __init__(self, make: Callable[..., GwctlServer], folder: Path, **more: Any) -> None:
        self.folder = folder
        self.seen = folder / "seen"
        environ = {"PRELOADED_LOG": str(self.seen), **more.pop("environ", {})}
        settings = {"worker": "sync", "processes": 2, "preload": True, "reload": NO_SETTLING, **more}
        self.server = make(
            "preloaded:application", chdir=folder, pythonpath=[str(APPS)], environ=environ, **settings
        )

    def code(self, text: str) -> None:
        (self.folder / "code").write_text(text, "utf-8")

    def noted(self, what: str) -> list[int]:
        """Pids of those who noted that."""
        lines = self.seen.read_text("utf-8").splitlines() if self.seen.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(what)]

    def answers(self) -> tuple[str, int, int, int, str]:
        """Code, who imported it, who serves, its parent, a random number."""
        code, imported_by, pid, parent, number = httpx.get(self.server.url).text.split(" ")
        return code, int(imported_by), int(pid), int(parent), number

    @property
    def pool(self) -> dict[str, Any]:
        return status_of(self.server)["pools"][0]

    @property
    def workers(self) -> list[int]:
        return [pid for pid in self.server.workers if "worker" in title(pid)]

    @property
    def template(self) -> int:
        found = [pid for pid in self.server.workers if "template" in title(pid)]
        return found[0] if len(found) == 1 else 0


@pytest.fixture
def preloaded(gwctl_server: Callable[..., GwctlServer], tmp_path: Path) -> Callable[..., Preloaded]:
    return lambda **more: Preloaded(gwctl_server, tmp_path, **more)


def test_the_application_is_imported_once_and_its_workers_are_children_of_the_master(preloaded):
    """Fork hooks run once in each worker; each has its own random numbers; status shows the template."""
    one = preloaded(processes=3)
    with one.server as server:
        assert one.noted("import") == [one.template]
        assert sorted(one.noted("forked")) == one.workers
        seen = {pid: (imported_by, parent, number) for _, imported_by, pid, parent, number in poll_all(one)}
        assert set(seen) == set(one.workers)
        assert {each[:2] for each in seen.values()} == {(one.template, server.pid)}
        assert len({each[2] for each in seen.values()}) == 3
        assert title(one.template) == "gwctl: template web g1 [test]"
        assert title(one.workers[0]) == "gwctl: worker web.0 g1 [test]"
        (shown,) = one.pool["templates"]
        assert (shown["pid"], shown["state"], shown["generation"]) == (one.template, "ready", 1)
        assert shown["memory_bytes"] > 1 << 20


def poll_all(one: Preloaded) -> list[tuple[str, int, int, int, str]]:
    """An answer of each worker: one after the other has its turn, as the others are stopped."""
    found = []
    for pid in one.workers:
        others = [other for other in one.workers if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            found.append(one.answers())
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)
    return found


def test_a_worker_of_a_template_holds_what_one_of_the_master_holds(preloaded):
    """Its listener, its channel, the connection queue, its stacks; nothing of the template's or of its siblings'."""
    one = preloaded(processes=3)
    with one.server as server:
        listeners = listening_sockets(server.pid)
        masters = set(descriptors(server.pid).values())

        def own_sockets() -> set[str]:
            return {t for t in descriptors(one.template).values() if t.startswith("socket:")} - masters

        # The worker may serve before its template has closed what it passed on to it.
        until(lambda: len(own_sockets()) == 1, lambda: f"its end of its channel to be all: {own_sockets()}")
        own, templates = own_sockets(), descriptors(one.template)
        dumps = []
        for pid in one.workers:
            theirs = descriptors(pid)
            sockets = {what for fd, what in theirs.items() if fd > 2 and what.startswith("socket:")}
            assert len(sockets & listeners) == 1
            assert len((sockets & masters) - listeners) == 2, "the connection queue"
            assert not sockets & own
            assert [pidfd_target(pid, fd) for fd, what in theirs.items() if "pidfd" in what] == [server.pid]
            dumps += [inode(pid, fd) for fd, what in theirs.items() if "gwctl-dump" in what]
            assert os.getpgid(pid) == pid
        dumps += [inode(one.template, fd) for fd, what in templates.items() if "gwctl-dump" in what]
        assert len(dumps) == len(set(dumps)) == 4


def inode(pid: int, fd: int) -> int:
    return Path(f"/proc/{pid}/fd/{fd}").stat().st_ino


def test_a_reload_takes_new_code_and_a_refused_one_leaves_a_template_that_has_the_previous(preloaded):
    """A worker that dies after the refusal is replaced by one of the same code; status tells of the refusal."""
    one = preloaded(processes=1, allow_errors=["was not adopted", "died: signal 9"], allow_kill=True)
    one.code("first")
    with one.server as server:
        first = one.template
        one.code("second")
        assert server.gwctl("reload").returncode == 0
        until(lambda: len(server.workers) == 2, "the previous template and worker to end")
        second = one.template
        assert second != first
        assert one.answers()[:2] == ("second", second)

        one.code("broken")
        refused = server.gwctl("reload")
        assert refused.returncode == 1
        assert "RuntimeError: this code is broken" in refused.stdout + refused.stderr
        until(lambda: len(server.workers) == 2, "the refused template to end")
        assert one.template == second
        (worker,) = one.workers
        os.kill(worker, signal.SIGKILL)
        until(lambda: one.workers not in ([], [worker]), "the replacement")
        assert one.answers()[:2] == ("second", second)
        status = status_of(server)
        assert (status["degraded"], status["health"]) == ("", "degraded")
        assert status["health_reason"] == "a reload was refused: what runs is not what is on disk"
        assert one.noted("import").count(second) == 1


def test_a_template_that_is_killed_takes_nobody_along_and_the_next_spawn_makes_another(preloaded):
    one = preloaded(processes=2, allow_errors=["died: signal 9"], allow_kill=True)
    one.code("first")
    with one.server as server:
        before, template = one.workers, one.template
        os.kill(template, signal.SIGKILL)
        server.wait_for_log(rf"warn +web g1 +template pid {template} died: signal 9 .* Its workers go on")
        assert one.workers == before
        assert one.noted("import") == [template]
        os.kill(before[0], signal.SIGKILL)
        server.wait_for_log(r"ready in .* preloaded", count=3)
        assert len(one.noted("import")) == 2
        assert one.answers()[0] == "first"


def test_kill_9_of_the_master_leaves_nobody(preloaded):
    one = preloaded(processes=2)
    try:
        one.server.start()
        one.server.wait_until_serving()
        os.kill(one.server.pid, signal.SIGKILL)
        until(lambda: not [p for p in session_of(one.server.pid) if not p.is_zombie], "all to go")
    finally:
        one.server.destroy()


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_9_in_the_middle_of_a_fork_costs_one_try(preloaded, when):
    """Of the process between template and worker: before the worker exists, and when nobody knows of it yet."""
    one = preloaded(
        processes=1,
        environ={"PRELOADED_DIES": when},
        crash={"backoff_min_s": 0.1},
        allow_errors=["could not be started: the process in between ended with status -9"],
    )
    with one.server as server:
        assert "could not be started: the process in between ended with status -9" in server.log
        assert one.answers()[2] in one.workers
        until(lambda: len(server.workers) == 2, "a worker that nobody knows of to end")
        for pid in one.noted("forked"):
            assert pid in one.workers or look(pid) is None


def test_kill_9_of_a_newborn_worker_does_not_take_its_template_along(preloaded):
    one = preloaded(
        processes=1, environ={"PRELOADED_DIES": "worker"}, allow_errors=["died: signal 9"], allow_kill=True
    )
    (one.folder / "worker").touch()
    with one.server as server:
        template, (worker,) = one.template, one.workers
        (one.folder / "worker").unlink()
        os.kill(worker, signal.SIGKILL)
        server.wait_for_log(r"web\.0 g1 +pid \d+ died: signal 9", count=2)
        server.wait_for_log(r"ready in .* preloaded", count=2)
        assert one.noted("import") == [template]
        assert one.answers()[1] == template


def test_what_an_application_decides_about_children_and_signals_does_not_stop_its_template(preloaded):
    """SIGCHLD ignored (then no child can be waited for), all signals blocked, a subreaper: each as in its worker."""
    one = preloaded(processes=1, environ={"PRELOADED_RULES": "1"})
    with one.server as server:
        first = one.template
        (worker,) = one.workers
        assert signal.SIGCHLD in signals(worker, "SigIgn"), "the worker has what the application set"
        assert server.gwctl("reload").returncode == 0
        until(lambda: len(server.workers) == 2, "the previous generation to end")
        assert one.template != first


@pytest.mark.parametrize("code", ["broken", "hangs"])
def test_an_import_that_fails_ends_the_start_and_one_that_hangs_is_explained(preloaded, code):
    boot_timeout_s = 4 if code == "hangs" else 60  # long enough to come to the line that hangs
    one = preloaded(allow_errors=["."], timeouts={"boot_timeout_s": boot_timeout_s}, allow_kill=True)
    try:
        one.code(code)
        one.server.start()
        if code == "broken":
            assert one.server.wait_for_exit() == 4
            assert "RuntimeError: this code is broken" in one.server.log
            return
        assert one.server.wait_for_exit() == 3
        assert re.search(r"web g1 +pid \d+ killed: was not ready within 4 s", one.server.log)
        assert re.search(r"preloaded.py.*, line \d+ in <module>", one.server.log)
    finally:
        one.server.destroy()


def test_threads_and_connections_made_at_import_are_named(preloaded):
    one = preloaded(processes=1, environ={"PRELOADED_LEFTOVERS": "1"})
    with one.server as server:
        assert "preload: the application started 1 thread (poller) at import" in server.log
        assert re.search(r"opened 2 sockets \(descriptor \d+ to 127\.0\.0\.1:\d+, .*\) at import", server.log)


def test_ctrl_c_and_hup_reach_the_template_too_and_mean_nothing_to_it(preloaded):
    one = preloaded(processes=1)
    with one.server as server:
        template = one.template
        os.kill(template, signal.SIGINT)
        os.kill(template, signal.SIGHUP)
        assert server.gwctl("scale", "web", "2").returncode == 0
        until(lambda: len(one.workers) == 2, "a second worker")
        assert one.template == template
        for pid in [*one.workers, template]:  # a TERM to the whole group, as systemd sends it
            os.kill(pid, signal.SIGTERM)
        server.signal(signal.SIGTERM)


def test_an_upgrade_keeps_the_template_until_the_reload_that_follows(preloaded):
    """And the new program goes on asking it: what it answers for is a child like the others."""
    one = preloaded(processes=1)
    with one.server as server:
        first = one.template
        assert server.gwctl("upgrade").returncode == 0
        until(lambda: len(server.workers) == 2, "the previous generation to end")
        assert one.template != first
        assert server.gwctl("scale", "web", "2").returncode == 0
        until(lambda: len(one.workers) == 2, "a worker of the new template")
        assert one.pool["templates"][0]["pid"] == one.template


@pytest.mark.parametrize("preload", [False, True])
def test_a_listener_that_a_reload_removes_is_closed_in_the_new_processes_too(preloaded, preload):
    """They were forked while it was open: a copy that is left would take connections and never answer."""
    bind = ["127.0.0.1:0", "127.0.0.2:0"]
    server = preloaded(processes=1, preload=preload, bind=bind).server
    with server:
        stays, goes = urls(server)
        assert httpx.get(goes).status_code == 200
        server.tables["pool"]["web"]["bind"] = bind[:1]
        server.write_config()
        assert server.gwctl("reload").returncode == 0
        until(lambda: len(server.workers) == 1 + preload, "the previous generation to end")
        assert httpx.get(stays).status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(goes, timeout=5)


def test_a_worker_forked_after_a_log_rotation_writes_to_the_new_file(preloaded, tmp_path):
    """The template has no access log of its own: each worker gets the one that is open then."""
    log, rotated = tmp_path / "access", tmp_path / "rotated"
    one = preloaded(processes=1, access_log=str(log))
    with one.server as server:
        assert str(log) not in descriptors(one.template).values()
        one.answers()
        log.rename(rotated)
        server.signal(signal.SIGUSR1)
        server.wait_for_log("reopened the logs")
        before = one.workers
        os.kill(before[0], signal.SIGTERM)
        until(lambda: one.workers not in ([], before) and len(one.workers) == 1, "the replacement")
        one.answers()
        until(lambda: log.read_text().count(" 200 ") == 1, "the line in the new file")
        assert rotated.read_text().count(" 200 ") == 1


def test_a_rollback_finds_the_template_of_the_generation_that_was_kept(preloaded):
    """So gaps in it are filled with its own code, which is on no disk any more."""
    one = preloaded(
        processes=1,
        master={"keep_s": 60},
        allow_errors=["died: signal 9"],
        allow_kill=True,
    )
    one.code("first")
    with one.server as server:
        first = one.template
        one.code("second")
        assert server.gwctl("reload").returncode == 0
        assert one.answers()[0] == "second"
        assert server.gwctl("rollback").returncode == 0
        before = one.answers()
        assert before[:2] == ("first", first)
        os.kill(before[2], signal.SIGKILL)
        until(lambda: answers_of_another(one, before[2]), "the replacement")
        assert one.answers()[:2] == ("first", first)


def answers_of_another(one: Preloaded, pid: int) -> bool:
    try:
        return one.answers()[2] != pid
    except httpx.HTTPError:
        return False
