"""Why a question to the master has no answer."""

from __future__ import annotations

from gwctl.control.protocol import Failure
from gwctl.errors import ControlError


class AnsweredNoError(ControlError):
    """The master's answer is no; ``failure`` is all of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class SilentError(ControlError):
    """The master has not answered in time. What was asked for may be done all the same."""


class CrowdedError(ControlError):
    """Too many ask already: nothing was sent."""


class GoneError(ControlError):
    """The master has closed the connection, or there was none."""


class OddAnswerError(ControlError):
    """The answer is not what this version of gwctl understands."""
