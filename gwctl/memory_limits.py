"""Too little memory by a limit of the process (setrlimit(2)): how it shows, and in which words it is told.

Python meets it anywhere: in an import, in the middle of a C library, at the start of a thread. So whoever
ends a process looks here first, and a person is told of the limit instead of where it was met. As it must
work with next to no memory, nothing is imported for it.
"""

from __future__ import annotations

import errno
import resource
from typing import Final

_LIMITS: Final = (
    ("RLIMIT_DATA", resource.RLIMIT_DATA, "LimitDATA= in the service unit, ulimit -d in a shell"),
    ("RLIMIT_AS", resource.RLIMIT_AS, "LimitAS= in the service unit, ulimit -v in a shell"),
)
_LEAST: Final = {"RLIMIT_DATA": 24 << 20, "RLIMIT_AS": 44 << 20}
"""With less than this no worker becomes ready, whatever the application."""
_NEEDS: Final = "Each process of gwctl needs about 100 MiB, and what the application needs"
_CAUSES_MAX: Final = 10
_OF_THE_LOADER: Final = ("failed to map segment", "annot allocate memory", "cannot apply additional memory")
"""What dlopen(3) says, in the text of an ImportError."""


def reason(error: BaseException | None) -> str:
    """Why ``error`` came, if it is for want of memory: one line, with what to do; else empty."""
    limits = _limits()
    for _ in range(_CAUSES_MAX):
        if error is None:
            return ""
        if _is_want(error, limited=bool(limits)):
            return f"not enough memory: {limits}. {_NEEDS}" if limits else "not enough memory"
        error = error.__cause__ or error.__context__
    return ""


def too_low() -> str:
    """Why no master can run here; empty when one might."""
    low = [name for name, number, _ in _LIMITS if 0 <= resource.getrlimit(number)[0] < _LEAST[name]]
    return f"not enough memory: {_limits()}. {_NEEDS}" if low else ""


def hint(error: BaseException) -> str:
    """What to add to the text of an application's ``error``: ``. RLIMIT_DATA is ...``, or nothing."""
    limits = _limits()
    return f". {limits}" if limits and reason(error) else ""


def _is_want(error: BaseException, *, limited: bool) -> bool:
    match error:
        case MemoryError():
            return True
        case ImportError():
            return any(text in str(error) for text in _OF_THE_LOADER)
        case OSError(errno=errno.ENOMEM):
            return True
        case RuntimeError():
            return limited and "can't start new thread" in str(error)
        case SystemError():
            return limited  # C code that has not checked what it was given
    return False


def _limits() -> str:
    """Those that are set: ``RLIMIT_DATA is 29 MiB (LimitDATA= ...)``."""
    return " and ".join(
        f"{name} is {soft / (1 << 20):.0f} MiB ({how})"
        for name, number, how in _LIMITS
        if (soft := resource.getrlimit(number)[0]) != resource.RLIM_INFINITY
    )
