"""Taking the main thread out of application code, when its process is to end at once.

A quick stop comes as a signal, in whose handler this is used: whatever of the application is interrupted
ends by an exception, as by Ctrl-C, and its ``finally`` runs. gwctl's own code, and the loop's, are never
interrupted so: they are about to see that they are to end.

Where Python takes no exceptions (a finalizer, the callback of a weak reference or of a collection of
garbage, which may run in the midst of any line) it drops this one, and what was to end goes on. Then the
signal is sent again.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final

from gwctl.workers.observe.tracebacks import is_machinery

_STDLIB: Final = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - compared with file names as they are
_PACKAGES: Final = (_STDLIB + "site-packages" + os.sep, _STDLIB + "dist-packages" + os.sep)


_AGAIN_S: Final = 0.001
"""For Python to leave what drops exceptions. If it has not by then, the next one is dropped, and so on."""


class Interrupted(BaseException):
    """This process ends: raised into what the main thread was doing."""


def comes_of_interruption(error: BaseException) -> bool:
    """Tell whether an `Interrupted` has led to ``error``: what catches one may raise another."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, Interrupted):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return False


class UnraisableHook:
    """As ``sys.unraisablehook``: has a signal sent again whose exception was dropped."""

    def __init__(self, others: Callable[[sys.UnraisableHookArgs], object]) -> None:
        self.others = others
        """Takes all other exceptions."""

    def __call__(self, args: sys.UnraisableHookArgs) -> None:
        if issubclass(args.exc_type, Interrupted):
            _send_again()
        else:
            self.others(args)


def resend_dropped() -> None:
    """Have dropped ones sent again. Once more after the import: the application may have its own hook."""
    if not isinstance(sys.unraisablehook, UnraisableHook):
        sys.unraisablehook = UnraisableHook(sys.unraisablehook)


_HOOK: Final = UnraisableHook.__call__.__code__


def _send_again() -> None:
    with suppress(RuntimeError):  # no thread is to be had: the master's next signal has to do
        _thread.start_new_thread(_quit_again, ())


def _quit_again() -> None:
    time.sleep(_AGAIN_S)
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGQUIT)


class Interruption:
    """To be made in the main thread, before any code of the application runs."""

    def __init__(self) -> None:
        self._base: set[FrameType] = set()
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way to the stack
        while frame is not None:
            self._base.add(frame)
            frame = frame.f_back

    def raise_in_application(self) -> None:
        """To be called in a signal's handler: raise if it interrupts code of the application.

        Raises:
            Interrupted: It does.
        """
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as above
        while frame is not None and frame not in self._base:
            if frame.f_code is _HOOK:  # what that raises is dropped as well
                _send_again()
                return
            if _is_application(frame.f_code.co_filename):
                raise Interrupted
            frame = frame.f_back


def _is_application(filename: str) -> bool:
    if filename.startswith(_PACKAGES):
        return not is_machinery(filename)
    return not filename.startswith((_STDLIB, "<frozen ")) and not is_machinery(filename)
