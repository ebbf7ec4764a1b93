"""Tracebacks for people: the application's frames, without the machinery that called it.

Left out are the frames of gwctl, of the import system and of the library through which an
application's lifespan is called (uvicorn). Exceptions that led to the one
raised are kept, each treated alike; what is not a frame (a SyntaxError's line and caret,
notes) stays as Python writes it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from traceback import StackSummary, TracebackException, format_exception
from typing import Final

import gwctl
from gwctl.log.json_lines import Fault

TEXT_CHARACTERS_MAX: Final = 200_000
"""The middle of a longer text is cut out: a line of the channel holds at most 1 MiB."""
SUMMARY_CHARACTERS_MAX: Final = 2_000
"""Messages may be whole documents: what a database was sent, or what a service answered."""

_TOLD: Final = "_gwctl_told"
_SOURCES_MAX: Final = 16
_HEADER: Final = "Traceback (most recent call last):\n"
_OURS: Final = tuple(
    {
        str(folder) + os.sep
        for source in (Path(gwctl.__file__), Path(__file__).resolve().parent)
        for folder in (source.parent, source.resolve().parent)
    }
)
_COMPILED: Final = "gwctl/workers/"
"""How the frames of the compiled build name their files."""
_PARTS: Final = tuple(
    os.sep + part.replace("/", os.sep) for part in ("importlib/__init__.py", "uvicorn/lifespan/on.py")
)


def application_traceback(error: BaseException) -> str:
    """Format ``error`` and what led to it with the application's frames only, ending in a newline.

    Never raises, although an exception's own code may (dir(), properties): whoever reports a
    failure must not fail over it.
    """
    try:
        return _format(error)
    except BaseException as second:  # noqa: BLE001 - of any kind: a str() that calls sys.exit()
        return f"  (its traceback cannot be shown: {summary(second)})\n"


def fault(error: BaseException) -> Fault:
    """``error`` for a line of the log, which says ``summary(error)`` already. Never raises."""
    try:
        message = str(error)[:SUMMARY_CHARACTERS_MAX]
    except BaseException:  # noqa: BLE001 - of any kind, as above
        message = ""
    return Fault(type_of(error), message, application_traceback(error), place_of(error))


def whole_fault(error: BaseException) -> Fault:
    """The same, with all frames if none is the application's: then it is a bug of ours or a library's."""
    found = fault(error)
    if not has_application_frames(error):
        found = found._replace(stacktrace="".join(format_exception(error)))
    return found


def type_of(error: BaseException) -> str:
    """As a traceback has it: ``shop.errors.OutOfStock``, ``ValueError``."""
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def place_of(error: BaseException) -> str:
    """The innermost frame that is not machinery: ``/srv/shop/views.py:12``; empty: there is none."""
    place, frame = "", error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if not is_machinery(name):
            place = f"{name}:{frame.tb_lineno}"
        frame = frame.tb_next
    return place


def _format(error: BaseException) -> str:
    report = TracebackException.from_exception(error)
    _strip(report)
    text = "".join(line for line in report.format() if line != _HEADER)
    if len(text) > TEXT_CHARACTERS_MAX:
        half = TEXT_CHARACTERS_MAX // 2
        text = f"{text[:half]}\n  (cut: {len(text) - 2 * half} characters)\n{text[-half:]}"
    return text


def has_application_frames(error: BaseException) -> bool:
    """Tell whether any code that is not machinery had run when ``error`` was raised."""
    frame = error.__traceback__
    while frame is not None:
        if not is_machinery(frame.tb_frame.f_code.co_filename):
            return True
        frame = frame.tb_next
    return False


def summary(error: BaseException) -> str:
    """Name ``error`` in one line: ``ImportError: cannot import name 'x' from 'y'``. Never raises."""
    name = type(error).__name__
    try:
        lines = str(error).strip().splitlines()
    except BaseException:  # noqa: BLE001 - of any kind, as above
        lines = ["(its str() failed)"]
    if not lines:
        return name
    line = lines[0]
    cut = len(line) - SUMMARY_CHARACTERS_MAX
    return (
        f"{name}: {line}" if cut <= 0 else f"{name}: {line[:SUMMARY_CHARACTERS_MAX]} (cut: {cut} characters)"
    )


def _strip(report: TracebackException) -> None:
    """Leave the application's frames, also of what led to it: chains of thousands come of retries."""
    seen: set[int] = set()
    left = [report]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.stack = StackSummary.from_list([each for each in one.stack if not is_machinery(each.filename)])
        linked = [one.__cause__, one.__context__, *(one.exceptions or ())]
        left += [other for other in linked if other is not None]


def is_machinery(filename: str) -> bool:
    """Tell whether code from ``filename`` is none of the application's."""
    return filename.startswith(("<frozen importlib", _COMPILED, *_OURS)) or filename.endswith(_PARTS)


def tell_once(error: BaseException) -> None:
    """Note that what ``error`` is, or comes from, is in the log already."""
    for each in _with_sources(error):
        with contextlib.suppress(Exception):  # an application's own class may refuse it
            setattr(each, _TOLD, True)


def told(error: BaseException) -> bool:
    return getattr(error, _TOLD, None) is True


def _with_sources(error: BaseException) -> list[BaseException]:
    """Return ``error``, what it was raised from, and what it is a group of."""
    found: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left and len(found) < _SOURCES_MAX:
        each = left.pop()
        if each is None or any(each is other for other in found):
            continue
        found.append(each)
        left += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions
    return found
