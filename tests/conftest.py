"""Fixtures for all tests."""

from __future__ import annotations

import pytest

from tests.support.server import GwctlServer


@pytest.fixture
def gwctl_server() -> type[GwctlServer]:
    """A real master: ``with gwctl_server("wsgi_bare:application", worker="sync") as server``."""
    return GwctlServer
