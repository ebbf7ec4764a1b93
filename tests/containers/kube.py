"""Pods of what `gwctl kubernetes` prints, by `podman play kube`, on the network of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import yaml
from click.testing import Result

from gwctl.cli import cli
from tests.containers.pods import EXAMPLE, Podman
from tests.containers.site import Site
from tests.support.command import runner
from tests.support.wait import until

PYTHON: Final = "/opt/venv/bin/python"


def deployment_of(folder: Path, site: Site, image: str, replicas: int, *settings: str) -> dict[str, Any]:
    """As it is printed for the example's settings, but for what podman takes; ``folder`` is for the test's own."""
    shutil.copy(EXAMPLE / "gw.toml", folder / "gw.toml")
    said = (f"bind=0.0.0.0:{site.port}", f"admin.bind=0.0.0.0:{site.admin}", *settings)
    made = gwctl(
        "kubernetes", "-c", str(folder / "gw.toml"), "--image", image, "--replicas", str(replicas),
        *(part for each in said for part in ("--set", each)),
    )  # fmt: skip
    assert made.exit_code == 0, made.stderr
    deployment: dict[str, Any] = next(iter(yaml.safe_load_all(made.stdout)))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for key in ("livenessProbe", "startupProbe", "ports"):  # podman asks by curl in the container
        container.pop(key)
    container["command"] = [each.replace("0.0.0.0", "127.0.0.1") for each in container["command"]]
    container["command"][:1] = [PYTHON, "-m", "gwctl"]
    return deployment


def gwctl(*arguments: str) -> Result:
    return runner().invoke(cli, arguments, prog_name="gwctl")


class Pod:
    """One of a Deployment."""

    def __init__(
        self, podman: Podman, name: str, deployment: dict[str, Any], site: Site, folder: Path
    ) -> None:
        self._podman, self._site, self._folder = podman, site, folder
        self._name = f"gwctl-test-{os.getpid()}-{name}"
        self._spec = deployment["spec"]
        self._volumes: list[str] = []

    def start(self) -> None:
        spec = self._spec["template"]["spec"]
        for volume in (*spec["volumes"], *spec["containers"][0]["volumeMounts"]):
            volume["name"] = f"{self._name}-{volume['name']}"  # podman has one of a name for all pods
        self._volumes = [each["name"] for each in spec["volumes"]]
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self._name}, "spec": spec}
        file = self._folder / f"{self._name}.yaml"
        file.write_text(yaml.safe_dump(manifest), "utf-8")
        self._podman.run("play", "kube", "--network=host", str(file))

    def wait_until_available(self) -> None:
        """Until it has been ready for minReadySeconds."""
        until(self._site.ready, lambda: f"a pod to be ready:\n{self.logs()}")
        end = time.monotonic() + self._spec["minReadySeconds"]

        def settled() -> bool:
            assert self._site.ready(), self.logs()
            return time.monotonic() >= end

        until(settled, "the pod to have been ready for minReadySeconds")

    def stop(self) -> None:
        """As kubelet does: SIGTERM, and SIGKILL when its time is over, which it must not come to."""
        grace = self._spec["template"]["spec"]["terminationGracePeriodSeconds"]
        self._podman.run("pod", "stop", f"--time={grace}", self._name, timeout_s=grace + 60)
        ended = self._podman.describe(f"{self._name}-gwctl")["State"]
        assert ended["ExitCode"] == 0, f"{ended}\n{self.logs()}"

    def remove(self) -> None:
        self._podman.run("pod", "rm", "--force", "--ignore", "--time=1", self._name)
        for volume in self._volumes:
            self._podman.run("volume", "rm", "--force", volume)

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self._podman.result("exec", f"{self._name}-gwctl", *command)

    def logs(self) -> str:
        done = self._podman.result("logs", f"{self._name}-gwctl")
        return done.stdout + done.stderr
