"""Print the Pythons of this machine that gwctl supports, besides the one that runs this: ``3.12=/usr/bin/python3.12``.

Looked for are python3.11 and so on, on PATH and where pyenv keeps its own; of several with one
name the first that runs, and of pyenv's the newest. What is not there is said on stderr, since
a run that leaves one out must not look like one that passed on all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
_SHOW = "import sys; print('%d.%d' % sys.version_info[:2])"


def _patch(folder: Path) -> tuple[int, ...]:
    """``3.12.1`` as numbers; what is no release (``3.12-dev``) comes last."""
    parts = folder.name.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def candidates(version: str, path: str, pyenv: Path) -> Iterator[str]:
    for each in path.split(os.pathsep):
        found = shutil.which(f"python{version}", path=each) if each else None
        if found is not None:
            yield found
    for folder in sorted(pyenv.glob(f"versions/{version}[.-]*"), key=_patch, reverse=True):
        yield str(folder / "bin" / "python")


def runs(python: str, version: str) -> bool:
    """Tell whether it is that version; pyenv's shims are there for versions that do not run."""
    try:
        shown = subprocess.run(
            [python, "-I", "-c", _SHOW], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return shown.strip() == version


def find(versions: Sequence[str], path: str, pyenv: Path) -> dict[str, str | None]:
    """Return an interpreter for each version, None where there is none."""
    return {
        version: next((each for each in candidates(version, path, pyenv) if runs(each, version)), None)
        for version in versions
    }


def main() -> None:
    this = "{}.{}".format(*sys.version_info[:2])
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    others = [version for version in SUPPORTED if version != this]
    for version, python in find(others, os.environ.get("PATH", ""), pyenv).items():
        if python is None:
            print(f"skipped: Python {version} is not on this machine", file=sys.stderr)
        else:
            print(f"{version}={python}")


if __name__ == "__main__":
    main()
