"""A copy of gwctl that a test may change while a server runs from it, as an installation does.

    installed = Installation(tmp_path)
    with GwctlServer(APP, environ=installed.environ) as server:
        installed.edit("gwctl/__init__.py", '__version__ = "0.1.0"', '__version__ = "0.2.0"')

Files are replaced as an installer replaces them: another file takes the name.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from gwctl import __version__
from tests.support.server import ROOT


class Installation:
    """A folder on PYTHONPATH with the package in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "installed"
        shutil.copytree(ROOT / "gwctl", self.folder / "gwctl")  # with bytecode: compiling takes a second
        for compiled in ROOT.glob("gwctl__mypyc.*.so"):  # what the modules of the compiled build are in
            shutil.copy(compiled, self.folder)

    @property
    def environ(self) -> dict[str, str]:
        return {"PYTHONPATH": f"{self.folder}"}

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a file by one in which ``old`` is ``new``."""
        path = self.folder / name
        text = path.read_text("utf-8")
        assert old in text, f"{old!r} is not in {name}"
        draft = path.with_suffix(".new")
        draft.write_text(text.replace(old, new), "utf-8")
        draft.replace(path)

    def becomes(self, version: str) -> None:
        """Be another version, if only by name."""
        self.edit("gwctl/__init__.py", f'"{__version__}"', f'"{version}"')

    def install(self, wheel: Path) -> None:
        """Put the contents of ``wheel`` in the place of what is there."""
        shutil.rmtree(self.folder / "gwctl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.folder)
