"""The servers that are compared, and how each is started with one worker.

The peers live in a virtual environment of their own (build/bench/peers), made with the
interpreter that runs gwctl. One that cannot be installed is reported and left out.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tools import APPS, RESULTS

PEERS = RESULTS / "peers"
PACKAGES = {"gunicorn": "gunicorn", "uvicorn": "uvicorn[standard]", "granian": "granian"}


@dataclass(frozen=True)
class Contender:
    """``command`` makes the command line for a port and a folder to write files to."""

    name: str
    package: str
    command: Callable[[int, Path], list[str]]


def gwctl(worker: str, app: str, **settings: int | str) -> Contender:
    def command(port: int, folder: Path) -> list[str]:
        config = folder / f"{worker}.toml"
        lines = [
            '[master]\nname = "bench"\ncontrol = "off"\n[pool.web]',
            f'app = "{app}"\nworker = "{worker}"\nchdir = "{APPS}"\nprocesses = 1',
            f'bind = ["127.0.0.1:{port}"]',
            *(f"{name} = {value!r}" for name, value in settings.items()),
        ]
        config.write_text("\n".join(lines) + "\n", "utf-8")
        return [sys.executable, "-m", "gwctl", "start", "-c", str(config)]

    return Contender(f"gwctl {worker}", "", command)


def peer(name: str, package: str, *arguments: str) -> Contender:
    """``{port}`` in the arguments is replaced."""

    def command(port: int, _folder: Path) -> list[str]:
        program = str(PEERS / "bin" / package)
        return [program, *(argument.format(port=port) for argument in arguments)]

    return Contender(name, package, command)


GUNICORN = ("-w", "1", "-b", "127.0.0.1:{port}", "hello:wsgi", "--log-level", "warning")
GRANIAN = ("--workers", "1", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning")

CONTENDERS = (
    gwctl("sync", "hello:wsgi"),
    peer("gunicorn sync", "gunicorn", *GUNICORN, "-k", "sync"),
    gwctl("threads", "hello:wsgi", threads=8),
    peer("gunicorn gthread", "gunicorn", *GUNICORN, "-k", "gthread", "--threads", "8"),
    gwctl("asgi", "hello:asgi"),
    peer("uvicorn", "uvicorn", "hello:asgi", "--port", "{port}", "--no-access-log", "--log-level", "warning"),
    peer("granian wsgi", "granian", *GRANIAN, "--interface", "wsgi", "hello:wsgi"),
    peer("granian asgi", "granian", *GRANIAN, "--interface", "asgi", "hello:asgi"),
)

RATIOS = (
    ("gwctl sync", "gunicorn sync"),
    ("gwctl threads", "gunicorn gthread"),
    ("gwctl asgi", "uvicorn"),
    ("gwctl sync", "granian wsgi"),
    ("gwctl asgi", "granian asgi"),
)


def install_peers() -> dict[str, str]:
    """Make the peers' environment; return the version of each that is there."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        print("making the peers' environment", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    versions = {}
    for package, requirement in PACKAGES.items():
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", requirement]
        installed = subprocess.run(pip, check=False).returncode == 0
        if not installed and not (PEERS / "bin" / package).exists():
            print(f"{package} could not be installed: left out")
            continue
        versions[package] = installed_version(python, package)
    versions["gwctl"] = importlib.metadata.version("gwctl")
    return versions


def installed_version(python: Path, package: str) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.run(
        [str(python), "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()
