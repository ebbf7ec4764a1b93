"""The application's own prometheus_client metrics at the admin listener: exact, whatever happens to workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.load.runner import Load
from tests.process.test_admin import Admin, lives
from tests.process.test_privileges import NOBODY
from tests.support.processes import title
from tests.support.server import APPS
from tests.support.users import interpreter_for_others, readable_by_others
from tests.support.wait import until

APP = "counting:application"
ROUNDS = int(os.environ.get("APPLICATION_METRICS_ROUNDS", "1"))
"""Each with five recycles, a reload and the death of a worker; 20 are what is promised."""
KILLS_MAX = 6
"""More in so short a time, and the master waits before it replaces a worker."""


class Counting(Admin):
    """The admin listener of a server whose pool counts."""

    @property
    def folder(self) -> Path:
        (found,) = self.server.folder.glob("gwctl/test.metrics-*")
        return found

    @property
    def folders(self) -> int:
        """Of workers."""
        return sum(1 for each in (self.folder / "web").iterdir() if each.is_dir())

    def hit(self, times: int = 1) -> int:
        for _ in range(times):
            assert httpx.get(self.server.url, timeout=30).status_code == 200
        return times

    def hits(self) -> float:
        return sum(self.samples("app_hits_total", pool="web", path="/"))

    @property
    def serving(self) -> set[int]:
        """Pids of workers, without templates."""
        return {pid for pid in self.workers if "worker" in title(pid)}

    def recycle(self) -> None:
        before = self.serving
        assert self.post("/api/recycle", pool="web").status_code == 200
        until(lambda: not before & self.serving, "other workers")


@pytest.fixture
def counting(gwctl_server, tmp_path: Path):
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("0123456789abcdef0123456789abcdef")

    @contextmanager
    def start(worker: str = "sync", **settings: Any) -> Iterator[Counting]:
        admin = {"bind": "127.0.0.1:0", "token_file": str(token)} | settings.pop("admin", {})
        more = {"application_metrics": True, "reload": {"settle_s": 0.0}} | settings
        with gwctl_server(APP, worker=worker, admin=admin, **more) as server:
            yield Counting(server)

    return start


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_one_scrape_for_all_workers(counting, worker: str) -> None:
    with counting(worker, processes=2) as admin:
        admin.hit(20)
        assert admin.hits() == 20
        assert admin.sample("app_seconds_count", pool="web") == 20
        assert admin.sample("app_seconds_bucket", le="+Inf") == 20
        assert admin.sample("app_imports_total") == 2
        assert admin.sample("app_alive") <= 2
        assert admin.samples("gwctl_application_metrics_left_out") == []
        openmetrics = admin.get("/metrics", accept="application/openmetrics-text").text
        assert 'app_hits_total{path="/",pool="web"} 20.0' in openmetrics
        assert openmetrics.endswith("# EOF\n")


@pytest.mark.timeout(120 + 60 * ROUNDS)
@pytest.mark.parametrize("preload", [False, True])
def test_exact_over_recycles_reloads_and_kills(counting, preload: bool) -> None:
    """Without kills each answer is counted once; a kill may leave those counted that nobody got an answer to."""
    generation = 1
    with counting(processes=2, preload=preload, allow_kill=True) as admin:
        admin.server.allow_errors.append("died")
        with Load(admin.server.url, connections=4) as load:
            for _ in range(ROUNDS):
                for _ in range(5):
                    admin.recycle()
                    assert load.failed == 0
                generation += 1
                assert admin.post("/api/reload").status_code == 200
                load.wait_for_requests(20)
        answered = load.result.requests
        assert load.result.failures == {}
        assert admin.hits() == answered
        with Load(admin.server.url, connections=4) as load:
            for round_ in range(min(ROUNDS, KILLS_MAX)):
                load.wait_for_requests(20)
                until(lambda: len(admin.serving) == 2, "two workers")
                os.kill(min(admin.serving), signal.SIGKILL)
                admin.server.wait_for_log("died", count=round_ + 1)
                assert admin.hits() >= answered
        more, failed = load.result.requests, sum(load.result.failures.values())
        assert answered + more - failed <= admin.hits() <= answered + more
        until(lambda: admin.hits() and admin.folders <= 2 + preload, "the folders of the dead to go")
        expected = generation if preload else None
        assert expected is None or admin.sample("app_imports_total") == expected


def test_the_admin_process_may_be_killed_at_any_time(counting) -> None:
    with counting(processes=2, allow_kill=True) as admin:
        admin.server.allow_errors.append("died")
        total = 0
        for _ in range(2):
            total += admin.hit(10)
            admin.recycle()
            pid = admin.pid
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: not lives(pid), "it to end")
            admin.until_pid_is_not(pid)
            admin.until_ok("/livez")
            assert admin.hits() == total


def test_an_upgrade_goes_on_counting(counting) -> None:
    with counting(processes=2) as admin:
        total, pid = admin.hit(10), admin.pid
        assert admin.hits() == total
        folder = admin.folder
        admin.server.signal(signal.SIGUSR2)
        admin.server.wait_for_log("adopted generation 2")
        admin.until_pid_is_not(pid)
        total += admin.hit(10)
        assert admin.hits() == total
        assert admin.folder == folder
        until(lambda: admin.hits() == total and admin.folders == 2, "the folders of the dead to go")


def test_the_folder_goes_with_the_master(counting) -> None:
    with counting() as admin:
        folder = admin.folder
        assert folder.exists()
    assert not folder.exists()


def test_what_a_killed_master_left_is_removed_by_the_next(counting, gwctl_server) -> None:
    with counting(allow_kill=True) as admin:
        server, folder = admin.server, admin.folder
        server.signal(signal.SIGKILL)
        server.expected_status = -signal.SIGKILL
        server.wait_for_exit()
        assert folder.exists()
        with gwctl_server(
            APP,
            admin={"bind": "127.0.0.1:0"},
            application_metrics=True,
            environ={"RUNTIME_DIRECTORY": str(server.folder)},
        ) as other:
            other.wait_for_log("admin: http")
            assert [*server.folder.glob("gwctl/test.metrics-*")] == [
                server.folder / "gwctl" / f"test.metrics-{other.pid}"
            ]


def test_a_hostile_folder_stops_nobody(counting) -> None:
    """Probes are answered, other figures told, the lie is not; and why something is missing can be seen."""
    with counting() as admin:
        assert httpx.get(f"{admin.server.url}/spoil", timeout=60).status_code == 200
        admin.hit(3)
        assert admin.hits() == 3
        assert all(value < 1e9 for value in admin.samples("gwctl_requests_total"))
        for reason in ("file", "too_large", "too_many", "reserved"):
            assert admin.sample("gwctl_application_metrics_left_out", reason=reason) >= 1, reason
        admin.server.wait_for_log("application metrics of web: .* left out: gwctl_ is for gwctl's own")
        admin.recycle()
        until(lambda: admin.folders == 1, "the folder to go")
        assert admin.hits() == 3
        admin.until_ok("/livez")


def test_an_application_with_a_folder_of_its_own_is_left_alone(counting, tmp_path: Path) -> None:
    with counting(env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}) as admin:
        assert httpx.get(admin.server.url).text == str(tmp_path)
        assert admin.samples("app_hits_total") == []
        assert (
            f"application_metrics has no effect: PROMETHEUS_MULTIPROC_DIR is set ({tmp_path})"
            in admin.server.log
        )


def test_without_the_setting_there_is_nothing(counting) -> None:
    with counting(application_metrics=False) as admin:
        assert httpx.get(admin.server.url).text == ""
        assert admin.samples("app_hits_total") == []
        assert [*admin.server.folder.glob("gwctl/test.metrics-*")] == []


def test_it_comes_with_a_reload(counting) -> None:
    """With the admin listener there already: the admin process is another one, too."""
    with counting(application_metrics=False) as admin:
        admin.server.tables["pool"]["web"]["application_metrics"] = True
        admin.server.write_config()
        pid = admin.pid
        assert admin.post("/api/reload").status_code == 200
        admin.until_pid_is_not(pid)
        admin.hit(3)
        assert admin.hits() == 3


def test_it_needs_the_admin_listener(gwctl_server) -> None:
    server = gwctl_server(APP, application_metrics=True)
    result = server.gwctl("check", "-c", str(server.config))
    assert result.returncode == 2
    assert "needs the admin listener" in result.stderr, result.stderr


@pytest.mark.skipif(
    os.geteuid() != 0 or NOBODY is None, reason="changing users needs root and a user called nobody"
)
@pytest.mark.parametrize(("pool_user", "admin_user"), [("nobody", ""), ("nobody", "daemon"), ("", "nobody")])
def test_other_users(counting, public_folder: Path, pool_user: str, admin_user: str) -> None:
    """Workers and admin process each as whom they are told; the dead are removed all the same."""
    if not readable_by_others(APPS / "counting.py"):
        pytest.skip(f"another user may not read {APPS}")
    python, environ = interpreter_for_others()
    others = {"command": (python, "-m", "gwctl"), "environ": environ, "user": pool_user, "group": ""}
    with counting(processes=2, admin={"user": admin_user}, **others) as admin:
        admin.server.folder.chmod(0o711)
        admin.recycle()  # with folders that can be reached now
        total = admin.hit(10)
        assert admin.hits() == total
        admin.recycle()
        until(lambda: admin.hits() == total and admin.folders == 2, "the folders of the dead to go")
        assert admin.samples("gwctl_application_metrics_left_out") == []
        assert (admin.folder / "web").stat().st_mode & 0o007 in (0, 1)
