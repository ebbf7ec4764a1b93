"""Fixtures of the process tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control import Master


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    """The loop of a master with nothing in it but an open control server."""
    master = Master(tmp_path)
    assert master.server.open(master.selector)
    yield master
    master.close()
