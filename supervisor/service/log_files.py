"""Files of logs: opened by the master, which may be root, and written by all its processes.

The event log's file is put in the place of stderr. So whatever is written there is found in one place, too:
what an application prints, the stacks of a fatal error, what Python says of itself.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from gwctl.errors import GwctlError
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
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # applications would find stderr not blocking
            raise LogFileError(f"cannot write the event log {path}: it is no file")
        os.dup2(fd, STDERR_FD)  # inheritable
    finally:
        os.close(fd)
