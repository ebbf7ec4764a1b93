"""Commands whose output nobody reads, or that cannot be written: what they do and how they end is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT

FULL = "gwctl: cannot write to stdout: No space left on device\n"
SETTINGS = '[pool.web]\napp = "shop:application"\nbind = "127.0.0.1:0"\n'
SHOP = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"
PRINTS = [
    ["--help"],
    ["start", "--help"],
    ["check"],
    ["check", "--app"],
    ["config", "show"],
    ["init", "-c", "other.toml"],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gw.toml").write_text(SETTINGS)
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def gwctl(folder: Path, *arguments: str, stdout: int) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "RUNTIME_DIRECTORY": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "gwctl", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environ,
        cwd=folder,
        text=True,
        timeout=60,
        check=False,
    )


def unread() -> int:
    """The writing end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


def ends(folder: Path, *arguments: str, stdout: int) -> tuple[int, str]:
    try:
        found = gwctl(folder, *arguments, stdout=stdout)
    finally:
        os.close(stdout)
    return found.returncode, found.stderr


@pytest.mark.parametrize("arguments", PRINTS, ids=" ".join)
def test_a_full_disk_is_one_line_and_a_failure_and_an_unread_pipe_is_neither(folder, arguments):
    assert ends(folder, *arguments, stdout=os.open("/dev/full", os.O_WRONLY)) == (1, FULL)
    (folder / "other.toml").unlink(missing_ok=True)
    assert ends(folder, *arguments, stdout=unread()) == (0, "")


def test_another_failure_keeps_its_exit_status(folder):
    (folder / "gw.toml").write_text("[pool.web]\n")
    code, text = ends(folder, "check", stdout=os.open("/dev/full", os.O_WRONLY))
    assert (code, "Traceback" in text) == (2, False)


@pytest.mark.parametrize("arguments", [["check"], ["status"], ["start", "--bind", "x"], ["nonsense"]])
def test_a_full_stderr_keeps_the_exit_status(folder, arguments):
    full = os.open("/dev/full", os.O_WRONLY)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "RUNTIME_DIRECTORY": str(folder)}
    try:
        codes = [
            subprocess.run(
                [sys.executable, "-m", "gwctl", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environ,
                cwd=folder,
                timeout=60,
                check=False,
            ).returncode
            for stderr in (subprocess.DEVNULL, full)
        ]
    finally:
        os.close(full)
    assert codes[0] == codes[1]


def test_what_a_master_is_asked_for_is_done_whoever_reads(gwctl_server):
    with gwctl_server("wsgi_bare:application", worker="sync", reload={"settle_s": 0.05}) as server:

        def asked(*arguments: str, stdout: int) -> tuple[int, str]:
            return ends(server.folder, *arguments, "-c", str(server.config), stdout=stdout)

        assert asked("reload", stdout=unread()) == (0, "")
        server.wait_for_log("adopted generation 2")
        assert asked("reload", stdout=os.open("/dev/full", os.O_WRONLY)) == (1, FULL)
        server.wait_for_log("adopted generation 3")
        for arguments in (["status"], ["status", "--json"], ["scale", "web", "1"]):
            assert asked(*arguments, stdout=unread()) == (0, "")
            assert asked(*arguments, stdout=os.open("/dev/full", os.O_WRONLY)) == (1, FULL)
        code, text = asked("rollback", "--json", stdout=unread())
        assert (code, text) == (1, "")
        assert asked("stop", stdout=os.open("/dev/full", os.O_WRONLY)) == (1, FULL)
        assert server.wait_for_exit() == 0
