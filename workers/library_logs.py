"""What uvicorn's parts log becomes lines of the event log.

Only the loggers that they use are touched; the application's own logging is its own. Called
after the import, because an application's dictConfig may disable loggers that exist.
"""

from __future__ import annotations

import logging

from gwctl.log import Level, Log
from gwctl.workers.tracebacks import application_traceback

_LOGGERS = ("uvicorn.error", "gwctl")


class _Forward(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}\n{application_traceback(record.exc_info[1])}"
        self._log.write(_level(record.levelno), text)


def forward_library_logs(log: Log) -> None:
    """Send the libraries' records to ``log``: warnings and errors, all of them at level debug."""
    handler = _Forward(log)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.disabled = False
        logger.propagate = False
        logger.handlers = [handler]
        # Never below DEBUG: uvicorn looks at this number and traces every message when it is small.
        logger.setLevel(logging.DEBUG if log.level <= Level.DEBUG else logging.WARNING)


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return Level.ERROR
    if number >= logging.WARNING:
        return Level.WARNING
    return Level.INFO if number >= logging.INFO else Level.DEBUG
