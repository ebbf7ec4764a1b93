"""What examples/containers says to compose and to systemd, and pods of `gwctl kubernetes`."""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from click.testing import Result

from gwctl.cli import cli
from gwctl.cli.unit.needs import needs_of
from gwctl.cli.unit.unit_file import parsed, seconds_of
from gwctl.config.load import load
from gwctl.errors import ExitStatus
from tests.containers.pods import EXAMPLE, Podman
from tests.containers.site import Site
from tests.support.command import runner
from tests.support.server import ROOT
from tests.support.wait import until


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


@contextmanager
def pod(pods: Podman, manifest: Path) -> Iterator[None]:
    try:
        pods.run("play", "kube", "--network=host", str(manifest))
        yield
    finally:
        pods.run("play", "kube", "--down", str(manifest))


def test_a_pod_of_the_manifests(pods: Podman, image: str, site: Site, tmp_path: Path) -> None:
    """As Kubernetes would run it, with podman's own `play kube`: user, read-only file system, volumes, command."""
    shutil.copy(EXAMPLE / "gw.toml", tmp_path / "gw.toml")
    settings = (f"bind=0.0.0.0:{site.port}", f"admin.bind=0.0.0.0:{site.admin}", "processes=2")
    made = gwctl(
        "kubernetes", "-c", str(tmp_path / "gw.toml"), "--image", image, "--replicas", "1",
        *(part for each in settings for part in ("--set", each)),
    )  # fmt: skip
    assert made.exit_code == 0, made.stderr
    deployment = next(iter(yaml.safe_load_all(made.stdout)))
    spec = deployment["spec"]["template"]["spec"]
    for key in ("livenessProbe", "startupProbe", "ports"):  # podman asks by curl in the container
        spec["containers"][0].pop(key)
    spec["containers"][0]["command"][:1] = ["/opt/venv/bin/python", "-m", "gwctl"]
    name = f"gwctl-test-{os.getpid()}"
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(manifest), "utf-8")
    with pod(pods, tmp_path / "pod.yaml"):
        until(site.ready, lambda: pods.result("logs", f"{name}-gwctl").stderr)
        assert httpx.get(site.url).text == "hello\n"
        status = pods.result("exec", f"{name}-gwctl", "/opt/venv/bin/python", "-m", "gwctl", "status")
        assert status.returncode == 0, status.stderr
        shown = pods.result(
            "exec", f"{name}-gwctl", "/opt/venv/bin/python", "-c", "import os; print(os.getuid())"
        )
        assert shown.stdout == "10001\n"


def gwctl(*arguments: str) -> Result:
    return runner().invoke(cli, arguments, prog_name="gwctl")


def test_hadolint() -> None:
    found = ROOT / "build/containers/bin/hadolint"
    if not found.exists():
        pytest.skip("no hadolint in build/containers: make test-containers gets it")
    for name in ("Dockerfile", "Containerfile.distroless"):
        done = subprocess.run([found, str(EXAMPLE / name)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout
