"""What `make test-others` finds: it must not pass over a Python that is there, nor take one that does not run."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support import interpreters

THIS = "{}.{}".format(*sys.version_info[:2])


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_first_on_the_path_that_runs(tmp_path: Path) -> None:
    """A shim that fails and one of another version are passed over; pyenv's own come last."""
    program(tmp_path / "shims" / f"python{THIS}", "echo no such version; exit 127")
    program(tmp_path / "wrong" / f"python{THIS}", "echo 3.9")
    right = program(tmp_path / "right" / f"python{THIS}", f'exec {sys.executable} "$@"')
    path = f"{tmp_path}/shims::{tmp_path}/wrong:{tmp_path}/right"
    assert interpreters.find([THIS], path, tmp_path / "pyenv") == {THIS: str(right)}


def test_the_newest_of_pyenv(tmp_path: Path) -> None:
    found = {
        patch: program(tmp_path / "versions" / f"{THIS}.{patch}" / "bin" / "python", f"echo {THIS}")
        for patch in (2, 10, 9)
    }
    program(tmp_path / "versions" / f"{THIS}-dev" / "bin" / "python", f"echo {THIS}")
    assert interpreters.find([THIS, "3.99"], "", tmp_path) == {THIS: str(found[10]), "3.99": None}


def test_what_is_not_there_is_said(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    interpreters.main()
    shown = capsys.readouterr()
    assert shown.out == ""
    others = [version for version in interpreters.SUPPORTED if version != THIS]
    assert shown.err.splitlines() == [f"skipped: Python {each} is not on this machine" for each in others]
