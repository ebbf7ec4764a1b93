"""examples/containers/shop.container as it is run: podman makes a unit of it, in a box with a real systemd.

The box has podman 5 of Debian 13, which knows quadlets. It has no controllers of control groups: limits of memory and processors are
left out there, and tried in test_images.py and test_compose.py.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Final

import pytest

from tests.containers.pods import CACHE, EXAMPLE, Podman
from tests.support.pages import from_page
from tests.support.wait import until
from tests.systemd.box import Box, booted, tree
from tests.systemd.site import ASK

pytestmark = pytest.mark.timeout(900)

PACKAGES: Final = ("podman", "crun", "catatonit", "netavark", "aardvark-dns", "nftables")
LETS: Final = ("--capability=all", "--system-call-filter=bpf")
"""What crun needs to make a control group."""
SETTINGS: Final = (
    "[containers]\nkeyring = false\npids_limit = 0\n"
    'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
)
UNLIMITED: Final = "[Container]\nPodmanArgs=\nPodmanArgs=--stop-timeout=20\n"
IN_IT: Final = ("podman", "exec", "systemd-shop", "/opt/venv/bin/python", "-m", "gwctl")


@pytest.fixture(scope="module")
def machine(pods: Podman, shop: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One with the example's image and quadlet."""
    root = tree("trixie-podman-1", *PACKAGES)
    given = tmp_path_factory.mktemp("given")
    pods.run("tag", shop, "localhost/shop")
    pods.run("save", "--quiet", "--output", str(given / "shop.tar"), "localhost/shop")
    shutil.copy(EXAMPLE / "shop.container", given)
    (given / "containers.conf").write_text(SETTINGS, "utf-8")
    with tempfile.TemporaryDirectory(dir=CACHE) as store:  # layers upon layers take a real file system
        binds = [f"{given}:/srv/given", f"{store}:/var/lib/containers"]
        with booted(root, tmp_path_factory.mktemp("box"), binds, LETS) as box:
            box.says("cp", "/srv/given/containers.conf", "/etc/containers/containers.conf")
            box.says("podman", "load", "--quiet", "--input", "/srv/given/shop.tar")
            yield box
            box.says("podman", "system", "reset", "--force")


@pytest.fixture
def box(machine: Box) -> Iterator[Box]:
    yield machine
    machine.run("systemctl", "stop", "shop")
    machine.run("systemctl", "reset-failed", "shop")


def install(box: Box, more: str = "") -> None:
    """The quadlet, with what is different in a box, and more."""
    folder = "/etc/containers/systemd"
    box.says("mkdir", "-p", f"{folder}/shop.container.d")
    copy = from_page("deploy-containers.md", "cp shop.container /etc/containers/systemd/")
    box.says("sh", "-c", f"cd /srv/given; {copy}")
    box.says(
        "sh", "-c", 'printf "%s" "$1" > "$2"', "_", UNLIMITED + more, f"{folder}/shop.container.d/test.conf"
    )
    box.says(*from_page("deploy-containers.md", "systemctl daemon-reload").split())


def logged(box: Box) -> str:
    return box.says("journalctl", "-u", "shop", "--no-pager")


def test_podman_understands_it(box: Box) -> None:
    box.says("mkdir", "-p", "/etc/containers/systemd")
    box.says("cp", "/srv/given/shop.container", "/etc/containers/systemd")
    done = box.run("/usr/libexec/podman/quadlet", "-dryrun")
    assert done.returncode == 0, done.stderr
    strange = [line for line in done.stderr.splitlines() if "Loading source unit file" not in line]
    assert strange == []
    assert "--cpus=2 --memory=512m --stop-timeout=20 localhost/shop" in done.stdout
    box.says("sh", "-c", "/usr/libexec/podman/quadlet -dryrun | sed 1d > /tmp/shop.service")
    verified = box.run("systemd-analyze", "verify", "/tmp/shop.service")
    assert "shop.service" not in "".join(
        line for line in verified.stderr.splitlines() if "X-Container" not in line
    )


@pytest.mark.parametrize("init", ["", "RunInit=true\n"], ids=["pid 1", "init"])
def test_it_serves_when_it_is_started_and_stops_in_its_time(box: Box, init: str) -> None:
    install(box, init)
    done = box.run(*from_page("deploy-containers.md", "systemctl start shop").split())
    assert done.returncode == 0, logged(box)
    assert box.says("python3", "-c", ASK, "/") == "hello", "whoever is ordered after it can ask at once"
    assert box.run("podman", "healthcheck", "run", "systemd-shop").returncode == 0, "HEALTHCHECK of the image"
    asked = subprocess.Popen(box.command("python3", "-c", ASK, "/slow"), stdout=subprocess.PIPE, text=True)
    until(lambda: "/slow" in box.run(*IN_IT, "requests").stdout, "the request to be served")
    box.says("systemctl", "stop", "shop")
    assert asked.communicate(timeout=60)[0].strip() == "hello"
    assert box.show("shop", "Result") == "success", logged(box)
    assert "0 requests cut" in logged(box)


def test_one_that_is_killed_is_started_again(box: Box) -> None:
    install(box)
    box.says("systemctl", "start", "shop")
    box.says("podman", "kill", "--signal=KILL", "systemd-shop")
    until(
        lambda: box.show("shop", "NRestarts") == "1" and box.show("shop", "ActiveState") == "active",
        lambda: f"another one:\n{logged(box)}",
    )
    assert box.says("python3", "-c", ASK, "/") == "hello"


def test_one_whose_settings_are_wrong_is_not(box: Box) -> None:
    install(box, "Environment=GWCTL_PROCESSES=some\n")
    assert box.run("systemctl", "start", "shop").returncode == 1
    assert box.show("shop", "ExecMainStatus") == "2", logged(box)
    assert box.show("shop", "ActiveState") == "failed"
    assert box.show("shop", "NRestarts") == "0"
