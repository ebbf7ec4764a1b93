"""The first exceptions of a worker: a reload that is refused, as too many of its requests failed, shows them.

How it works
    What gwctl itself logs with an exception is told by the log. But frameworks catch what a view raises,
    log it through Python's ``logging`` and answer 500, and handlers that the application has configured
    take such a record. So the factory of records is watched as well: it makes each of them, whoever takes it.

    One is told of for each type and innermost frame, and `COUNT_MAX` in the life of a worker. Then nothing
    is looked at any more. Whoever raises another exception each time costs no more than that.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, Final

from gwctl.ipc.channel import Raised
from gwctl.log.event_log import Log
from gwctl.log.json_lines import Fault
from gwctl.workers.observe.tracebacks import place_of, type_of, whole_fault

COUNT_MAX: Final = 3
CHARACTERS_MAX: Final = 4096
"""Of one traceback."""
MESSAGE_CHARACTERS_MAX: Final = 1024
"""Of that, what comes after the last frame: an exception's message may be a whole document."""
_FRAME: Final = re.compile(r'^ +File ".*", line \d+.*\n(?:    .*\n)*', re.MULTILINE)


class FirstExceptions:
    """Of one worker; exceptions may come from any thread (a race tells of one more)."""

    def __init__(self, tell: Callable[[Raised], None]) -> None:
        self._tell = tell
        self._known: set[tuple[str, str]] = set()

    def watch(self, log: Log) -> None:
        """Be told from now on of what is logged with an exception, as an error or worse."""
        log.fault_logged = self.take
        make = logging.getLogRecordFactory()

        def made(*given: Any, **named: Any) -> logging.LogRecord:
            record = make(*given, **named)
            if record.exc_info and record.levelno >= logging.ERROR and len(self._known) < COUNT_MAX:
                self._take_error(record.exc_info)
            return record

        logging.setLogRecordFactory(made)

    def take(self, fault: Fault) -> None:
        """Tell of an exception, unless one like it was told of, or enough were."""
        kind = fault.type, fault.where
        if kind in self._known or len(self._known) >= COUNT_MAX:
            return
        self._known.add(kind)
        self._tell(Raised(fault.type, fault.where, shortened(fault.stacktrace)))

    def _take_error(self, exc_info: Any) -> None:
        error = exc_info[1] if isinstance(exc_info, tuple) and len(exc_info) > 1 else None
        if isinstance(error, BaseException) and (type_of(error), place_of(error)) not in self._known:
            self.take(whole_fault(error))


def shortened(traceback: str) -> str:
    """At most `CHARACTERS_MAX` of it: the last frames, and how the message begins."""
    if len(traceback) <= CHARACTERS_MAX:
        return traceback
    end = max((found.end() for found in _FRAME.finditer(traceback)), default=0)
    frames, message = traceback[:end], traceback[end:]
    if len(message) > MESSAGE_CHARACTERS_MAX:
        message = f"{message[:MESSAGE_CHARACTERS_MAX]}...\n"
    left = CHARACTERS_MAX - len(message)
    if len(frames) > left:
        frames = frames[-left:]
        frames = "  ...\n" + frames[frames.find("\n") + 1 :]
    return frames + message
