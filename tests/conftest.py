"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.support.server import GwctlServer
from tests.support.wait import DEADLINE_S


def pytest_configure() -> None:
    """Have what the tests start hear signals, also where they themselves were started with ``&`` or ``nohup``."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    ignored_by_python = {signal.SIGPIPE, signal.SIGXFSZ}
    for number in signal.valid_signals() - ignored_by_python:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    # A busy machine may take longer for a first request than the five seconds that httpx gives it.
    default = httpx._config.DEFAULT_TIMEOUT_CONFIG  # there is no setting for it
    default.connect = default.read = default.write = default.pool = DEADLINE_S
    # httpx reads all authorities of the world at each call, 20 ms. Whoever speaks TLS here says whom to trust.
    os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "support/one_authority.pem")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Look for no garbage among eleven thousand tests while they come, nor ever after: they are there to the end.

    Each process of pytest-xdist collects them all, and spent two fifths of that on it.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


LONGEST = (
    "tests/systemd",
    "tests/process/test_soak",
    "tests/process/test_reload_watch",
    "tests/process/test_once",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix the files, so that what waits runs beside what computes from the beginning to the end.

    A file's tests stay together, and the longest come first: nobody is to be waited for alone at the end. The order is
    the same in each process of pytest-xdist, and every time.
    """

    def place(item: pytest.Item) -> tuple[bool, int]:
        file = item.nodeid.partition("::")[0]
        return not file.startswith(LONGEST), zlib.crc32(file.encode())

    items.sort(key=place)


# A busy machine is no failure.
settings.register_profile("gwctl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gwctl")


@pytest.fixture
def gwctl_server() -> type[GwctlServer]:
    """A real master: ``with gwctl_server("wsgi_bare:application", worker="sync") as server``."""
    return GwctlServer


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users may enter. Not below tmp_path: pytest closes its own to them at each start."""
    with tempfile.TemporaryDirectory(prefix="gwctl-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
