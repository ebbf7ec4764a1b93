"""Folders and files that this user may not look at: each command says so in a line, or goes on without them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import ROOT

SETTINGS = '[pool.web]\napp = "shop:application"\nbind = "127.0.0.1:0"\n'
POWERLESS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
"""For root: the rights of files are meant for it, too."""


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "gw.toml").write_text(SETTINGS)
    (tmp_path / "gw.toml").write_text(SETTINGS)
    (tmp_path / "gw.toml").chmod(0)
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


def gwctl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("setpriv of util-linux is not here, and root may look at everything")
    powerless = POWERLESS if os.geteuid() == 0 else []
    runtime = {"PYTHONPATH": str(ROOT), "RUNTIME_DIRECTORY": str(folder.parent)}
    return subprocess.run(
        [*powerless, sys.executable, "-m", "gwctl", *arguments],
        env={**os.environ, **runtime},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["check"], 2, "gw.toml: cannot be read: Permission denied"),
        (["check", "-c", "gw.toml"], 2, "gw.toml: cannot be read: Permission denied"),
        (["start", "-c", "locked/gw.toml"], 2, "locked/gw.toml: cannot be read: Permission denied"),
        (["config", "show", "-c", "locked/gw.toml"], 2, "locked/gw.toml: cannot be read: Permission denied"),
        (["status", "-c", "locked/gw.toml"], 1, "locked/gw.toml cannot be read (Permission denied)"),
        (["status", "-c", "gw.toml"], 1, "gw.toml cannot be read (Permission denied)"),
        (["init", "-c", "locked/other.toml"], 1, "other.toml: Permission denied"),
        (["check", "shop:application", "--set", "chdir=locked/inner"], 2, "locked/inner: Permission denied"),
        (["check", "shop:application", "--set", "env_file=locked/env"], 2, "locked/env: Permission denied"),
        (["check", "shop:application", "--set", "access_log=locked/log"], 0, "no problems"),
        (
            [
                "check",
                "shop:application",
                "--set",
                "bind=tls:127.0.0.1:0",
                "--set",
                "tls.certificate=locked/c",
            ],
            2,
            "locked/c: Permission denied",
        ),
        (["start", "shop:application", "-b", "unix:locked/web.sock"], 1, "cannot listen on unix:"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_of_a_file(locked: Path, arguments: list[str], status: int, said: str) -> None:
    ended = gwctl(locked.parent, *arguments)
    text = ended.stdout + ended.stderr
    assert "Traceback" not in text
    assert (ended.returncode, said in text) == (status, True), text


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else could enter it")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["start"], 2, "gw.toml: cannot be read: Permission denied"),
        (["check"], 2, "gw.toml: cannot be read: Permission denied"),
        (["status"], 1, "found no master that runs"),
        (["init"], 1, "cannot write"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_in_a_folder(locked: Path, arguments: list[str], status: int, said: str) -> None:
    ended = gwctl(locked, *arguments)
    text = ended.stdout + ended.stderr
    assert "Traceback" not in text
    assert (ended.returncode, said in text) == (status, True), text
