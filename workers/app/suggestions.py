"""Near names for a module or an attribute that is not there: read from disk, never imported."""

from __future__ import annotations

import difflib
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

_NAMES_SHOWN_MAX: Final = 3


def for_module(name: str, missing: str) -> str:
    """Complete "no module named MISSING." with what may have been meant."""
    parent, _, wanted = missing.rpartition(".")
    folders = _folders_of(parent)
    if parent and not folders:
        return (
            f" {parent} is a module, not a package. Did you mean {parent}:{name.removeprefix(parent + '.')}?"
        )
    modules = {module: path for folder in reversed(folders) for module, path in _modules_in(folder)}
    if not parent:  # nobody's application is in the standard library
        modules = {module: path for module, path in modules.items() if module not in sys.stdlib_module_names}
    near = difflib.get_close_matches(wanted, modules, n=1, cutoff=0.6)
    if near:
        meant = ".".join(filter(None, (parent, near[0]))) + name.removeprefix(missing)
        return f" There is {_short(modules[near[0]])}: did you mean {meant}?"
    if parent:
        there = ", ".join(sorted(modules)[:_NAMES_SHOWN_MAX])
        return f" {parent} has {there}." if there else ""
    return f" Looked in {Path.cwd()} and the rest of sys.path; `chdir` and `pythonpath` set where."


def for_attribute(thing: Any, name: str, reached: str) -> str:
    """Complete "X has no attribute NAME" with the nearest names, or the file that was looked at."""
    names = [other for other in dir(thing) if not other.startswith("_")]
    near = difflib.get_close_matches(name, names, n=_NAMES_SHOWN_MAX, cutoff=0.5)
    near = near or [other for other in names if other.startswith(name)][:_NAMES_SHOWN_MAX]
    if near:
        return f". Did you mean {' or '.join(reached + other for other in near)}?"
    return place_of(thing) if isinstance(thing, types.ModuleType) else ""


def place_of(module: types.ModuleType) -> str:
    """Say which file was looked at: with two modules of a name it is the other one that was meant.

    Of a package it is often the module inside.
    """
    for folder in getattr(module, "__path__", ()):
        inside = dict(_modules_in(folder))
        for name in ("wsgi", "asgi"):
            if name in inside:
                return f". There is {_short(inside[name])}: did you mean {module.__name__}.{name}?"
    return f" (looked in {_short(module.__file__)})" if getattr(module, "__file__", None) else ""


def _folders_of(parent: str) -> list[str]:
    """List the folders that may hold modules of ``parent``; empty when it is no package."""
    if not parent:
        return [entry or str(Path.cwd()) for entry in sys.path]
    module = sys.modules.get(parent)
    return list(getattr(module, "__path__", ())) if module is not None else []


def _modules_in(folder: str) -> Iterator[tuple[str, str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # sys.path may name what is not there
    for entry in entries:
        stem, dot, suffix = entry.name.partition(".")
        package = not dot and entry.is_dir() and not stem.startswith("__")
        if stem.isidentifier() and (suffix == "py" or package):
            yield stem, entry.path


def _short(path: str | None) -> str:
    relative = os.path.relpath(path or "")
    return relative if not relative.startswith("..") else str(path)
