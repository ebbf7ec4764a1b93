"""A mistake in the settings, said so that it can be mended without looking anything up.

    gw.toml:7: pool.web.workers = 4: no such setting. Did you mean `processes`?

Place, key and what was found there; then what is wrong, said as what is allowed; then what to
write instead, where that can be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import force_setattr

from gwctl.errors import ExitStatus, GwctlError
from gwctl.masking import MASK

ENVIRONMENT: Final = "environment"
COMMAND_LINE: Final = "command line"
_OF_ENV: Final = re.compile(r"\.env(\.|$)|^GWCTL_(.*_)?ENV(_|$)(?!FILE$)|^--set (.*\.)?env(\.|$)")
"""The table of variables, or one of them, however it is set."""


class Problem(Struct, frozen=True):
    """One mistake."""

    file: str
    """As the person named it, or `ENVIRONMENT` or `COMMAND_LINE`."""
    line: int
    """From 1; 0 where there are no lines."""
    key: str
    """Dotted, or the name of the variable or flag; empty when it is about the whole file."""
    found: str
    """As TOML; empty when nothing is there."""
    reason: str
    """What is wrong, and with it what is allowed: no full stop, no capital."""
    hint: str = ""
    """A sentence that says what to do; may be empty."""

    def __post_init__(self) -> None:
        """Keep what was found, a path for one, from breaking the line or steering the terminal."""
        if _OF_ENV.search(self.key):
            self._mask()
        for name in ("reason", "hint"):
            text = getattr(self, name)
            if not text.isprintable():
                force_setattr(self, name, _printable(text))

    def _mask(self) -> None:
        """What was found may be meant as a password: the key and the line say where it is."""
        value = self.found.strip("\"'")
        for name in ("reason", "hint") if value else ():
            force_setattr(self, name, getattr(self, name).replace(value, MASK))
        force_setattr(self, "found", MASK if self.found else "")

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        subject = f"{self.key} = {self.found}" if self.found else self.key
        said = ": ".join(part for part in (place, subject, self.reason) if part)
        return f"{said}. {self.hint}" if self.hint else said


class ConfigError(GwctlError):
    """The settings are wrong. Carries every problem found, not just the first."""

    exit_status = ExitStatus.SETTINGS

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort as a person mends them: files, each by line, then the environment, then the command line."""
    found = list(problems)
    files = list(dict.fromkeys(problem.file for problem in found))
    last = {ENVIRONMENT: 1, COMMAND_LINE: 2}

    def place(problem: Problem) -> tuple[int, int, int]:
        return last.get(problem.file, 0), files.index(problem.file), problem.line

    return sorted(found, key=place)


def count(problems: int) -> str:
    """``1 problem``, ``3 problems``."""
    return f"{problems} problem{'' if problems == 1 else 's'}"
