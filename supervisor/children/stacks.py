"""The stacks that faulthandler writes in a worker, read and cut down to the application's part.

Cut are the frames of gwctl, of the import system, what a thread begins with, and all that the
main thread was at before it was forked. A thread of which nothing is left waits for work (or
is the event loop). The text is the worker's: anything that does not look as expected is kept
as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from msgspec import Struct, field

import gwctl
from gwctl.ipc.assignment import CURRENT_REQUEST

_THREAD: Final = re.compile(
    r"(Current thread|Thread) 0x([0-9a-f]+)(?: \[(.*)\])? \(most recent call first\):"
)
_CURRENT: Final = "Current thread"
_AFTER_THREADS: Final = ("Extension modules: ", "Current thread's C stack trace", CURRENT_REQUEST)
"""What may follow, when the process dies or when it can say more."""
_REQUEST: Final = re.compile(rf"{CURRENT_REQUEST}(\d+\.\d+) (.*)")
_FRAME: Final = re.compile(r'  File "(.*)", line (?:\d+|\?\?\?) in (.*)')
_THREADING: Final = str(Path("/threading.py"))
_IMPORTLIB: Final = str(Path("/importlib/__init__.py"))
_IDLE: Final = str(Path("/concurrent/futures/thread.py"))
_OURS: Final = tuple(
    {
        str(folder) + os.sep
        for folder in (
            Path(gwctl.__file__).parent,
            Path(gwctl.__file__).resolve().parent,
            Path(__file__).resolve().parents[1],
            Path(__file__).resolve().parents[2] / "workers",
        )
    }
)
_OF_THE_MASTER: Final = tuple(
    {
        str(folder) + os.sep
        for folder in (
            Path(gwctl.__file__).parent / "supervisor",
            Path(gwctl.__file__).parent / "cli",
            Path(__file__).resolve().parents[1],
        )
    }
)


class ThreadStack(Struct):
    """One thread. ``frames`` are the application's, innermost first; empty when it is idle."""

    ident: int
    name: str = ""
    current: bool = False
    """It wrote the dump, or died."""
    main: bool = False
    frames: list[str] = field(default_factory=list)


def read_stacks(text: str) -> list[ThreadStack]:
    """Read the output of faulthandler's dump of all threads."""
    threads: list[ThreadStack] = []
    for line in text.splitlines():
        if line.startswith(_AFTER_THREADS):
            break
        head = _THREAD.fullmatch(line)
        if head is not None:
            threads.append(ThreadStack(int(head[2], 16), head[3] or "", head[1] == _CURRENT))
        elif threads and line.strip() and not threads[-1].main:
            _add(threads[-1], line)
    for thread in threads:
        begun_by_us = all(_THREADING in frame for frame in thread.frames)
        if begun_by_us or _IDLE in thread.frames[0]:
            thread.frames.clear()
    return threads


def read_current(text: str) -> tuple[str, float]:
    """The request that has the worker's loop, and its age in seconds; empty when it could not say."""
    for line in text.splitlines():
        found = _REQUEST.fullmatch(line)
        if found is not None:
            return found[2], float(found[1])
    return "", 0.0


_FATAL: Final = "Fatal Python error: "


def fatal_frames(text: str) -> list[str]:
    """What the thread was at that died; one line if that was not the application's code.

    Before its last words there may be stacks that it was asked for, also late: after it was spared.
    """
    for thread in read_stacks(text[max(0, text.rfind(_FATAL)) :]):
        if thread.current:
            return thread.frames or ["not in the application's code"]
    return []


def _add(thread: ThreadStack, line: str) -> None:
    frame = _FRAME.fullmatch(line)
    if frame is None:
        thread.frames.append(line.strip())
        return
    path = frame[1]
    if path.startswith(_OF_THE_MASTER):
        thread.main = True  # what follows was before the fork
    elif not (path.startswith(_OURS) or _is_machinery(path, frame[2])):
        thread.frames.append(line.strip())


def _is_machinery(path: str, function: str) -> bool:
    if path.endswith(_THREADING):
        return function in {"_bootstrap", "_bootstrap_inner", "run"}
    return path.startswith("<frozen importlib") or path.endswith(_IMPORTLIB)
