"""Files of logs: opened by the master, which may be root, and written by all its processes.

The event log's file is put in the place of stderr. So whatever is written there is found in one place, too:
what an application prints, the stacks of a fatal error, what Python says of itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from gwctl.errors import GwctlError
from gwctl.log import destination
from gwctl.safe_files import open_to_append

STDERR_FD: Final = 2
_MODE: Final = 0o640


class LogFileError(GwctlError):
    """The file of a log could not be opened."""


def open_log(path: str, what: str) -> int:
    """Open ``path`` to append to. Its folder may belong to the user of the workers: see `gwctl.safe_files`.

    Raises:
        LogFileError: Names the file, ``what`` it is, and the reason.
    """
    try:
        return open_to_append(Path(path), _MODE)
    except OSError as error:
        reason = error.strerror
        if error.errno == errno.ENXIO:
            reason = "it is a socket" if Path(path).is_socket() else "it is a pipe that nobody reads"
        elif error.errno == errno.ENOENT:
            reason = f"folder {Path(os.path.realpath(path)).parent} does not exist"
        raise LogFileError(f"cannot write the {what} {path}: {reason}") from None


def put_events(path: str) -> None:
    """Have stderr be the file at ``path``: at the start, and again when it was moved away.

    Raises:
        LogFileError: stderr is what it was.
    """
    fd = open_log(path, "event log")
    os.dup2(fd, STDERR_FD)  # inheritable
    os.close(fd)


class Starter:
    """Who has started the master, and looks at stderr while the event log goes elsewhere.

    It is told where the events are, and of a start that fails.
    """

    def __init__(self, to: str) -> None:
        """Put the file of the setting ``log.to``, if it is one, in the place of stderr.

        Raises:
            LogFileError: It cannot be opened.
        """
        self._to = to
        self._fd = -1
        if not destination.is_word(to):
            self._fd = fcntl.fcntl(STDERR_FD, fcntl.F_DUPFD_CLOEXEC, STDERR_FD + 1)
            put_events(to)
        elif to != destination.STDERR:
            self._fd = STDERR_FD

    def tell(self, text: str) -> None:
        if self._fd >= 0:
            with suppress(OSError):  # nobody looks any more
                os.write(self._fd, f"gwctl: {text}\n".encode("utf-8", "backslashreplace"))

    def leave(self) -> None:
        """Tell where the events are, and let go of its stderr: a service's log may end with it."""
        self.tell(f"pid {os.getpid()} tells what happens to {self._to}")
        if problem := destination.unreachable(self._to):
            self.tell(problem)
        if self._fd > STDERR_FD:
            os.close(self._fd)
        self._fd = -1
