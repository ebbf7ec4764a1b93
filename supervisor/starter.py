"""Who has started a master, and looks at stderr while its event log goes elsewhere.

It is told where the events are, and of a start that fails; then its stderr is let go of, as whoever reads
that may wait for its end.
"""

from __future__ import annotations

import fcntl
import os
import select
from contextlib import suppress
from typing import Final

from gwctl.log import destination
from gwctl.records import AnyRecord
from gwctl.records.master import BindRetried, MasterGaveUp, MasterStopped, PoolsServe, StartFailed

_STDERR: Final = 2


class Starter:
    """To be made before the file of the event log takes the place of stderr."""

    def __init__(self, to: str) -> None:
        """``to`` is the setting ``log.to``."""
        self._to = to
        self._fd = -1
        if to != destination.STDERR:
            self._fd = fcntl.fcntl(_STDERR, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)

    def tell(self, text: str) -> None:
        """Say it, if that is taken at once: a terminal may be stopped, a pipe full."""
        if self._fd < 0:
            return
        line = f"gwctl: {text}".encode("utf-8", "backslashreplace")[: select.PIPE_BUF - 1] + b"\n"
        with suppress(OSError):  # nobody looks any more
            writable = select.poll()
            writable.register(self._fd, select.POLLOUT)
            if writable.poll(0):
                os.write(self._fd, line)

    def begin(self) -> None:
        """Say where the events are."""
        self.tell(f"pid {os.getpid()} tells what happens to {self._to}")
        if problem := destination.unreachable(self._to):
            self.tell(problem)

    def hears(self, record: AnyRecord, text: str) -> bool:
        """Tell what a start is told of; True: it is over."""
        match record:
            case StartFailed() | MasterGaveUp():
                self.tell(text)
            case BindRetried():
                self.tell(text)
                return False
            case PoolsServe() | MasterStopped():
                pass
            case _:
                return False
        self.close()
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
