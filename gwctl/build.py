"""Which build of gwctl this is: its engine compiled, as in wheels for a platform, or in Python alone."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from typing import Final, Literal

from gwctl import __version__

_OF_THE_ENGINE: Final = "gwctl.workers.server"
"""Compiled with the others of the engine, or none is."""

Engine = Literal["compiled", "pure Python"]


def engine() -> Engine:
    """What workers would import now; nothing of the engine is imported for it."""
    spec = find_spec(_OF_THE_ENGINE)
    origin = spec.origin if spec is not None else None
    return "compiled" if (origin or "").endswith(tuple(EXTENSION_SUFFIXES)) else "pure Python"


def description() -> str:
    """As `gwctl --version` says it."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"gwctl {__version__}, engine {engine()}, Python {python}"
