"""Stdin, stdout and stderr of a process that runs an application: kept open, and flushed at its end."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

_STDERR: Final = 2


def hold_open() -> None:
    """Put /dev/null in the place of those that the application has closed.

    The next descriptor to be opened would have that number: a channel or a client would get what is printed.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            os.set_inheritable(fd, True)


def flush_stdio() -> None:
    """Flush what print() has buffered: os._exit does not. Never raises, whatever stands there by now."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except BaseException:  # noqa: BLE001, S112 - closed, gone, or an object of the application's
            continue


class ErrorStream(io.TextIOBase):
    """``wsgi.errors``: writes to stderr, whatever applications do to it.

    One object is every request's. An application that closes it, or what it writes to, as one does who leaves
    ``with`` or drops a TextIOWrapper around its buffer, must not take it from the others.
    """

    def __init__(self) -> None:
        self._stream: Any = sys.stderr  # it may be wrapped by what an application puts there later

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (ValueError, AttributeError):  # closed, detached, or there was none
            if not isinstance(text, str):
                raise TypeError(f"write() argument must be str, not {type(text).__name__}") from None
            os.write(_STDERR, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with suppress(ValueError, AttributeError):
            self._stream.flush()

    def close(self) -> None:
        """Stay open: others write to it too."""
        self.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _STDERR

    def isatty(self) -> bool:
        return os.isatty(_STDERR)

    def __getattr__(self, name: str) -> Any:
        """Have what this is in place of: ``buffer`` and the like."""
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"
