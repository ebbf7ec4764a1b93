"""Stdout and stderr of the commands, as callers may have left them: closed, full, a pipe that nobody reads.

What a command does and how it ends is not a matter of who reads what it prints

    - nobody reads on (``| head -1``): the rest is dropped without a word, the exit status stays;
    - it cannot be written (a full disk): one line on stderr, and 1 instead of 0, because what was asked
      for is not all there. What was asked of a master goes on to its end all the same;
    - what the terminal's characters lack, and names that are no text, are escaped.

It is done below everything that prints, so that no writer has to know. A master has the streams as
Python makes them (`as_they_were`): they are its workers', whose applications shall meet their own errors.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

from gwctl.errors import ExitStatus

_NOBODY_READS: Final = (BrokenPipeError, ConnectionResetError)


class _Descriptor(io.FileIO):
    """Takes whatever is written; ``error`` is the first that was met, and nothing is written after it."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "w", closefd=False)
        self.error: OSError | None = None

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        while self.error is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.error = error
            else:
                if written is not None:
                    return written
                select.select([], [self.fileno()], [])  # somebody has set O_NONBLOCK for all who share it
        return size


class Output:
    """Stands in for `sys.stdout` and `sys.stderr` until `as_they_were`."""

    def __init__(self) -> None:
        self._before = sys.stdout, sys.stderr
        self._stdout = _wrapped(1, sys.stdout)
        self._stderr = _wrapped(2, sys.stderr)
        sys.stdout = _stream(self._stdout, sys.stdout)
        sys.stderr = _stream(self._stderr, sys.stderr, line_buffering=True)

    def as_they_were(self) -> None:
        """Give both back, with what was written so far on its way."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = self._before

    def verdict(self, status: int) -> int:
        """The exit status of a command that ends with ``status``; says what could not be written."""
        if sys.stdout is not None and self._before[0] is not sys.stdout:
            sys.stdout.flush()
        error = self._stdout.error if self._stdout is not None else None
        if error is None or isinstance(error, _NOBODY_READS):
            return status
        os_text = error.strerror or str(error)
        if sys.stderr is not None:
            sys.stderr.write(f"gwctl: cannot write to stdout: {os_text}\n")
            sys.stderr.flush()
        return status or int(ExitStatus.FAILED)


def stdout_descriptor() -> int:
    """Where stdout leads; -1: it is closed, or somebody else's."""
    raw = _raw_stdout()
    return -1 if raw is None else raw.fileno()


def stdout_has_failed() -> bool:
    """Something could not be written: nothing is, from then on. For those that would write without end."""
    raw = _raw_stdout()
    return raw is not None and raw.error is not None


def _raw_stdout() -> _Descriptor | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Descriptor) else None


def _wrapped(fd: int, stream: TextIO | None) -> _Descriptor | None:
    """Of a stream that Python found open on this descriptor; None: it is closed, or somebody else's."""
    try:
        return _Descriptor(fd) if stream is not None and stream.fileno() == fd else None
    except (OSError, ValueError):
        return None


def _stream(descriptor: _Descriptor | None, before: TextIO | None, *, line_buffering: bool = False) -> TextIO:
    if descriptor is None:
        # Closed: only the exit status is asked for.
        return before if before is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    return io.TextIOWrapper(
        io.BufferedWriter(descriptor),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=line_buffering or descriptor.isatty(),
    )


_GIVEN_BACK: list[Callable[[], None]] = []


def as_they_were() -> None:
    """Before a master: see the module."""
    while _GIVEN_BACK:
        _GIVEN_BACK.pop()()


def run(command: Callable[[], object]) -> None:
    """Call what ends with SystemExit, with streams that bear everything."""
    output = Output()
    _GIVEN_BACK.append(output.as_they_were)
    try:
        command()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise SystemExit(output.verdict(status)) from None
