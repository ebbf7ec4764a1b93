"""What the application logs through Python's ``logging`` becomes lines of the event log.

Rules
    - What the application has configured is its own: a record that one of its handlers takes, of its
      logger or of the root, is not written a second time.
    - Nothing that it does about logging is made to fail or to do nothing. So the handler is put at the root
      when the application has been imported, and gives way to `logging.basicConfig`; until then records that
      find no handler come to `logging.lastResort`.
    - What frameworks add of themselves does not count: Flask's default handler (it stands for "nothing is
      configured"), the mail to Django's admins (which is no log), the handlers by which libraries are silent.
    - The levels are the application's: `master.log_level` says how much gwctl tells.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from functools import wraps
from typing import Any, Final

from gwctl import json_text
from gwctl.config.model.settings import PoolSettings
from gwctl.log.event_log import Log
from gwctl.log.json_lines import More
from gwctl.log.level import Level
from gwctl.workers.observe import request_ids
from gwctl.workers.observe.tracebacks import summary, whole_fault

_STANDARD: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
"""The attributes that all records have; others are what the application has added (``extra``)."""
_FLASKS: Final = "[%(asctime)s] %(levelname)s in %(module)s"
_MAIL: Final = "django.utils.log.AdminEmailHandler"


class ApplicationHandler(logging.Handler):
    """Writes records to the event log, with their logger's name."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = _message(record)
        more = More(
            kind="application",
            logger=record.name,
            level="critical" if record.levelno >= logging.CRITICAL else "",
            fault=_fault(record),
            figures=_figures(record) if self._log.has_fields else None,
        )
        if not self._log.json:
            request_id = request_ids.current()
            name = record.name if record.name != logging.root.name else ""
            said = " ".join(filter(None, (name, f"[{request_id}]" if request_id else "")))
            text = f"{said}: {text}" if said else text
        self._log.pass_on(level_of(record.levelno), text, more)


class RootHandler(logging.Handler):
    """The same at the root, for what no other handler takes. ``taker`` gets it."""

    def __init__(self, taker: logging.Handler) -> None:
        super().__init__()
        self._taker = taker

    def emit(self, record: logging.LogRecord) -> None:
        others = [each for each in _handlers_of(record.name) if each is not self]
        takers = [each for each in others if record.levelno >= each.level and each.filter(record)]
        if not others or (takers and all(map(_is_mail, takers))):
            self._taker.emit(record)


def before_import(settings: PoolSettings, handler: RootHandler) -> None:
    """Have the root as the application is to find it; ``handler`` is for where `logging` configures it."""
    logging.root.setLevel(settings.log_application_level.upper())
    original = logging.basicConfig

    @wraps(original)
    def basic_config(**given: Any) -> None:
        if not given and sys._getframe(1).f_globals.get("__name__") == "logging":  # noqa: SLF001 - of logging.info()
            logging.root.addHandler(handler)
            return
        logging.root.removeHandler(handler)  # or it would do nothing
        try:
            original(**given)
        finally:
            if not logging.root.handlers:
                logging.root.addHandler(handler)

    logging.basicConfig = basic_config


def after_import(handler: RootHandler) -> None:
    """Have ``handler`` write what the application does not write itself."""
    if not set(logging.root.handlers) - {handler}:
        _remove_default_of_flask()
        logging.root.addHandler(handler)


def _remove_default_of_flask() -> None:
    """Flask adds its own handler where it finds none at the time when a logger is first used."""
    flask = sys.modules.get("flask.logging")
    default: Any = getattr(flask, "default_handler", None)
    formatter = getattr(default, "formatter", None)
    if formatter is None or not str(getattr(formatter, "_fmt", "")).startswith(
        "[%(asctime)s] %(levelname)s in "
    ):
        return
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.removeHandler(default)


def _handlers_of(name: str) -> Iterator[logging.Handler]:
    """Those that a record of that logger comes to, but for those that do nothing."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        yield from (each for each in logger.handlers if not isinstance(each, logging.NullHandler))
        logger = logger.parent if logger.propagate else None


def _is_mail(handler: logging.Handler) -> bool:
    return any(f"{each.__module__}.{each.__qualname__}" == _MAIL for each in type(handler).__mro__)


# ---- what a record says


def level_of(number: int) -> Level:
    if number >= logging.ERROR:
        return Level.ERROR
    if number >= logging.WARNING:
        return Level.WARNING
    return Level.INFO if number >= logging.INFO else Level.DEBUG


def _message(record: logging.LogRecord) -> str:
    """Never raises: who logs with wrong arguments is not the one who can mend it."""
    try:
        text = record.getMessage().strip()
    except Exception as error:  # noqa: BLE001 - of any kind: it is the application's code
        text = f"{record.msg!r} with arguments that do not fit it: {summary(error)}"
    more = (record.exc_text if not _error(record) else "", record.stack_info)
    return "\n".join([text, *filter(None, more)])


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if isinstance(record.exc_info, tuple) else None


def _fault(record: logging.LogRecord) -> Any:
    error = _error(record)
    return whole_fault(error) if error is not None else None


def _figures(record: logging.LogRecord) -> dict[str, Any] | None:
    """What the application has added, as far as it is data. A request among it would show its query."""
    added = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return {name: value for name, value in added.items() if _is_data(value)} or None


def _is_data(value: Any) -> bool:
    try:
        json_text.encode(value)
    except Exception:  # noqa: BLE001 - of any kind: unknown classes, numbers of any size, circles
        return False
    return True
