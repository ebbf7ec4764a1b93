"""Access log files: opened by the master (which may be root), written by the workers.

Workers inherit the descriptor; after USR1 the master opens the files again (a log rotation
moved them away) and sends the new descriptors over the channels. The folder may belong to the
user of the workers: see `places`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from gwctl.errors import GwctlError
from gwctl.safe_files import open_to_append


class AccessLogError(GwctlError):
    """An access log file could not be opened."""


class AccessLogs:
    """Descriptors by setting: ``off`` is -1, ``stdout`` is 1, anything else a file."""

    def __init__(self, files: Mapping[str, int] | None = None) -> None:
        self._files: dict[str, int] = dict(files or {})

    @property
    def files(self) -> dict[str, int]:
        """The open descriptors by file."""
        return dict(self._files)

    def descriptor(self, setting: str) -> int:
        """The descriptor for a pool's ``access_log``, -1 for none. Opened by `open` before."""
        if setting == "off":
            return -1
        if setting == "stdout":
            return 1
        return self._files[setting]

    def open(self, settings: Iterable[str]) -> None:
        """Open what is not open yet; on failure nothing stays open that was not before.

        Raises:
            AccessLogError: names the file and the reason.
        """
        opened: dict[str, int] = {}
        for setting in set(settings) - {"off", "stdout"} - self._files.keys():
            try:
                opened[setting] = _open(setting)
            except AccessLogError:
                for fd in opened.values():
                    os.close(fd)
                raise
        self._files.update(opened)

    def keep_only(self, settings: Iterable[str]) -> None:
        """Close the files that no pool uses any more."""
        for setting in self._files.keys() - set(settings):
            os.close(self._files.pop(setting))

    def reopen(self) -> tuple[dict[str, int], list[str]]:
        """Open every file again under its name.

        Returns the descriptors by file, and what failed; a file that failed keeps its old one.
        """
        reopened, failures = {}, []
        for path, fd in self._files.items():
            try:
                fresh = _open(path)
            except AccessLogError as error:
                failures.append(str(error))
                continue
            os.dup2(fresh, fd, inheritable=False)
            os.close(fresh)
            reopened[path] = fd
        return reopened, failures


def _open(path: str) -> int:
    try:
        return open_to_append(Path(path), 0o640)
    except OSError as error:
        reason = error.strerror
        if error.errno == errno.ENXIO:
            reason = "it is a socket" if Path(path).is_socket() else "it is a pipe that nobody reads"
        elif error.errno == errno.ENOENT:
            reason = f"folder {Path(os.path.realpath(path)).parent} does not exist"
        raise AccessLogError(f"cannot write the access log {path}: {reason}") from None
