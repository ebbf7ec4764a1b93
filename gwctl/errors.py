"""What can go wrong, and the exit status that says so.

One small tree. An exception says whose fault it was: everything below `GwctlError` is the
fault of the settings, the application or the machine, and is shown to a person without our
stack. `InvariantViolation` stands apart: it is always a bug in gwctl.
"""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit statuses of the ``gwctl`` command. Part of the public interface."""

    OK = 0
    FAILED = 1
    SETTINGS = 2
    BOOT_FAILED = 3
    APP_NOT_IMPORTED = 4
    INTERRUPTED = 130


class GwctlError(Exception):
    """Base of the errors that a person can mend; never raised itself."""

    exit_status = ExitStatus.FAILED


class BindError(GwctlError):
    """An address could not be bound or an inherited descriptor not be used."""

    def __init__(self, address: str, reason: str, errno: int | None = None) -> None:
        super().__init__(f"cannot listen on {address}: {reason}")
        self.address = address
        self.reason = reason
        self.errno = errno


class AppLoadError(GwctlError):
    """The application could not be imported or is not one we can serve.

    ``traceback`` holds the application's own frames, formatted, without ours;
    empty when the import failed before any of its code ran.
    """

    exit_status = ExitStatus.APP_NOT_IMPORTED

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class BootError(GwctlError):
    """A worker could not be made ready for a reason other than the import.

    ``traceback`` as in `AppLoadError`.
    """

    exit_status = ExitStatus.BOOT_FAILED

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class UpgradeError(GwctlError):
    """The program on disk cannot take over from the one that runs."""


class ControlError(GwctlError):
    """A running master could not be reached or refused the request."""


class InvariantViolation(Exception):  # noqa: N818 - the name is the vocabulary of docs/internals-master.md
    """A bug in gwctl: a state that the rules exclude. Never caused by bad input."""
