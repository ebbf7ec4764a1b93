"""The terminal of ``gwctl top``: another screen, keys as they are pressed, and all as it was afterwards.

Whatever ends the command gives the terminal back first: an exception, Ctrl-C, TERM, HUP. Ctrl-Z gives it back
for as long as the command is stopped. Who is killed by SIGKILL leaves it to ``reset``.

A signal's handler writes a byte to a pipe (`signal.set_wakeup_fd`), on which the loop waits beside everything
else; TERM and HUP end it by an exception wherever it is.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final, Self

from gwctl.cli.top.keys import keys
from gwctl.cli.top.picture import Line

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # another screen, no cursor, no breaking of lines
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l"
_LOOKS: Final = {"bold": "1", "dim": "2", "chosen": "7", "good": "32", "warn": "33", "bad": "31"}
_COLOURS: Final = frozenset({"good", "warn", "bad"})
_ESC_S: Final = 0.05
"""What follows an Esc sooner belongs to the same key."""
_SIZE: Final = (80, 24)


class EndedError(Exception):
    """A signal ends the command: ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Terminal:
    """Standard input and output, which are a terminal; use it in a ``with`` statement.

    ``resized`` is set when everything has to be drawn anew.
    """

    def __init__(self) -> None:
        self.resized = True
        self.gone = False
        """Nobody sees what is written."""
        self._mode: list[Any] | None = None
        self._text = ""
        self._wake, self._woken = os.pipe()
        self._handlers: dict[int, Any] = {}
        self._wakeup = -1
        self._colour = "NO_COLOR" not in os.environ
        self.blocks = can_show("▁█░", sys.stdout.encoding)
        """It has characters for bars."""

    def __enter__(self) -> Self:
        sys.stdout.flush()
        for fd in (self._wake, self._woken):
            os.set_blocking(fd, False)
        self._wakeup = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        ours: dict[int, Callable[[int, FrameType | None], None]] = {
            signal.SIGTERM: self._end,
            signal.SIGHUP: self._end,
            signal.SIGTSTP: self._stop,
            signal.SIGCONT: self._go_on,
            signal.SIGWINCH: self._resize,
        }
        for number, handler in ours.items():
            before = signal.getsignal(number)
            if number == signal.SIGHUP and before is signal.SIG_IGN:
                continue  # nohup
            self._handlers[number] = before
            signal.signal(number, handler)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            for number, before in self._handlers.items():
                signal.signal(number, before)
        finally:
            self._give_back()
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._wake)
        os.close(self._woken)

    # ---- signals

    def _end(self, number: int, _frame: FrameType | None) -> None:
        raise EndedError(number)

    def _resize(self, _number: int, _frame: FrameType | None) -> None:
        self.resized = True

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        self._take()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """Stop as everybody does, with the terminal as it was; go on when the shell says so."""
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._stop)
        self._take()

    # ---- its state

    def _take(self) -> None:
        try:
            if self._mode is None:
                self._mode = termios.tcgetattr(0)
            tty.setcbreak(0, termios.TCSADRAIN)
        except termios.error:  # the window was closed, of which HUP and CONT come together
            self.gone = True
            return
        self._write(_ENTER)
        self.resized = True

    def _give_back(self) -> None:
        if self._mode is None:
            return
        self._write(_LEAVE)
        with suppress(termios.error):  # it was closed
            termios.tcsetattr(0, termios.TCSADRAIN, self._mode)
        self._mode = None

    def _write(self, text: str) -> None:
        """Past `sys.stdout`, which a signal's handler must not use while it is in use."""
        data = text.encode(sys.stdout.encoding, "backslashreplace")
        while data and not self.gone:
            try:
                data = data[os.write(1, data) :]
            except BlockingIOError:  # somebody has set O_NONBLOCK for all who share it
                select.select([], [1], [])
            except OSError:
                self.gone = True

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            columns, rows = os.get_terminal_size(1)
        except OSError:
            return _SIZE
        return columns or _SIZE[0], rows or _SIZE[1]

    # ---- in and out

    def draw(self, lines: Sequence[Line]) -> None:
        """Show ``lines`` from the top on; what stood there is overwritten, so that nothing flickers."""
        self.resized = False
        drawn = "\x1b[K\r\n".join(_coloured(line, colour=self._colour) for line in lines)
        self._write(f"\x1b[H{drawn}\x1b[K\x1b[J")

    def wait(self, others: Sequence[int], timeout_s: float) -> tuple[list[str], bool]:
        """Wait for keys, a signal or ``others``; return the keys, and whether there will be more."""
        ready, _, _ = select.select([0, self._wake, *others], [], [], max(0.0, timeout_s))
        if self._wake in ready:
            with suppress(BlockingIOError):
                while os.read(self._wake, 512):
                    pass
        if 0 not in ready:
            return [], True
        if not self._read():
            return [], False
        if keys(self._text, ended=False)[1] and select.select([0], [], [], _ESC_S)[0]:
            self._read()
        found, _ = keys(self._text, ended=True)
        self._text = ""
        return found, True

    def _read(self) -> bool:
        try:
            data = os.read(0, 4096)
        except BlockingIOError:
            return True
        except OSError:
            return False  # it was closed
        self._text += data.decode("utf-8", "replace")
        return bool(data)


def can_show(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _coloured(line: Line, *, colour: bool) -> str:
    """The text with its marks as sequences of the terminal; later marks lie on those before them."""
    styles = [""] * len(line.text)
    for start, end, how in line.marks:
        if colour or how not in _COLOURS:
            styles[start:end] = [_LOOKS[how]] * (min(end, len(styles)) - start)
    text, last = "", ""
    for char, style in zip(line.text, styles, strict=True):
        if style != last:
            text += f"\x1b[0;{style}m" if style else "\x1b[0m"
            last = style
        text += char
    return text + ("\x1b[0m" if last else "")
