"""How one program tells the next that it is to take over: an environment variable and a descriptor.

``_GWCTL_UPGRADE`` is ``check:FD`` in the child that only reads the state, and ``restore:FD`` in the master
itself after exec(2). It is taken out of the environment before anything else is done, so that nobody
inherits it. ``_GWCTL_UPGRADE_FAILED`` says why the new program could not, when the old one is
executed again.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from gwctl.config.load import Loaded

VARIABLE: Final = "_GWCTL_UPGRADE"
FAILED: Final = "_GWCTL_UPGRADE_FAILED"
CHECK: Final = "check"
RESTORE: Final = "restore"
_REASON_CHARS_MAX: Final = 8000


@dataclass(frozen=True, slots=True)
class Role:
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


def take_over(role: Role, load: Callable[[], Loaded]) -> int:
    """Do what this process was executed for; returns the exit status of the command."""
    if role.purpose == CHECK:
        try:
            from gwctl.supervisor.upgrade.restore import check  # noqa: PLC0415 - inside, so that a failure is caught

            check(role.fd)
        except Exception:  # noqa: BLE001 - told from here on, without the frames of the command line
            os.write(2, traceback.format_exc().encode())
            return 1
        return 0
    try:
        from gwctl.supervisor.upgrade.restore import restore  # noqa: PLC0415

        master = restore(role, load)
    except BaseException:  # noqa: BLE001 - whatever it is, the one that can must be executed
        _execute_rescue(role, traceback.format_exc())
    return master.go_on()


def _execute_rescue(role: Role, reason: str) -> NoReturn:
    """Execute the program that ran before, with the state as it handed it over. Once."""
    import json  # noqa: PLC0415 - of the standard library alone: our own code has just failed

    if role.failure:
        os.write(2, f"gwctl: neither program can take over:\n{role.failure}\n{reason}".encode())
        os._exit(1)
    try:
        data = os.pread(role.fd, os.fstat(role.fd).st_size, 0)
        state = json.loads(data)
        for fd in (role.fd, *state["descriptors"]):
            os.set_inheritable(fd, True)
        path, *arguments = state["command"]["rescue"]
        environment = {VARIABLE: f"{RESTORE}:{role.fd}", FAILED: reason[-_REASON_CHARS_MAX:]}
        os.execve(path, [path, *arguments], {**os.environ, **environment})  # noqa: S606 - that is the point
    except BaseException:  # noqa: BLE001 - see above
        text = f"gwctl: the upgrade failed, and the program before cannot be executed again:\n{reason}"
        os.write(2, f"{text}\n{traceback.format_exc()}".encode())
    os._exit(1)
