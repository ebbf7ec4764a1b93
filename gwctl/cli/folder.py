"""Where a command is called: the working directory, which a deployment may replace under a shell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gwctl.errors import GwctlError


class FolderGoneError(GwctlError):
    """Whoever called stands in a folder that is no more."""


def logical_cwd(environ: Mapping[str, str]) -> Path:
    """The working directory as the shell shows it, with its links: a deployment changes where they point.

    Raises:
        FolderGoneError: There is none any more.
    """
    shown = Path(environ.get("PWD", ""))
    if shown.is_absolute() and ".." not in shown.parts:
        try:
            if shown.samefile("."):
                return shown
        except OSError:
            pass  # PWD is stale: whoever started us changed the folder without telling
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise FolderGoneError(
            'the working directory has been removed or replaced. Enter one that is there: cd "$PWD"'
        ) from None
