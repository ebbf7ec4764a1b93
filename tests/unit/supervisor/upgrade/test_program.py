"""What an upgrade executes: the interpreter, or the script that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.supervisor.upgrade.program import _script

PYTHON = "/srv/venv/bin/python"


@pytest.mark.parametrize(
    ("first", "command"),
    [
        (f"#!{PYTHON}", (PYTHON,)),
        (f"#! {PYTHON} -I", (PYTHON, "-I")),
        (f"#!{PYTHON} -I -X dev", (PYTHON, "-I -X dev")),
        ("#!/usr/bin/env python3", ("python3",)),
        ("#!/usr/bin/env -S python3 -X dev", ("python3", "-X", "dev")),
        ("#!/bin/sh", (PYTHON,)),
    ],
)
def test_a_script_that_names_the_interpreter_is_executed_itself(
    tmp_path: Path, first: str, command: tuple[str, ...]
) -> None:
    script = written(tmp_path, first)
    arguments = (script, "start", "-c", "gw.toml")
    assert _script((*command, *arguments), arguments) == script


@pytest.mark.parametrize("first", [f"#!{PYTHON}", "#!/usr/bin/env python3", "import gwctl", ""])
def test_one_that_names_another_is_run_by_the_interpreter_as_it_was(tmp_path: Path, first: str) -> None:
    script = written(tmp_path, first)
    assert _script(("/opt/python", script, "start"), (script, "start")) == ""


def test_options_that_somebody_gave_are_kept(tmp_path: Path) -> None:
    for first in (f"#!{PYTHON}", "#!/bin/sh", f"#!{PYTHON} -I"):
        script = written(tmp_path, first)
        assert _script((PYTHON, "-X", "dev", script, "start"), (script, "start")) == ""


def test_modules_and_files_that_cannot_be_executed(tmp_path: Path) -> None:
    script = written(tmp_path, f"#!{PYTHON}")
    assert _script((PYTHON, "-m", "gwctl", "start"), (script, "start")) == ""
    Path(script).chmod(0o644)
    assert _script((PYTHON, script, "start"), (script, "start")) == ""
    assert _script((PYTHON, f"{script}-gone", "start"), (script, "start")) == ""
    assert _script((PYTHON,), ("",)) == ""


def written(folder: Path, first: str) -> str:
    script = folder / "gwctl"
    script.write_text(f"{first}\nimport gwctl\n", "utf-8")
    script.chmod(0o755)
    return str(script)
