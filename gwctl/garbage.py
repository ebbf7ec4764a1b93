"""When Python looks for garbage: rarely while gwctl starts, as usual in what then runs, and not at its end.

A start makes thirty thousand objects that are there to stay: modules, classes, functions. Looking through
them a hundred times meanwhile took one part in fifteen of it, and looking through them all before the process
ends took a fifth of a command's time.
"""

from __future__ import annotations

import gc
from typing import Final

_USUAL: Final = gc.get_threshold()
_RARE_OBJECTS: Final = 20_000
"""So few that a command which runs on, like ``gwctl top``, leaves no more than 2 MiB of garbage about."""


def collect_rarely() -> None:
    gc.set_threshold(_RARE_OBJECTS, *_USUAL[1:])


def collect_as_usual() -> None:
    gc.set_threshold(*_USUAL)


def leave_to_the_kernel() -> None:
    """Have the end of the interpreter look for no garbage in what is there now; it does all else."""
    gc.freeze()
