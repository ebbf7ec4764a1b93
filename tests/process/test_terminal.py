"""A master in the foreground of a terminal ends with it; elsewhere a HUP is a reload, also after that."""

from __future__ import annotations

import os
import pty
import signal
import sys

from gwctl.supervisor.service.terminal import Terminal
from tests.support.server import GwctlServer

# Makes the terminal on standard input the controlling one of its session, and becomes gwctl.
IN_FOREGROUND = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "gwctl", *sys.argv[1:]])
"""


class InTerminal(GwctlServer):
    """Its standard input is a terminal, which is closed with ``window``."""

    def __init__(self, app: str, **options) -> None:
        super().__init__(app, command=(sys.executable, "-c", IN_FOREGROUND), **options)
        self.window, self.stdin = pty.openpty()

    def close_window(self) -> None:
        os.close(self.window)
        self.window = -1

    def destroy(self) -> None:
        super().destroy()
        os.close(self.stdin)
        if self.window >= 0:
            os.close(self.window)


def test_closing_the_terminal_stops_gracefully() -> None:
    with InTerminal("wsgi_bare:application", worker="sync") as server:
        server.close_window()
        assert server.wait_for_exit() == 0
        assert "stopping (its terminal was closed): 1 worker finishes" in server.log
        assert "reload" not in server.log


def test_a_hup_in_a_terminal_that_is_open_is_a_reload() -> None:
    with InTerminal("wsgi_bare:application", worker="sync", reload={"settle_s": 0.05}) as server:
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"adopted generation 2\b")


def test_a_hup_long_after_the_terminal_was_closed_is_not_its() -> None:
    """The shell had disowned it: nobody sent a HUP when the window was closed."""
    window, stdin = pty.openpty()
    terminal = Terminal(stdin)
    assert not terminal.was_closed(10.0)
    os.close(window)
    terminal.check(15.0)
    assert terminal.was_closed(15.9)
    assert not terminal.was_closed(17.0)
    os.close(stdin)


def test_what_is_no_terminal_is_never_closed() -> None:
    read, write = os.pipe()
    terminal = Terminal(read)
    os.close(write)
    os.close(read)
    assert not terminal.was_closed(10.0)
