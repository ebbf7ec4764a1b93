"""Programs and folders that the benchmarks use."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
APPS = ROOT / "benchmarks" / "apps"
RESULTS = ROOT / "build" / "bench"


def may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(package: str) -> None:
    """Try to; whoever asks looks afterwards whether it is there."""
    print(f"installing {package}", flush=True)
    for step in (["update"], ["install", "-y", "--no-install-recommends", package]):
        subprocess.run(
            ["apt-get", "-qq", *step],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )


def find(command: str, package: str) -> str | None:
    """Path of a program; installed with apt when it is missing and we may."""
    if not shutil.which(command) and may_install():
        apt_install(package)
    return shutil.which(command)


def need(command: str, package: str) -> str:
    """Path of a program that nothing works without: else the end, with a plain message."""
    found = find(command, package)
    if not found:
        sys.exit(f"{command} is needed (Debian: apt install {package})")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def write_results(name: str, results: Any, folder: Path = RESULTS) -> Path:
    """Write ``results`` as JSON and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    print(f"\nwritten to {shown(path)}")
    return path


def shown(path: Path) -> str:
    """``path`` as one would type it from the checkout."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
