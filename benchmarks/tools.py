"""Programs and folders that the benchmarks use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
APPS = ROOT / "benchmarks" / "apps"
RESULTS = ROOT / "build" / "bench"


def need(command: str, package: str) -> str:
    """Path of a program; installed with apt when missing and we may, else the end with a plain message."""
    if not shutil.which(command) and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {package}", flush=True)
        for step in (["update"], ["install", "-y", "--no-install-recommends", package]):
            subprocess.run(["apt-get", "-qq", *step], check=False, stdout=subprocess.DEVNULL)
    found = shutil.which(command)
    if not found:
        sys.exit(f"{command} is needed (Debian: apt install {package})")
    return found


def write_results(name: str, results: Any) -> Path:
    """Write ``results`` as JSON and say where."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    print(f"\nwritten to {path.relative_to(ROOT)}")
    return path
