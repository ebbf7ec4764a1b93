"""Configurations as one meets them: what is printed for each, and that it is a right gw.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gwctl.cli import cli
from gwctl.cli.importing import gw_toml
from tests.support.command import runner
from tests.unit.cli.importing.cases import CASES

OF_SERVERS = ("GUNICORN_", "UVICORN_", "GRANIAN_", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "PORT")


def test_there_are_forty() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_a_configuration(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    case.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    import os

    for variable in [each for each in os.environ if each.startswith(OF_SERVERS)]:
        monkeypatch.delenv(variable)
    result = runner().invoke(cli, ["import", *case.arguments], env=case.environ, prog_name="gwctl")
    assert (result.exit_code, result.stderr) == (0, "")
    assert tomllib.loads(result.stdout) == tomllib.loads(case.expected)
    assert gw_toml.refused(result.stdout) == []
    flat = " ".join(result.stdout.replace("\n#", "\n").split())
    assert [said for said in case.said if said not in flat] == []
    settings = [line for line in result.stdout.splitlines() if " = " in line and not line.startswith("#")]
    rows = result.stdout.splitlines()
    bare = [
        line for line in settings if "  # " not in line and not rows[rows.index(line) - 1].startswith("# ")
    ]
    assert bare == [], "each says what it came from"
