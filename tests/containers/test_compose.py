"""examples/containers/compose.yaml as it is run: by podman-compose, on a network of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
import yaml

from tests.containers.kube import PYTHON
from tests.containers.pods import EXAMPLE, Podman
from tests.containers.site import free_port
from tests.support.debian import need
from tests.support.pages import from_page
from tests.support.server import ROOT
from tests.support.wait import until

COMPOSE: Final = ROOT / "build/containers/bin/podman-compose"
_UP_S: Final = 120


class Project:
    """The example, on a free port of this machine and with an image that is there."""

    def __init__(self, podman: Podman, image: str, folder: Path, *, init: bool) -> None:
        self._podman, self._name = podman, f"gwctl-test-{os.getpid()}"
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.container = f"{self._name}_shop_1"
        shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
        document = yaml.safe_load((folder / "compose.yaml").read_text("utf-8"))
        service = document["services"]["shop"]
        assert service["ports"] == ["127.0.0.1:8000:8000"]
        service |= {"ports": [f"127.0.0.1:{port}:8000"], "image": image, "init": init}
        self._folder = folder
        (folder / "compose.yaml").write_text(yaml.safe_dump(document), "utf-8")
        script = str(podman.script(folder / "podman"))
        self._compose = [str(COMPOSE), "--podman-path", script, "-p", self._name]

    def run(self, command: str) -> None:
        """A command of podman-compose, in the example's folder."""
        arguments = shlex.split(command)[1:]
        done = subprocess.run(
            [*self._compose, *arguments],
            cwd=self._folder, capture_output=True, text=True, timeout=_UP_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def answers(self) -> bool:
        try:
            return httpx.get(self.url).text == "hello\n"
        except httpx.TransportError:
            return False

    def logs(self) -> str:
        done = self._podman.result("logs", self.container)
        return done.stdout + done.stderr

    def gwctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._podman.result("exec", self.container, PYTHON, "-m", "gwctl", *arguments)


@pytest.fixture(params=[False, True], ids=["pid 1", "init"])
def project(request: pytest.FixtureRequest, pods: Podman, shop: str, tmp_path: Path) -> Iterator[Project]:
    if not COMPOSE.exists():
        pytest.skip("no podman-compose in build/containers: make test-containers gets it")
    need("iptables", "iptables")
    project = Project(pods, shop, tmp_path / "project", init=request.param)
    try:
        project.run(from_page("deploy-containers.md", "podman-compose up --no-build -d"))
        yield project
    finally:
        project.run(from_page("deploy-containers.md", "podman-compose down"))


def test_it_serves_and_stops_in_its_time(project: Project, pods: Podman) -> None:
    """With the limits that it says, which `processes = "auto"` counts, and a request in hand at the end."""
    until(project.answers, project.logs)
    assert "web: 2 workers (auto: " in project.logs()
    assert "quota 2.0" in project.logs()
    described = pods.describe(project.container)["HostConfig"]
    assert (described["Memory"], described["ReadonlyRootfs"]) == (512 << 20, True)
    assert project.gwctl("status").returncode == 0
    answers: list[str] = []
    request = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{project.url}/slow", timeout=60).text)
    )
    request.start()
    until(lambda: "/slow" in project.gwctl("requests").stdout, "the request to be served")
    project.run(from_page("deploy-containers.md", "podman-compose stop"))
    request.join(timeout=60)
    assert answers == ["hello\n"]
    assert pods.describe(project.container)["State"]["ExitCode"] == 0
    assert "0 requests cut" in project.logs()
