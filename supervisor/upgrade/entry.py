"""What a program does that was executed to take over from a running master: check the state, or restore it.

Should it fail, the program before is executed again, by code that needs nothing of gwctl's but this.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from gwctl.supervisor.upgrade.role import CHECK, FAILED, RESTORE, VARIABLE, Role

if TYPE_CHECKING:
    from gwctl.config.load import Loaded

_REASON_CHARS_MAX: Final = 8000


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
