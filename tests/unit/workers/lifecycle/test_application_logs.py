"""Who writes a record of the application's: one of its handlers, or the event log, and never both."""

from __future__ import annotations

import json
import logging
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gwctl.config.model.settings import PoolSettings
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.lifecycle.application_logs import (
    ApplicationHandler,
    RootHandler,
    after_import,
    before_import,
)


class Logging:
    """The root as Python has it at a start, with ours at it, and what has been written."""

    def __init__(self) -> None:
        self.read, write = os.pipe()
        os.set_blocking(self.read, False)
        self.log = Log(write, Level.ERROR, "web.0 g1", json=True)
        self.write = write
        self.handler = RootHandler(ApplicationHandler(self.log))

    def alone(self) -> None:
        """Take pytest's own handlers away, which are put there when a test begins."""
        root = logging.root
        root.handlers[:] = [each for each in root.handlers if not type(each).__module__.startswith("_pytest")]

    def imported(self) -> None:
        self.alone()
        after_import(self.handler)

    def lines(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in os.read(self.read, 1 << 16).splitlines()]
        except BlockingIOError:
            return []

    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines()]


class Kept(logging.Handler):
    def __init__(self, level: int = 0) -> None:
        super().__init__(level)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record.getMessage())


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[Logging]:
    root = logging.root
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    monkeypatch.setattr(logging, "basicConfig", logging.basicConfig)
    made = Logging()
    before_import(PoolSettings("a:b"), made.handler)
    yield made
    root.handlers[:] = handlers
    root.setLevel(level)
    for fd in (made.read, made.write):
        os.close(fd)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("shop.unit")
    yield made
    made.handlers[:] = []
    made.propagate = True
    made.setLevel(logging.NOTSET)


def test_levels_are_the_applications_and_not_those_of_the_event_log(
    ours: Logging, logger: logging.Logger
) -> None:
    ours.imported()
    logger.info("below the root's")
    logger.setLevel(logging.DEBUG)
    logger.debug("its own")
    assert [(each["text"], each["level"]) for each in ours.lines()] == [("its own", "debug")]


def test_a_setting_gives_the_root_its_level(ours: Logging, logger: logging.Logger) -> None:
    before_import(msgspec.structs.replace(PoolSettings("a:b"), log_application_level="info"), ours.handler)
    ours.imported()
    logger.info("news")
    assert ours.texts() == ["news"]


def test_a_handler_that_takes_it_is_enough(ours: Logging, logger: logging.Logger) -> None:
    ours.imported()
    logger.addHandler(kept := Kept())
    logger.warning("once")
    assert (kept.records, ours.texts()) == (["once"], [])


def test_what_its_handlers_leave_out_by_level_is_left_out(ours: Logging, logger: logging.Logger) -> None:
    ours.imported()
    logger.addHandler(Kept(logging.ERROR))
    logger.warning("not wanted")
    assert ours.texts() == []


def test_without_propagation_it_is_not_the_roots(ours: Logging, logger: logging.Logger) -> None:
    ours.imported()
    logger.propagate = False
    logger.addHandler(Kept())
    logger.warning("its own")
    assert ours.texts() == []


def test_a_handler_at_the_root_before_or_after_the_import(ours: Logging, logger: logging.Logger) -> None:
    ours.alone()
    logging.root.addHandler(kept := Kept())
    ours.imported()
    logger.warning("one")
    logging.root.removeHandler(kept)
    ours.imported()
    logger.warning("two")
    logging.root.addHandler(kept)
    logger.warning("three")
    assert (kept.records, ours.texts()) == (["one", "three"], ["two"])


def test_silent_handlers_of_libraries_do_not_count(ours: Logging, logger: logging.Logger) -> None:
    ours.imported()
    logger.addHandler(logging.NullHandler())
    logger.warning("retrying")
    assert ours.texts() == ["retrying"]


def test_mail_to_admins_is_no_log(ours: Logging, logger: logging.Logger) -> None:
    """Django without LOGGING: errors are mailed, what is less is not told."""
    from django.utils.log import AdminEmailHandler

    class Mail(AdminEmailHandler):
        def __init__(self) -> None:
            logging.Handler.__init__(self, logging.ERROR)

        def emit(self, record: logging.LogRecord) -> None:
            pass

    ours.imported()
    logger.addHandler(Mail())
    logger.warning("Not Found")
    logger.error("Internal Server Error")
    assert ours.texts() == ["Internal Server Error"]


@pytest.mark.parametrize("changed", [False, True])
def test_flasks_default_handler_is_nobodys_choice(
    ours: Logging, logger: logging.Logger, changed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is added when app.logger is used in an import. With a format of the application's it is its own."""
    handler = Kept()
    handler.setFormatter(
        logging.Formatter(
            "mine: %(message)s" if changed else "[%(asctime)s] %(levelname)s in %(module)s: %(message)s"
        )
    )
    module = types.ModuleType("flask.logging")
    module.default_handler = handler  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flask.logging", module)
    logger.addHandler(handler)
    ours.imported()
    logger.error("Exception on /")
    assert (handler.records, ours.texts()) == (
        (["Exception on /"], []) if changed else ([], ["Exception on /"])
    )


def test_basic_config_finds_a_root_without_handlers(
    ours: Logging, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    ours.imported()
    logging.basicConfig(format="mine: %(message)s")
    logger.warning("told")
    assert ours.texts() == []
    assert capsys.readouterr().err == "mine: told\n"


def test_a_basic_config_that_fails_leaves_ours(ours: Logging, logger: logging.Logger) -> None:
    ours.imported()
    with pytest.raises(ValueError, match="together"):
        logging.basicConfig(stream=sys.stderr, filename="log")
    logger.warning("told")
    assert ours.texts() == ["told"]


def test_what_logging_configures_by_itself_is_ours(ours: Logging) -> None:
    ours.alone()
    logging.warning("at the root")  # noqa: LOG015
    (line,) = ours.lines()
    assert (line["text"], line["logger"]) == ("at the root", "root")


@pytest.mark.parametrize("value", [object(), 1 << 80, {1: object()}, [float("nan")], "\ud800", b"\xff"])
def test_nothing_that_is_added_breaks_a_line(ours: Logging, logger: logging.Logger, value: Any) -> None:
    ours.imported()
    logger.warning("odd", extra={"value": value, "left": 3})
    (line,) = ours.lines()
    assert line["figures"]["left"] == 3


def test_what_comes_from_a_queue_keeps_its_traceback(ours: Logging, logger: logging.Logger) -> None:
    ours.imported()
    record = logger.makeRecord("shop.unit", logging.ERROR, "", 0, "failed", (), None)
    record.exc_text = "Traceback\nKeyError"
    record.stack_info = "Stack"
    logger.handle(record)
    assert ours.texts() == ["failed\nTraceback\nKeyError\nStack"]
