"""Programs of the distribution that a test needs: installed when missing, else a skip that says why."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

INSTALL_TIMEOUT_S = 240
_LOCK = Path(tempfile.gettempdir()) / "gwctl-tests-apt.lock"


def need(command: str, package: str) -> str:
    """Return the path of ``command``, installing ``package`` with apt when it is missing and we may."""
    found = shutil.which(command) or _install(command, package)
    if not found:
        pytest.skip(f"{command} is missing and could not be installed (Debian: apt install {package})")
    return found


def _install(command: str, package: str) -> str | None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in parallel; apt does not
        if not shutil.which(command):
            install = ["apt-get", "install", "-y", "--no-install-recommends", package]
            for step in (["apt-get", "update"], install):
                subprocess.run(step, env=environ, capture_output=True, check=False, timeout=INSTALL_TIMEOUT_S)
    return shutil.which(command)
