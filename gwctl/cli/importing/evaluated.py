"""Run in a child process: evaluates a gunicorn.conf.py as gunicorn does, and writes what it says to a
descriptor.

    python -P evaluated.py LOCATION DESCRIPTOR SECONDS

It imports nothing of gwctl, so that the file finds the modules that it would find under gunicorn. What is
written is one JSON object: name to value, with functions and classes by their names.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import ModuleType
from typing import Any

_DEPTH_MAX = 8


def plain(value: Any, depth: int = 0) -> Any:
    """Write a value as JSON has it; what it has not, as ``{"": kind, ...}``."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if depth < _DEPTH_MAX:
        if isinstance(value, Mapping):
            return {str(name): plain(each, depth + 1) for name, each in value.items()}
        if isinstance(value, Sequence | AbstractSet) and not isinstance(value, bytes):
            return [plain(each, depth + 1) for each in value]
    if isinstance(value, type):
        return {"": "class", "name": f"{value.__module__}.{value.__qualname__}"}
    if callable(value):
        code = getattr(value, "__code__", None)
        name = getattr(value, "__qualname__", type(value).__name__)
        return {"": "function", "name": str(name), "line": getattr(code, "co_firstlineno", 0)}
    return {
        "": "object",
        "name": os.fspath(value) if isinstance(value, os.PathLike) else type(value).__qualname__,
    }


def evaluate(location: str) -> dict[str, Any]:
    """What gunicorn's get_config_from_filename and get_config_from_module_name do."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as gunicorn's chdir does
    if location.startswith("python:"):
        return vars(importlib.import_module(location.removeprefix("python:")))
    name = "__config__"
    loader = importlib.machinery.SourceFileLoader(name, location)
    spec = importlib.util.spec_from_file_location(name, location, loader=loader)
    if spec is None or spec.loader is None:
        raise ImportError(location)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return vars(module)


def main(location: str, descriptor: int, seconds: float) -> None:
    """Evaluate, write, and end at once, whatever the file has left running.

    Who started it ends it in time; if that was killed, the alarm does.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    found = evaluate(location)
    names = [name for name, value in found.items() if name[:1] != "_" and not isinstance(value, ModuleType)]
    document = json.dumps({name: plain(found[name]) for name in names}).encode()
    with os.fdopen(descriptor, "wb") as file:
        file.write(document)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
