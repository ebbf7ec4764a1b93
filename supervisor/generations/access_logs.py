"""Access log files: opened by the master (which may be root), written by the workers.

Workers inherit the descriptor; after USR1 the master opens the files again (a log rotation
moved them away) and sends the new descriptors over the channels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final

from gwctl.supervisor.service.log_files import LogFileError, open_log

WHAT: Final = "access log"


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
            LogFileError: names the file and the reason.
        """
        opened: dict[str, int] = {}
        for setting in set(settings) - {"off", "stdout"} - self._files.keys():
            try:
                opened[setting] = open_log(setting, WHAT)
            except LogFileError:
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
                fresh = open_log(path, WHAT)
            except LogFileError as error:
                failures.append(str(error))
                continue
            os.dup2(fresh, fd, inheritable=False)
            os.close(fresh)
            reopened[path] = fd
        return reopened, failures
