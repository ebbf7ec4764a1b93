"""The examples for supervisors that are not systemd: one service takes the place of another, and nobody notices."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.test_behind_proxies import fronts_in, replaced, running
from tests.load.runner import Load
from tests.support.debian import need
from tests.support.server import ROOT
from tests.support.wait import until

PARTNERS = ROOT / "build/partners/bin"
WAIT_S = 90

pytestmark = [
    pytest.mark.skipif("TEST_PARTNERS" not in os.environ, reason="make test-partners has it: a minute"),
    pytest.mark.timeout(400),
]


class Site:
    """The example in a folder of its own, on an address of this process alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.example = folder / "supervisors"
        self.host = fronts_in(folder).host
        for name in ("supervisors", "wsgi"):
            shutil.copytree(ROOT / "examples" / name, folder / name)
        self.change(self.example / "gw.toml", {"127.0.0.1": self.host, "/run/shop": f"{folder}/shop"})
        self.environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    @property
    def url(self) -> str:
        return f"http://{self.host}:8000/"

    @property
    def pid(self) -> str:
        """Of the master that has the place."""
        return (self.folder / "shop.pid").read_text("utf-8").strip()

    def change(self, path: Path, what: dict[str, str]) -> None:
        path.write_text(replaced(path.read_text("utf-8"), what), "utf-8")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=2 * WAIT_S, check=False
        )

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", self.environ["PATH"])
            with running(list(command), self.folder):
                yield

    @contextlib.contextmanager
    def broken(self) -> Iterator[None]:
        """An application that cannot be imported, for who starts now."""
        app = self.folder / "wsgi/app.py"
        text = app.read_text("utf-8")
        app.write_text('raise RuntimeError("not today")\n', "utf-8")
        yield
        app.write_text(text, "utf-8")


@pytest.mark.skipif(not (PARTNERS / "supervisord").exists(), reason="supervisord cannot be installed")
def test_supervisord(tmp_path: Path) -> None:
    site = Site(tmp_path)
    conf = site.example / "supervisord.conf"
    site.change(conf, {"/run/": f"{tmp_path}/", "/var/log/": f"{tmp_path}/", "/srv/shop": str(site.example)})

    def control(*words: str) -> str:
        return site.run(str(PARTNERS / "supervisorctl"), "-c", str(conf), *words).stdout

    with site.running(str(PARTNERS / "supervisord"), "--nodaemon", "-c", str(conf)):
        until((tmp_path / "supervisor.sock").exists, "supervisord to listen")
        assert "started" in control("start", "shop:shop-0")
        until(lambda: answers(site.url), "the first to serve")
        with Load(site.url, connections=8, think_s=0.02) as load:
            for new, old in (("shop:shop-1", "shop:shop-0"), ("shop:shop-0", "shop:shop-1")):
                assert "started" in control("start", new)
                until(lambda: "EXITED" in control("status", old), lambda: control("status"), WAIT_S)  # noqa: B023
                assert site.pid == control("pid", new).strip()
                load.wait_for_requests(50)
            with site.broken():
                control("start", "shop:shop-1")
                until(lambda: ended(control("status", "shop:shop-1")), lambda: control("status"), WAIT_S)
            assert site.pid == control("pid", "shop:shop-0").strip()
            load.wait_for_requests(50)
        assert load.result.failures == {}, load.result
        assert "stopped" in control("stop", "shop:shop-0")


def test_runit(tmp_path: Path) -> None:
    runsvdir, sv = need("runsvdir", "runit"), need("sv", "runit")
    site = Site(tmp_path)
    services = tmp_path / "services"
    site.environ["SVDIR"] = str(services)
    site.change(site.example / "runit/run", {"/srv/shop": str(site.example)})
    site.change(site.example / "runit/check", {"/run/shop": f"{tmp_path}/shop"})
    for name in ("shop-a", "shop-b"):
        (services / name).mkdir(parents=True)
        (services / name / "down").touch()
        for script in ("run", "check"):
            shutil.copy(site.example / "runit" / script, services / name)

    def replace(old: str, new: str) -> subprocess.CompletedProcess[str]:
        return site.run(str(site.example / "runit/replace"), old, new)

    def pid(name: str) -> str:
        return (services / name / "supervise/pid").read_text("utf-8").strip()

    with site.running(runsvdir, str(services)):
        until((services / "shop-b/supervise/ok").exists, "runsv")
        until((services / "shop-a/supervise/ok").exists, "runsv")
        try:
            assert site.run(sv, "-w", str(WAIT_S), "start", "shop-a").returncode == 0
            with Load(site.url, connections=8, think_s=0.02) as load:
                for old, new in (("shop-a", "shop-b"), ("shop-b", "shop-a")):
                    assert replace(old, new).returncode == 0
                    until(lambda: not pid(old), "the one before to end", WAIT_S)  # noqa: B023
                    assert site.pid == pid(new)
                    load.wait_for_requests(50)
                site.change(site.example / "runit/replace", {"-w 120": "-w 5"})
                with site.broken():
                    assert replace("shop-a", "shop-b").returncode == 1
                assert site.pid == pid("shop-a")
                load.wait_for_requests(50)
            assert load.result.failures == {}, load.result
        finally:
            site.run(
                sv, "-w", str(WAIT_S), "force-shutdown", str(services / "shop-a"), str(services / "shop-b")
            )


def ended(status: str) -> bool:
    """For good: at once, or, where the machine took longer than startsecs for it, by what is in exitcodes."""
    return "FATAL" in status or "EXITED" in status


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
