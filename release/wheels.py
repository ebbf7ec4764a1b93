"""Make what a release consists of, in dist/: a compiled wheel for each Python, a pure one, sources, sums.

    python -m release.wheels 3.12=/usr/bin/python3.12 ...     this Python, and those: make wheels

A compiled wheel runs where libraries are at least as new as its name says (manylinux, by auditwheel);
everywhere else pip takes the pure one. Each is installed into an environment of its own and serves a request.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx

from tests.support.server import GwctlServer

ROOT: Final = Path(__file__).resolve().parents[1]
DIST: Final = ROOT / "dist"
APP: Final = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""
PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*command: str, **environ: str) -> str:
    """Return what it prints. CalledProcessError: it failed, and has said why on stderr."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | environ
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def build(python: str, *, compiled: bool) -> Path:
    """A wheel by ``python``, in dist/."""
    with tempfile.TemporaryDirectory(prefix="gwctl-wheel-") as folder:
        command = (*PIP, "--python", python, "wheel", "--no-deps", "--wheel-dir", folder, str(ROOT))
        run(*command, GWCTL_COMPILE="1" if compiled else "")
        (wheel,) = Path(folder).glob("*.whl")
        if compiled:
            repaired = Path(folder) / "repaired"
            run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(repaired), str(wheel))
            (wheel,) = repaired.glob("*.whl")
        return Path(shutil.move(wheel, DIST / wheel.name))


def try_out(wheel: Path, python: str, engine: str) -> None:
    """Install it where nothing else is, and have it serve.

    Raises:
        AssertionError: It is another build than its name says, or does not serve.
        subprocess.CalledProcessError: It cannot be installed.
    """
    with tempfile.TemporaryDirectory(prefix="gwctl-wheel-") as folder:
        environment, shop = Path(folder) / "venv", Path(folder) / "shop"
        shop.mkdir()
        (shop / "shop.py").write_text(APP, "utf-8")
        run(python, "-m", "venv", "--without-pip", str(environment))
        run(*PIP, "--python", str(environment / "bin" / "python"), "install", f"{wheel}[fast]")
        gwctl = str(environment / "bin" / "gwctl")
        says = run(gwctl, "--version", PYTHONPATH="").strip()
        assert f", engine {engine}, " in says, says
        with GwctlServer(
            "shop:application", chdir=shop, bind="127.0.0.1:0", command=(gwctl,), environ={"PYTHONPATH": ""}
        ) as server:
            assert httpx.get(server.url, timeout=30).text == "hello"
    print(f"{wheel.name}: {says}, serves", flush=True)


def write_checksums() -> None:
    """Of all that is in dist/, as ``sha256sum --check`` reads them."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(DIST.iterdir())
    ]
    (DIST / "SHA256SUMS").write_text("".join(lines), "utf-8")


def main(others: Sequence[str]) -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    pythons = [sys.executable, *(each.partition("=")[2] for each in others)]
    for python in pythons:
        try_out(build(python, compiled=True), python, "compiled")
    try_out(build(sys.executable, compiled=False), sys.executable, "pure Python")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(DIST))
    write_checksums()
    print((DIST / "SHA256SUMS").read_text("utf-8"), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
