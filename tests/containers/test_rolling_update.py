"""A rolling update as a cluster does it: pods of `gwctl kubernetes` by `podman play kube`, haproxy in the place of the Service.

What the Deployment says is what is done: a pod of the new version is started (maxSurge), an old one is told to stop when the new one has
been ready for minReadySeconds, and none before (maxUnavailable 0). haproxy asks each pod what readinessProbe asks, as often, and sends to
those that are ready, with retries off. `make test-kubernetes UPDATES=20` says how many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.containers.kube import Pod, deployment_of
from tests.containers.pods import Podman
from tests.containers.site import Site
from tests.load.plan import Part, Plan
from tests.load.result import Result
from tests.load.runner import MixedLoad
from tests.support.front import haproxy
from tests.support.wait import until

UPDATES: Final = int(os.environ.get("ROLLING_UPDATES", "2"))
REPLICAS: Final = 2
VERSIONS: Final = ("one", "two")
APP: Final = """
import time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(3)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [{version!r}]
"""


@pytest.fixture(scope="module")
def versions(pods: Podman, shop: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two images, whose applications say which they are."""
    folder = tmp_path_factory.mktemp("versions")
    (folder / "Containerfile").write_text(f"FROM {shop}\nCOPY app.py /srv/app.py\n", "utf-8")
    names = []
    for version in VERSIONS:
        (folder / "app.py").write_text(APP.format(version=version.encode()), "utf-8")
        names.append(f"localhost/gwctl-shop:{version}")
        pods.build(names[-1], folder, "Containerfile")
    return names


class Place:
    """Where a pod may be: there is one more than pods, for the one that is new."""

    def __init__(self, name: str) -> None:
        self.name, self.site = name, Site()

    def server(self, probe: dict[str, Any]) -> str:
        """What haproxy knows it by."""
        checked = f"check inter {probe['periodSeconds']}s fall {probe['failureThreshold']} rise 1"
        return (
            f"server {self.name} 127.0.0.1:{self.site.port} {checked} addr 127.0.0.1 port {self.site.admin}"
        )


class Update:
    """The Deployment's controller."""

    def __init__(self, pods: Podman, folder: Path, drain_delay_s: int) -> None:
        self._pods, self._folder = pods, folder
        self._settings = ("processes=2", f"master.drain_delay_s={drain_delay_s}")
        self.places = [Place(f"place-{number}") for number in range(REPLICAS + 1)]
        self._running: dict[Place, Pod] = {}

    def begin(self, image: str) -> None:
        for place in self.places[:REPLICAS]:
            self._start(place, image)

    def to(self, image: str) -> None:
        """One after the other: a new pod, and an old one ends when that is available."""
        for old in list(self._running):
            (free,) = (place for place in self.places if place not in self._running)
            self._start(free, image)
            ended = self._running.pop(old)
            try:
                ended.stop()
                assert "0 requests cut" in ended.logs()
            finally:
                ended.remove()

    def deployment(self, place: Place, image: str) -> dict[str, Any]:
        return deployment_of(self._folder, place.site, image, REPLICAS, *self._settings)

    def _start(self, place: Place, image: str) -> None:
        deployment = self.deployment(place, image)
        self._running[place] = pod = Pod(self._pods, place.name, deployment, place.site, self._folder)
        pod.start()
        pod.wait_until_available()

    def end(self) -> None:
        for pod in self._running.values():
            pod.remove()


@contextmanager
def service(update: Update, probe: dict[str, Any], folder: Path) -> Iterator[str]:
    """The URL at which the pods that are ready serve."""
    asked = probe["httpGet"]["path"]
    lines = [f"option httpchk GET {asked}", "http-reuse always", "timeout check 30s", "retries 0"]
    lines.append(
        "http-request return status 200 content-type text/plain lf-string %[nbsrv] if { path /ready }"
    )
    lines += [place.server(probe) for place in update.places]
    with haproxy("\n    ".join(lines), folder, "mode http\n    timeout http-keep-alive 60s") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.timeout(300 + 90 * UPDATES)
def test_nobody_notices(pods: Podman, versions: list[str], tmp_path: Path) -> None:
    results = updated(pods, versions, tmp_path, UPDATES, drain_delay_s=5)
    for each in results:
        print(f"{UPDATES} updates, {each.label}: {each}")
    for each in results:
        assert each.failures == {}, each
        assert set(each.bodies) == set(VERSIONS)


def test_it_would_be_noticed(pods: Podman, versions: list[str], tmp_path: Path) -> None:
    """Without drain_delay_s pods close their door before haproxy has found that they are not ready."""
    results = updated(pods, versions, tmp_path, 1, drain_delay_s=0)
    assert sum(each.failed for each in results) > 0


def updated(
    pods: Podman, versions: list[str], folder: Path, updates: int, *, drain_delay_s: int
) -> list[Result]:
    """What clients saw of so many updates."""
    update = Update(pods, folder, drain_delay_s)
    spec = update.deployment(update.places[0], versions[0])["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    with ExitStack() as stack:
        stack.callback(update.end)
        update.begin(versions[0])
        probe = spec["template"]["spec"]["containers"][0]["readinessProbe"]
        url = stack.enter_context(service(update, probe, folder))
        until(lambda: httpx.get(f"{url}/ready").text == str(REPLICAS), "haproxy to know who is ready")
        with MixedLoad(
            [
                Part(Plan(f"{url}/", think_s=0.02, label="keep-alive"), 12),
                Part(Plan(f"{url}/", think_s=0.05, habit="short", label="short"), 4),
                Part(Plan(f"{url}/", think_s=0.05, body=b"x" * 2000, label="post"), 4),
                Part(Plan(f"{url}/slow", timeout_s=30, label="slow"), 2),
            ]
        ) as load:
            for count in range(1, updates + 1):
                update.to(versions[count % 2])
                load.wait_for_requests(50)
                until(lambda: httpx.get(url).text == VERSIONS[count % 2], "the new version")  # noqa: B023
    return load.results
