"""A box with systemd, one for each process of the tests, and services in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.box import Box, booted, install, tree
from tests.systemd.site import Site


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the box sees in /srv/gwctl: the installation, and the folders of services."""
    folder = tmp_path_factory.mktemp("srv")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def box(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    root = tree()
    install(shared)
    with booted(root, tmp_path_factory.mktemp("box"), [f"{shared}:/srv/gwctl"]) as box:
        # By its own Python: services may not write there, and each start would compile everything.
        box.says("python3", "-m", "compileall", "-q", "/srv/gwctl/venv/lib")
        yield box


@pytest.fixture
def site(box: Box, shared: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A service called as its test, which has its own folder."""
    name = request.node.name.removeprefix("test_").translate(str.maketrans("[]_", "---")).strip("-")[:32]
    site = Site(box, shared / name, name)
    yield site
    site.remove()
