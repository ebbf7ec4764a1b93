"""A gunicorn.conf.py, evaluated in a child process: its values, with the lines that they stand on.

It is Python, and gunicorn runs it, too. Here it runs with the environment of this command, in the folder
that gunicorn would be in, for `TIME_MAX_S` at most, and what it prints goes to nobody. All processes of its
session end with it.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from gwctl.cli.importing import evaluated
from gwctl.cli.importing.found import NotImported
from gwctl.config.foreign import gunicorn
from gwctl.config.foreign.translation import Given

TIME_MAX_S: Final = 20.0
_SPARE_S: Final = 5.0
_BYTES_MAX: Final = 4 << 20
_SAID_LINES_MAX: Final = 12
_SHOWN_CHARS_MAX: Final = 60


def settings(
    location: str, shown: str, folder: Path, environ: Mapping[str, str], *, time_max_s: float = TIME_MAX_S
) -> list[Given]:
    """Read what it says of gunicorn's settings; names that gunicorn does not know are left out, as there.

    Args:
        location: A path, below ``folder`` if it is relative, or ``python:MODULE``.
        shown: What comments and messages call it.
        folder: Where gunicorn would be started.
        environ: Its whole environment.
        time_max_s: How long it may take.

    Raises:
        NotImported: It cannot be read, raises, or takes too long; with what it said.
    """
    values = _run(location, shown, folder, environ, time_max_s)
    lines = {} if location.startswith("python:") else _lines(folder / location)
    known = gunicorn.SERVER.by_name
    found = []
    for name, value in values.items():
        option = known.get(name)
        if option is None or (value is None and not option.hook):
            continue
        number, said = lines.get(name, (0, ""))
        place = f"{shown}:{number}" if number else shown
        named = isinstance(value, dict) and bool(value.get(""))
        meant = value["name"] if named else value
        origin = f"{place} {said or f'{name} = {meant}'}"
        found.append(Given(option, meant, _short(origin)))
    return found


def _run(
    location: str, shown: str, folder: Path, environ: Mapping[str, str], time_max_s: float
) -> dict[str, Any]:
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as said, os.fdopen(reading, "rb", buffering=0) as result:
        try:
            child = subprocess.Popen(  # noqa: S603 - gunicorn runs it, too: see the module
                [
                    sys.executable,
                    "-P",
                    str(evaluated.__file__),
                    location,
                    str(writing),
                    str(time_max_s + _SPARE_S),
                ],
                cwd=folder,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(writing,),
                start_new_session=True,
            )
        except OSError as error:
            raise NotImported(f"cannot evaluate {shown}: {error.strerror}") from None
        finally:
            os.close(writing)
        try:
            document = _read(result, time.monotonic() + time_max_s)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        return _judged(document, shown, said, time_max_s)


def _read(result: IO[bytes], deadline: float) -> bytes | None:
    """All that is written; None: it took too long, or wrote too much."""
    document = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or len(document) > _BYTES_MAX:
            return None
        ready, _, _ = select.select([result], [], [], left)
        if ready:
            block = os.read(result.fileno(), 1 << 16)
            if not block:
                return document
            document += block


def _judged(document: bytes | None, shown: str, said: IO[bytes], time_max_s: float) -> dict[str, Any]:
    if document is None:
        raise NotImported(
            f"{shown} took longer than {time_max_s:g} s to evaluate, and was ended{_said(said)}"
        )
    try:
        values = json.loads(document)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise NotImported(f"{shown} cannot be evaluated{_said(said)}")
    return values


def _said(file: IO[bytes]) -> str:
    """The last of what it printed, without the frames that are ours."""
    file.seek(0)
    text = file.read(1 << 20).decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip() and "frozen importlib" not in line]
    shown: list[str] = []
    skipping = False
    for line in lines:
        if line.lstrip().startswith("File "):
            skipping = evaluated.__file__ in line
        if not skipping or not line.startswith(" "):
            shown.append("".join(each if each.isprintable() else "?" for each in line))
            skipping = skipping and line.startswith(" ")
    return "".join(f"\n  {line}" for line in shown[-_SAID_LINES_MAX:])


def _lines(path: Path) -> dict[str, tuple[int, str]]:
    """Where each name is assigned last, and its statement, as far as reading tells."""
    try:
        text = path.read_text("utf-8")
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError):
        return {}
    found: dict[str, tuple[int, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            said = " ".join((ast.get_source_segment(text, node) or "").split())
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = node.lineno, said
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node.lineno, " ".join((ast.get_source_segment(text, node) or "").split())
        elif isinstance(node, ast.FunctionDef):
            found[node.name] = node.lineno, f"def {node.name}"
    return found


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS_MAX + 40 else f"{text[: _SHOWN_CHARS_MAX + 37]}..."
