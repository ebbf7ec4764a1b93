"""How one program tells the next that it is to take over: an environment variable and a descriptor.

``_GWCTL_UPGRADE`` is ``check:FD`` in the child that only reads the state, and ``restore:FD`` in the master
itself after exec(2). It is taken out of the environment before anything else is done, so that nobody
inherits it. ``_GWCTL_UPGRADE_FAILED`` says why the new program could not, when the old one is
executed again.
"""

from __future__ import annotations

import os
from typing import Final

from msgspec import Struct

VARIABLE: Final = "_GWCTL_UPGRADE"
FAILED: Final = "_GWCTL_UPGRADE_FAILED"
CHECK: Final = "check"
RESTORE: Final = "restore"


class Role(Struct, frozen=True):
    """What this process was executed for. ``failure``: the program between could not do it."""

    purpose: str
    fd: int
    failure: str = ""


def role() -> Role | None:
    """What this process was executed for by a running master; None: nothing of the kind. Asked once."""
    value = os.environ.pop(VARIABLE, "")
    failure = os.environ.pop(FAILED, "")
    purpose, _, fd = value.partition(":")
    if purpose not in {CHECK, RESTORE} or not fd.isdecimal():
        return None
    return Role(purpose, int(fd), failure)
