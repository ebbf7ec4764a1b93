"""What uvicorn's parts log becomes lines of the event log.

Only the loggers that they use are touched; `application_logs` sees to those of the application. Called
after the import, because an application's dictConfig may disable loggers that exist.

What Python would write to stderr itself, without a word of which worker it is from, becomes such lines
too: asyncio's records that no handler of the application takes ("Exception in callback"), the
tracebacks of threads, and exceptions that nobody can take. Hooks that the application has set stay.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Final

from gwctl.config.model.settings import PoolSettings
from gwctl.log.event_log import Log
from gwctl.log.json_lines import NOTHING_MORE, More
from gwctl.log.level import Level
from gwctl.workers.app.event_loop import turning
from gwctl.workers.app.interruption import UnraisableHook, resend_dropped
from gwctl.workers.lifecycle.application_logs import (
    ApplicationHandler,
    RootHandler,
    after_import,
    before_import,
    level_of,
)
from gwctl.workers.observe.tracebacks import whole_fault

_LOGGERS = ("uvicorn.error", "gwctl")
REPEATS_MAX: Final = 10
REPEATS_S: Final = 60.0
_KINDS_MAX: Final = 1000
_PYTHONS_OWN = frozenset({"asyncio", "concurrent.futures"})


class _Forward(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        behind = whole_fault(error) if error is not None else None
        more = More(kind="library", logger=record.name, fault=behind)
        self._log.write(level_of(record.levelno), record.getMessage().strip(), more=more)


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


class _Repeats:
    """Lets the first `REPEATS_MAX` of a kind in a minute through.

    A loop whose descriptors an application has closed says so in each of its turns.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._seen: dict[str, int] = {}

    def untold(self, kind: str) -> int | None:
        """How many were not told in the minute that is over; None: nor is this one."""
        now, before = time.monotonic(), 0
        if now - self._since >= REPEATS_S or len(self._seen) > _KINDS_MAX:
            before = max(0, self._seen.get(kind, 0) - REPEATS_MAX)
            self._since = now
            self._seen.clear()
        self._seen[kind] = count = self._seen.get(kind, 0) + 1
        return before if count <= REPEATS_MAX else None


class _LastResort(logging.Handler):
    """For records that no handler takes: asyncio's become lines, the application's are ``taker``'s."""

    def __init__(self, forward: _Forward, taker: logging.Handler | None) -> None:
        super().__init__(taker.level if taker is not None else logging.WARNING)
        self._forward = forward
        self._taker = taker
        self.root: RootHandler | None = None
        """What brings those of the application here that would else find a handler and not be written."""
        self._repeats = _Repeats()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name in _PYTHONS_OWN:
            text, error = record.getMessage(), record.exc_info[1] if record.exc_info else None
            if isinstance(error, SystemExit | KeyboardInterrupt) and threading.get_ident() in turning:
                return  # it comes out of the loop, too
            untold = self._repeats.untold(text.partition("\n")[0] + _shown(error)[:200])
            if untold is not None:
                if untold:
                    more = f" ({untold} more of these in the minute before)"
                    record.msg, record.args = text + more, ()
                self._forward.emit(record)
        elif self._taker is not None:
            self._taker.handle(record)


def take_application_logs(log: Log, settings: PoolSettings) -> None:
    """Before the import: have records that no handler takes become lines."""
    if isinstance(logging.lastResort, _LastResort):
        return
    if not settings.log_application:
        logging.lastResort = _LastResort(_Forward(log), logging.lastResort)
        return
    logging.lastResort = _LastResort(_Forward(log), ApplicationHandler(log))
    logging.lastResort.root = RootHandler(logging.lastResort)
    before_import(settings, logging.lastResort.root)


def sign_tracebacks(log: Log, settings: PoolSettings) -> None:
    """After the import: the same for whatever is left, and for exceptions that nobody took."""
    take_application_logs(log, settings)
    if isinstance(logging.lastResort, _LastResort) and logging.lastResort.root is not None:
        after_import(logging.lastResort.root)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda args: _of_thread(log, args)
    resend_dropped()
    hook = sys.unraisablehook
    if isinstance(hook, UnraisableHook) and hook.others is sys.__unraisablehook__:
        hook.others = lambda args: _unraisable(log, args)


def _of_thread(log: Log, args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "without a name"
    log.error(f"exception in thread {name}", fault=whole_fault(args.exc_value))


def _unraisable(log: Log, args: sys.UnraisableHookArgs) -> None:
    what = args.err_msg or "Exception ignored in"
    text = f"{what}: {_shown(args.object)}" if args.object is not None else what
    more = NOTHING_MORE if args.exc_value is None else More(fault=whole_fault(args.exc_value))
    log.write(Level.WARNING, text, more=more)


def _shown(thing: object) -> str:
    """Never raises, although the object is half gone."""
    try:
        return repr(thing)
    except Exception:  # noqa: BLE001 - of any kind
        return f"<{type(thing).__name__}>"
