"""Limits of memory that are too low for gwctl, or for the application: one plain line says which, and what to do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT
from tests.support.wait import DEADLINE_S, until

NAMES = {"d": "RLIMIT_DATA", "v": "RLIMIT_AS"}
"""By the option of ulimit."""
MIB = 1 << 20
GREEDY = """
kept = bytearray(400 << 20)
def application(environ, start_response):
    start_response("200 OK", [])
    return [b""]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gw.toml").write_text(
        '[pool.web]\napp = "shop:application"\nbind = "127.0.0.1:0"\nprocesses = 1\n'
    )
    (tmp_path / "shop.py").write_text(GREEDY.replace("400 << 20", "4"))
    return tmp_path


def started(folder: Path, kind: str, size: int, *arguments: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "RUNTIME_DIRECTORY": str(folder)}
    command = [sys.executable, "-m", "gwctl", *arguments]
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(
            ["sh", "-c", f'ulimit -{kind} {size // 1024}; exec "$0" "$@"', *command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=environ,
            cwd=folder,
        )


def python_starts(kind: str, size: int) -> bool:
    """Else it is the interpreter that says so, before anything of ours is there."""
    ulimit = f'ulimit -{kind} {size // 1024}; exec "$0" -c pass'
    return (
        subprocess.run(["sh", "-c", ulimit, sys.executable], capture_output=True, check=False).returncode == 0
    )


def ends_or_serves(folder: Path, kind: str, size: int, *arguments: str) -> tuple[int, str]:
    """The exit status, and all that was said. One that serves is ended."""
    process = started(folder, kind, size, *arguments)
    said = folder / "said"
    try:
        until(lambda: process.poll() is not None or "serving:" in said.read_text(), said.read_text)
    finally:
        if process.poll() is None:
            process.terminate()
        status = process.wait(DEADLINE_S)
    return status, said.read_text()


@pytest.mark.parametrize("arguments", [("check",), ("check", "--app"), ("start",)], ids=" ".join)
@pytest.mark.parametrize(("kind", "sizes"), [("d", (8, 22)), ("v", (18, 30))])
def test_too_little_for_gwctl_itself(folder, arguments, kind, sizes):
    """Wherever that shows: in an import, in the middle of C code, at the start of a thread, in a worker."""
    refused = 0
    for size in filter(lambda size: python_starts(kind, size * MIB), sizes):
        status, said = ends_or_serves(folder, kind, size * MIB, *arguments)
        assert "Traceback" not in said, (size, said)
        if status != 0:
            refused += 1
            why = rf"not enough memory: ({NAMES[kind]} is {size} MiB|look at ulimit -d and ulimit -v)"
            why += "|^Fatal Python error: "  # the interpreter itself has given up, and says so
            assert re.search(why, said), (size, status, said)
    assert refused or arguments == ("check",), "no worker can be started with either"


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("kind", NAMES)
def test_too_little_for_the_application(folder, kind, preload):
    (folder / "shop.py").write_text(GREEDY)
    status, said = ends_or_serves(
        folder, kind, 380 * MIB, "start", "--set", f"preload={str(preload).lower()}"
    )
    assert status == 4
    assert re.search(rf"cannot import shop: MemoryError\. {NAMES[kind]} is 380 MiB \(Limit\w+= in", said), (
        said
    )
    assert "gwctl/workers" not in said
