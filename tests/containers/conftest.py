"""The images of examples/containers, built once for each process of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.containers.pods import Podman, context, packages, podman
from tests.containers.site import Site


@pytest.fixture(scope="session")
def pods() -> Podman:
    return podman()


@pytest.fixture(scope="session")
def sources(pods: Podman, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's folder, with packages."""
    return context(tmp_path_factory.mktemp("containers") / "shop")


FILES = {"localhost/gwctl-shop": "Dockerfile", "localhost/gwctl-shop-distroless": "Containerfile.distroless"}


@pytest.fixture(scope="session", params=FILES)
def image(request: pytest.FixtureRequest, pods: Podman, sources: Path) -> str:
    return built(request.param, pods, sources)


@pytest.fixture(scope="session")
def shop(pods: Podman, sources: Path) -> str:
    """The image on the usual base, for what the base has no part in."""
    return built("localhost/gwctl-shop", pods, sources)


def built(name: str, pods: Podman, sources: Path) -> str:
    pods.build(name, sources, FILES[name], *packages())
    return name


@pytest.fixture
def site() -> Site:
    return Site()
