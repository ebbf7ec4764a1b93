"""What examples/containers says to compose and to systemd, and pods of `gwctl kubernetes`."""

from __future__ import annotations

import math
import socket
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

from gwctl.cli.unit.needs import needs_of
from gwctl.cli.unit.unit_file import parsed, seconds_of
from gwctl.config.load import load
from gwctl.errors import ExitStatus
from tests.containers.kube import PYTHON, Pod, deployment_of
from tests.containers.pods import EXAMPLE, Podman
from tests.containers.site import Site
from tests.support.server import ROOT


@pytest.fixture
def grace_s() -> float:
    """That the example's settings need."""
    loaded = load(EXAMPLE / "gw.toml", environ={}, cwd=EXAMPLE)
    return needs_of(loaded, EXAMPLE / "gw.toml", ("gwctl",), Path("/usr/bin/python3")).stop_s


def test_the_usual_grace_period_is_enough_for_requests() -> None:
    """Ten seconds, of docker and of podman; what does not finish is ended by then."""
    web = load(EXAMPLE / "gw.toml", environ={}, cwd=EXAMPLE).settings.pool["web"]
    assert web.timeouts.drain_timeout_s < 10


def test_compose(grace_s: float) -> None:
    (service,) = yaml.safe_load((EXAMPLE / "compose.yaml").read_text("utf-8"))["services"].values()
    assert service["stop_grace_period"] == f"{math.ceil(grace_s) + 3}s"
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert service["cap_drop"] == ["ALL"]


def test_the_quadlet(grace_s: float) -> None:
    unit = parsed((EXAMPLE / "shop.container").read_text("utf-8"))
    arguments = unit.one("PodmanArgs", "Container").split()
    (stop,) = (
        each.removeprefix("--stop-timeout=") for each in arguments if each.startswith("--stop-timeout=")
    )
    assert grace_s <= float(stop) < (seconds_of(unit.one("TimeoutStopSec")) or 0)
    assert unit.one("Notify", "Container") == "true"
    assert {int(each) for each in unit.one("RestartPreventExitStatus").split()} == {
        ExitStatus.SETTINGS,
        ExitStatus.APP_NOT_IMPORTED,
    }


def test_it_is_the_container_that_says_when_it_is_ready(
    pods: Podman, image: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Notify=true of a quadlet is: podman passes on what gwctl says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(60)
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with pods.container(image, "--sdnotify=container", "--tmpfs=/tmp", *site.options):
            said = ""
            while "READY=1" not in said:
                said += listener.recv(4096).decode()
    assert "MAINPID=" in said


def test_a_pod_of_the_manifests(pods: Podman, image: str, site: Site, tmp_path: Path) -> None:
    """As Kubernetes would run it, with podman's own `play kube`: user, read-only file system, volumes, command."""
    deployment = deployment_of(tmp_path, site, image, 1, "processes=2")
    pod = Pod(pods, "shop", deployment, site, tmp_path)
    try:
        pod.start()
        pod.wait_until_available()
        assert httpx.get(site.url).text == "hello\n"
        status = pod.execute(PYTHON, "-m", "gwctl", "status")
        assert status.returncode == 0, status.stderr
        shown = pod.execute(PYTHON, "-c", "import os; print(os.getuid())")
        assert shown.stdout == "10001\n"
        pod.stop()
    finally:
        pod.remove()


def test_hadolint() -> None:
    found = ROOT / "build/containers/bin/hadolint"
    if not found.exists():
        pytest.skip("no hadolint in build/containers: make test-containers gets it")
    for name in ("Dockerfile", "Containerfile.distroless"):
        done = subprocess.run([found, str(EXAMPLE / name)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout
