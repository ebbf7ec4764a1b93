"""Workers of other users: whether they can be had here, and what runs them."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import httpx

from tests.support.server import ROOT


def readable_by_others(path: Path) -> bool:
    """Other users may enter all folders above it."""
    return all(folder.stat().st_mode & 0o001 for folder in path.parents)


def interpreter_for_others() -> tuple[str, dict[str, str]]:
    """An interpreter whose library another user may read, with the environment it needs. It need not exist.

    The one that runs the tests may live in a home folder; then it is the system's own of the same
    version, with our site-packages.
    """
    path = {"PYTHONPATH": f"{ROOT}:{Path(httpx.__file__).parents[1]}"}
    if readable_by_others(Path(os.__file__)):
        return sys.executable, path
    return f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}", path


def can_change_to(*users: str) -> bool:
    """This is root, all of them are there, and they could import gwctl."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    reachable = readable_by_others(ROOT / "gwctl") and Path(interpreter_for_others()[0]).exists()
    return os.geteuid() == 0 and names.issuperset(users) and reachable
