"""Working directory, import path and environment variables of a worker, each read afresh.

``chdir`` is resolved through its links at every boot and the resolved folder goes on
sys.path: when ``/srv/shop/current`` is pointed at a new release, workers that are already
running keep importing from the release they started with, and new ones start in the new one.

sys.path is: the resolved ``chdir``, the folders of ``pythonpath`` (relative ones are under
``chdir``), then what Python had. Variables: the master's, HOME and its kin for a changed user,
then ``env_file``, then ``env``; later wins. TZ and the locale of characters take effect at once.
"""

from __future__ import annotations

import importlib
import locale
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from gwctl.config import env_file
from gwctl.config.model.settings import PoolSettings
from gwctl.config.problems import ConfigError
from gwctl.config.variables import LOCALE
from gwctl.errors import BootError

_TIMER_SLACK: Final = Path("/proc/self/timerslack_ns")
_SLACK_NS: Final = 1000


def have_exact_timers() -> None:
    """Have sleeps and waits end when their time is over, not up to 50 microseconds later.

    The kernel lets timers be that late, to wake up less often. A call that sleeps for 5 ms, or waits as long
    for something else, took 1 % longer. Threads and children that come later have the same (`prctl(2)`,
    PR_SET_TIMERSLACK). Where this cannot be written (no Linux, /proc not mounted) all is as it was.
    """
    with suppress(OSError):
        _TIMER_SLACK.write_text(str(_SLACK_NS), "ascii")


def enter_folder(settings: PoolSettings) -> str:
    """Change into ``chdir`` and put it and ``pythonpath`` in front of sys.path; return the folder.

    Raises:
        BootError: It is not there, is no folder or may not be entered.
    """
    named = settings.chdir or "."
    try:
        folder = os.path.realpath(named, strict=True)
        os.chdir(folder)
    except OSError as error:
        raise BootError(f"cannot change to the working directory {named}: {error.strerror}") from None
    front = [folder, *(str(Path(folder, path).resolve()) for path in settings.pythonpath)]
    sys.path[:] = [*front, *(entry for entry in sys.path if entry and entry not in front)]
    importlib.invalidate_caches()  # what the master has cached of these folders may be days old
    return folder


def set_variables(settings: PoolSettings) -> None:
    """Apply ``env_file``, then ``env``, to this process.

    Raises:
        BootError: The file cannot be read or has a line that is no assignment.
    """
    before = {name: os.environ.get(name) for name in ("TZ", *LOCALE)}
    if settings.env_file:
        try:
            os.environ.update(env_file.read(settings.env_file))
        except ConfigError as error:
            raise BootError(str(error)) from None
    os.environ.update(settings.env)
    changed = {name for name, value in before.items() if os.environ.get(name) != value}
    if "TZ" in changed:
        time.tzset()  # the C library has read it long ago
    if not changed.isdisjoint(LOCALE):
        with suppress(locale.Error):  # the machine has no such locale: told with the settings
            locale.setlocale(locale.LC_CTYPE, "")  # what Python does when it starts
