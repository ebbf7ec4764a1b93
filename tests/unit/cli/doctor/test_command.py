"""`gwctl doctor` as it is called: its exit statuses, its JSON, and files that it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result

from gwctl.cli import cli
from gwctl.cli.doctor import command
from gwctl.cli.doctor.machine import Machine
from tests.support.command import runner


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a machine on which all is well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        command, "read_machine", lambda settings, environ: Machine(somaxconn=4096, kernel="Linux 6")
    )
    (tmp_path / "gw.toml").write_text('[pool.web]\napp = "shop:app"\nprocesses = 1\nworker = "sync"\n')
    return tmp_path


def doctor(*arguments: str) -> Result:
    return runner().invoke(cli, ("doctor", *arguments), prog_name="gwctl")


def test_all_is_well() -> None:
    result = doctor()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("ok    net.core.somaxconn = 4,096")
    assert result.stdout.endswith(" are well\n")


def test_a_warning(folder: Path) -> None:
    (folder / "nginx.conf").write_text("events {}")
    result = doctor("--nginx", "nginx.conf")
    assert result.exit_code == 1
    assert (
        "warn  nginx: no proxy_pass leads to an address of these settings\n        name the file"
        in result.stdout
    )
    document = json.loads(doctor("--nginx", "nginx.conf", "--json").stdout)
    assert document["ok"] is False
    assert document["findings"][-1] == {
        "verdict": "warn",
        "about": "nginx",
        "text": "nginx: no proxy_pass leads to an address of these settings",
        "mend": "name the file that has one",
    }


def test_files_that_cannot_be_read(folder: Path) -> None:
    (folder / "broken").write_text("a {")
    result = doctor("--nginx", "broken", "--haproxy", "nowhere")
    assert result.exit_code == 1
    assert "fail  nginx: broken is no configuration: it ends in the midst" in result.stdout
    assert "fail  haproxy: nowhere cannot be read: No such file or directory" in result.stdout


def test_wrong_settings(folder: Path) -> None:
    (folder / "gw.toml").write_text('[pool.web]\napp = "shop:app"\nworkers = 4\n')
    result = doctor()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no such setting" in result.stderr


def test_a_terminal_is_not_controlled_by_a_file(folder: Path) -> None:
    (folder / "nginx.conf").write_text('include "\x1b[2J";')
    assert "\x1b" not in doctor("--nginx", "nginx.conf").stdout
