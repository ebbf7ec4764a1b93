"""Configurations as one meets them, each a file: what is called, the files that are there, and what comes of it.

# what it shows
$ gwctl import ARGUMENTS
$ NAME=value                  of the environment
==> NAME                      a file that is there
==> gw.toml                   what is printed, without its comments
==> said                      parts of the comments and of stderr, a line each
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "cases"
EXPECTED, SAID = "gw.toml", "said"


@dataclass(frozen=True)
class Case:
    about: str
    arguments: list[str]
    environ: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    expected: str = ""
    said: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        for name, text in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")


def read(path: Path) -> Case:
    head, *parts = re.split(r"^==> ", path.read_text("utf-8"), flags=re.MULTILINE)
    files = {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}
    about, command, *variables = head.strip().splitlines()
    expected, said = files.pop(EXPECTED, ""), files.pop(SAID, "")
    return Case(
        about.removeprefix("# "),
        shlex.split(command)[3:],
        {name: value for name, _, value in (each.removeprefix("$ ").partition("=") for each in variables)},
        files,
        expected,
        tuple(said.splitlines()),
    )


CASES = {path.stem: read(path) for path in sorted(FOLDER.glob("*.txt"))}
