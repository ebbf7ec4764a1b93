"""The images of examples/containers: shut in as they are run, probed, stopped as `podman stop` does it by default."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.containers.pods import COMPILED, HOW_TO_BUILD, SLIM, Podman, packages
from tests.containers.site import Site, free_port
from tests.support.debian import need
from tests.support.pages import from_page
from tests.support.wait import until

SHUT_IN = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)
LIMITS = ("--memory=512m",)


@pytest.mark.parametrize("init", [(), ("--init",)], ids=["pid 1", "init"])
def test_a_request_in_hand_is_finished_within_the_grace_period(
    pods: Podman, image: str, site: Site, init: tuple[str, ...]
) -> None:
    with pods.container(image, *SHUT_IN, *LIMITS, *init, *site.options) as container:
        until(site.ready, container.logs)
        answers: list[str] = []
        request = threading.Thread(
            target=lambda: answers.append(httpx.get(f"{site.url}/slow", timeout=60).text)
        )
        request.start()
        until(
            lambda: "/slow" in container.execute(*gwctl(image), "requests").stdout, "the request to be served"
        )
        assert container.stop() == 0, container.logs()
        request.join(timeout=60)
        assert answers == ["hello\n"]
        assert "0 requests cut" in container.logs()


def test_it_runs_as_nobody_and_says_how_it_is(pods: Podman, image: str, site: Site) -> None:
    with pods.container(image, *SHUT_IN, *LIMITS, *site.options) as container:
        until(site.ready, container.logs)
        assert httpx.get(site.url).text == "hello\n"
        described = pods.describe(container.id)
        assert described["Config"]["User"] in {"10001:10001", "65532:65532"}
        asked = described["Config"]["Healthcheck"]["Test"]
        assert asked[0] == "CMD", "no shell"
        health = container.execute(*asked[1:])
        assert health.returncode == 0, health.stderr
        assert "web" in health.stdout
        assert (
            "Uid:\t0"
            not in container.execute(*python(image), "-c", "print(open('/proc/1/status').read())").stdout
        )
        assert container.execute("gwctl-is-not-this", "status").returncode != 0
        shell = container.execute("/bin/sh", "-c", "true").returncode
        assert (shell != 0) == ("distroless" in image)


def test_a_master_that_nobody_can_ask_is_not_healthy(pods: Podman, image: str, site: Site) -> None:
    options = [*site.options, "--env=GWCTL_MASTER_CONTROL=off"]
    with pods.container(image, *SHUT_IN, *LIMITS, *options) as container:
        until(site.ready, container.logs)
        asked = pods.describe(container.id)["Config"]["Healthcheck"]["Test"]
        assert container.execute(*asked[1:]).returncode == 1


def test_the_engine_is_compiled(pods: Podman, image: str) -> None:
    if not COMPILED:
        pytest.skip("not compiled, as was asked for")
    code = "import gwctl.workers.http1.protocol as engine; print(engine.__file__)"
    found = pods.run("run", "--rm", "--entrypoint", python(image)[0], image, "-c", code)
    assert found.endswith(".so")


def test_memory_decides_how_many(pods: Podman, image: str, site: Site) -> None:
    with pods.container(image, "--memory=320m", *site.options) as container:
        until(site.ready, container.logs)
        status = json.loads(container.execute(*gwctl(image), "status", "--json").stdout)
        assert status["pools"][0]["size"] == 1
        assert "memory allows 1" in container.logs()


def test_the_commands_of_the_page(pods: Podman, shop: str, sources: Path, tmp_path: Path) -> None:
    """docs/deploy-containers.md, with podman for docker, packages that are here, and another port of this machine."""
    need("iptables", "iptables")
    port, name = free_port(), f"gwctl-test-{os.getpid()}"
    build = from_page("deploy-containers.md", "docker build -t localhost/shop .")
    run = from_page(
        "deploy-containers.md",
        "docker run --rm -p 8000:8000 --read-only --tmpfs /tmp --cap-drop all --memory 512m --cpus 2 localhost/shop",
    )
    podman = pods.script(tmp_path / "podman")
    options = shlex.join([*HOW_TO_BUILD, *packages()])
    build = build.replace("docker build", f"{podman} build {options}")
    subprocess.run(["sh", "-c", build], cwd=sources, capture_output=True, timeout=1500, check=True)
    command = run.replace("docker run", f"exec {podman} run --name {name}").replace(
        "8000:8000", f"127.0.0.1:{port}:8000"
    )
    with subprocess.Popen(
        ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as container:
        try:
            until(lambda: answers(port), "the container to serve")
        finally:
            pods.run("rm", "--force", "--ignore", "--time=10", name)
        assert container.wait(60) == 0


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").text == "hello\n"
    except httpx.TransportError:
        return False


def test_the_size(pods: Podman, image: str, record_property: Any) -> None:
    """What gwctl and what it needs add to the base."""
    base = "gcr.io/distroless/python3-debian13:nonroot" if "distroless" in image else SLIM
    added = pods.describe(image)["Size"] - pods.describe(base)["Size"]
    record_property("added_mib", added >> 20)
    assert added < 80 << 20


def gwctl(image: str) -> tuple[str, ...]:
    return (*python(image), "-m", "gwctl")


def python(image: str) -> tuple[str, ...]:
    return ("/opt/venv/bin/python",)
