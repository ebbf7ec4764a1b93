"""A command in a terminal of its own, as a person sees it: what stands on the screen, and keys that are pressed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyte

from tests.support import started
from tests.support.wait import DEADLINE_S

OWN_TERMINAL = "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"


class Screen:
    """Runs gwctl, or ``command``, in a window of ``columns`` and ``rows``; use it in a ``with`` statement."""

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        columns: int = 80,
        rows: int = 24,
        *,
        command: Sequence[str] = (),
    ) -> None:
        self.raw = b""
        """All that was ever written."""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._window, self._inside = pty.openpty()
        self._set_size(columns, rows)
        self.before = self.settings
        self.process = started.start(
            arguments,
            command=command,
            prelude=OWN_TERMINAL,
            stdin=self._inside,
            stdout=self._inside,
            stderr=self._inside,
            environ={"TERM": "xterm-256color", **environ, "PYTHONPATH": str(started.ROOT)},
            cwd=Path.cwd(),
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        for fd in (self._window, self._inside):
            with contextlib.suppress(OSError):
                os.close(fd)

    @property
    def settings(self) -> list[Any]:
        """Those of the terminal: echo, what Enter ends, and so on."""
        return termios.tcgetattr(self._inside)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int) -> None:
        self._screen.resize(rows, columns)
        self._set_size(columns, rows)
        self.process.send_signal(signal.SIGWINCH)

    def close_window(self) -> None:
        for fd in (self._inside, self._window):
            os.close(fd)
        self._inside = self._window = -1  # their numbers may be another file's by the end

    def press(self, keys: str) -> None:
        os.write(self._window, keys.encode())

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def has_cursor(self) -> bool:
        return not self._screen.cursor.hidden

    def read(self, timeout_s: float = 0.05) -> bool:
        """Take what is written within ``timeout_s``; False: there was nothing."""
        if not select.select([self._window], [], [], timeout_s)[0]:
            return False
        try:
            data = os.read(self._window, 65536)
        except OSError:
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def wait_for(self, wanted: str, *, gone: bool = False) -> None:
        """Until ``wanted`` stands on the screen, or no longer does."""
        end = time.monotonic() + DEADLINE_S
        while (wanted in self.text) is gone:
            assert time.monotonic() < end, f"{wanted!r} was waited for; on the screen was\n{self.text}"
            self.read()

    def wait_for_last_line(self, beginning: str) -> None:
        """Until the picture is drawn to its end: it comes in parts."""
        end = time.monotonic() + DEADLINE_S
        while not self.lines[-1].startswith(beginning):
            assert time.monotonic() < end, f"{beginning!r} was waited for; on the screen was\n{self.text}"
            self.read()

    def wait_for_end(self) -> int:
        end = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end; on the screen is\n{self.text}"
            self.read()
        while self.read(0):
            pass
        return self.process.wait()
