"""What a worker tells of the exceptions of its application: the first of each kind, few, and short."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gwctl.ipc.channel import Raised
from gwctl.log.event_log import Log
from gwctl.log.json_lines import Fault
from gwctl.workers.observe.first_exceptions import (
    CHARACTERS_MAX,
    COUNT_MAX,
    MESSAGE_CHARACTERS_MAX,
    FirstExceptions,
    shortened,
)
from gwctl.workers.observe.tracebacks import fault

FRAME = (
    '  File "/srv/shop/views.py", line 12, in price\n    return taxes[country]\n           ~~~~~^^^^^^^^^\n'
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    yield Log(fd)
    os.close(fd)


@pytest.fixture
def told(log: Log) -> Iterator[list[Raised]]:
    factory = logging.getLogRecordFactory()
    found: list[Raised] = []
    FirstExceptions(found.append).watch(log)
    yield found
    logging.setLogRecordFactory(factory)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def price(country: str) -> float:
    return {"at": 0.2}[country]


def missing(country: str) -> KeyError:
    with pytest.raises(KeyError) as info:
        price(country)
    return info.value


def test_the_first_of_each_kind_is_told_with_its_place(log: Log, told: list[Raised]) -> None:
    for country in ("de", "fr", "it"):
        log.error("GET /: the application raised", fault=fault(missing(country)))
    (one,) = told
    assert one.kind == "KeyError"
    line = price.__code__.co_firstlineno + 1
    assert one.where == f"{__file__}:{line}"
    assert one.traceback.endswith("KeyError: 'de'\n")
    assert f'File "{__file__}", line {line}, in price' in one.traceback
    log.error("GET /: the application raised", fault=fault(raised(ValueError("x"))))
    assert [each.kind for each in told] == ["KeyError", "ValueError"]


def test_no_more_than_so_many_are(log: Log, told: list[Raised]) -> None:
    for number in range(3 * COUNT_MAX):
        kind: Any = type(f"Error{number}", (Exception,), {})
        log.error("GET /: the application raised", fault=fault(raised(kind())))
    assert [each.kind.rpartition(".")[2] for each in told] == [f"Error{n}" for n in range(COUNT_MAX)]


def test_what_the_application_logs_itself_is_seen_whoever_takes_it(told: list[Raised]) -> None:
    """As Django and Flask do with what a view raises; handlers may be the application's own."""
    logger = logging.getLogger("shop.of.first.exceptions")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    error = missing("de")
    logger.warning("not so bad", exc_info=error)
    logger.error("no exception")
    logger.error("there is none", exc_info=(None, None, None))
    assert told == []
    for _ in range(5):
        logger.error("Internal Server Error: %s", "/", exc_info=error)
    assert [each.kind for each in told] == ["KeyError"]
    assert "in price" in told[0].traceback


@pytest.mark.parametrize("exc_info", [(1,), (None, "x", None), ("a", "b", "c"), 7])
def test_a_record_of_any_make_is_made(told: list[Raised], exc_info: Any) -> None:
    record = logging.getLogRecordFactory()("x", logging.ERROR, __file__, 1, "text", (), exc_info)
    assert record.getMessage() == "text"
    assert told == []


def test_the_factory_of_the_application_is_kept(log: Log) -> None:
    before = logging.getLogRecordFactory()

    def with_tenant(*given: Any, **named: Any) -> logging.LogRecord:
        record = before(*given, **named)
        record.tenant = "acme"
        return record

    logging.setLogRecordFactory(with_tenant)
    try:
        FirstExceptions([].append).watch(log)
        assert logging.makeLogRecord({}).__dict__["tenant"] == "acme"
    finally:
        logging.setLogRecordFactory(before)


def test_an_exception_without_a_frame_has_no_place(log: Log, told: list[Raised]) -> None:
    log.error("the lifespan failed", fault=fault(ValueError("never raised")))
    assert (told[0].kind, told[0].where) == ("ValueError", "")


@pytest.mark.parametrize("text", ["", "ValueError: x\n", FRAME + "ValueError: x\n"])
def test_what_is_short_stays_as_it_is(text: str) -> None:
    assert shortened(text) == text


def test_of_a_deep_stack_the_last_frames_are_kept() -> None:
    text = "".join(FRAME.replace("12", str(number)) for number in range(1000)) + "RecursionError: too deep\n"
    short = shortened(text)
    assert len(short) <= CHARACTERS_MAX
    assert short.startswith("  ...\n")
    assert short.endswith(FRAME.replace("12", "999") + "RecursionError: too deep\n")


@pytest.mark.parametrize("frames", [1, 1000])
def test_of_a_long_message_its_beginning_is_kept(frames: int) -> None:
    short = shortened(FRAME * frames + f"ValueError: first {'<html>' * 100_000}\n")
    assert len(short) <= CHARACTERS_MAX
    assert FRAME + "ValueError: first <html><html>" in short
    assert len(short) - short.index("ValueError") <= MESSAGE_CHARACTERS_MAX + len("...\n")


def test_of_text_without_frames_the_beginning_is_kept() -> None:
    short = shortened("x" * 1_000_000)
    assert short.startswith("xxx")
    assert len(short) <= CHARACTERS_MAX


def test_a_message_that_looks_like_frames_costs_no_time() -> None:
    """What a child process has printed is often part of a message."""
    short = shortened(FRAME + "CalledProcessError: " + '\n  File "' * 20_000 + "x" * 10_000)
    assert len(short) <= CHARACTERS_MAX


def test_errors_of_which_no_exception_is_known_are_not_told(log: Log, told: list[Raised]) -> None:
    log.error("GET /: the application returned no iterable")
    log.write(log.level, "text")
    assert told == []
    log.fault_logged(Fault("A", "", ""))
    assert [each.kind for each in told] == ["A"]
    assert sys.exc_info() == (None, None, None)
