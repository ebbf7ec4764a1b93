"""Taking the main thread out of application code, when its process is to end at once.

A quick stop comes as a signal, in whose handler this is used: whatever of the application is interrupted
ends by an exception, as by Ctrl-C, and its ``finally`` runs. gwctl's own code, and the loop's, are never
interrupted so: they are about to see that they are to end.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Final

from gwctl.workers.observe.tracebacks import is_machinery

_STDLIB: Final = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - compared with file names as they are
_PACKAGES: Final = (_STDLIB + "site-packages" + os.sep, _STDLIB + "dist-packages" + os.sep)


class Interrupted(BaseException):
    """This process ends: raised into what the main thread was doing."""


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
            if _is_application(frame.f_code.co_filename):
                raise Interrupted
            frame = frame.f_back


def _is_application(filename: str) -> bool:
    if filename.startswith(_PACKAGES):
        return not is_machinery(filename)
    return not filename.startswith((_STDLIB, "<frozen ")) and not is_machinery(filename)
