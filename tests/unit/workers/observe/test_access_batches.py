"""Lines of the access log that are made of many notes at once: the same as one by one, bounded, from any thread."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.observe import access_log
from gwctl.workers.observe.access_formats import access_log_for
from gwctl.workers.observe.access_log import NOTED_MAX, AccessLog
from tests.support.access_notes import note
from tests.support.engine import APPENDING
from tests.unit.workers.observe.test_access_formats import NASTY, assignment, request

SECOND = 1_795_960_931.0
FORMS = ("combined", "json", '%(h)s %(t)s "%(r)s" %(s)s %(B)s %(L)s "%(f)s" "%(a)s"')
each_form = pytest.mark.parametrize("form", FORMS)


def made(tmp_path: Path, form: str, **settings: Any) -> AccessLog:
    fd = os.open(tmp_path / "access", APPENDING)
    return access_log_for(assignment(access_log_format=form, **settings), fd, Log())


def notes(log: AccessLog, chance: Random, count: int, words: list[str], at: float) -> None:
    for _ in range(count):
        target = chance.choice(["/", "/cart?id=7", "/%7Ejoe?", *words])
        peer = chance.choice([("10.0.0.1", 5), ("2001:db8::1", 5, 0, 0), ""])
        asked = request(
            peer=peer, method=chance.choice(["GET", "POST", ""]), target=target, http11=chance.random() < 0.5
        )
        seconds = chance.choice([0, 0.0009989, 0.00099999, 0.001, 12.5, chance.random() / 1000, 3e9])
        source = {"HTTP_X_REQUEST_ID": chance.choice(["0a1b", "x-1", *words])}
        note(
            log,
            asked,
            chance.choice([0, 200, 304, 599]),
            chance.choice([0, 999, 1000, 1 << 40]),
            seconds,
            chance.choice(["-", "https://a.example/", *words]),
            chance.choice(["-", "curl/8", *words]),
            source,
            at=at,
        )


@each_form
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize(
    "words", [[], [NASTY, "\x7f", "é", "a\\b", "\udcff", "\x9b"]], ids=["plain", "nasty"]
)
def test_many_lines_are_those_that_are_made_one_by_one(
    tmp_path: Path, form: str, ids: bool, words: list[str]
) -> None:
    chance = Random(7)
    log = made(tmp_path, form, request_id_header="X-Request-ID" if ids else "")
    for at in (SECOND, SECOND + 0.5, SECOND + 0.999999, SECOND - 3600.25):
        notes(log, chance, 100, words, at)
        noted = list(log._noted)
        assert log._lines(noted) == "".join(map(log._line, noted))
        if form == "json":
            assert all(json.loads(line)["kind"] == "access" for line in log._lines(noted).splitlines())
        log._noted.clear()
    log.close()


@each_form
def test_seconds_change_in_the_midst_of_a_batch(tmp_path: Path, form: str) -> None:
    """Threads note what has ended at nearly the same time in any order."""
    log = made(tmp_path, form)
    for at in (0.99, 1.01, 0.995, 1.5, 0.2, 7.0):
        note(log, request(), 200, 1, 0.0, "-", "-", at=SECOND + at)
    noted = list(log._noted)
    assert log._lines(noted) == "".join(map(log._line, noted))
    log.close()


@each_form
def test_a_clock_that_is_set_counts_from_the_next_batch_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    log = made(tmp_path, form)
    for clock in (SECOND, SECOND - 86_400, SECOND + 86_400):
        monkeypatch.setattr(access_log, "wall_clock", lambda clock=clock: clock)
        note(log, request(), 200, 1, 0.0, "-", "-")
        log.flush()
    log.close()
    days = [re.search(r"\b(\d\d)(?:/Nov/2026|T\d)", line) for line in lines_of(tmp_path)]
    assert [day[1] for day in days if day] == ["29", "28", "30"]


def lines_of(tmp_path: Path) -> list[str]:
    return (tmp_path / "access").read_text().splitlines()


@each_form
def test_what_is_noted_is_bounded_between_two_batches(tmp_path: Path, form: str) -> None:
    log = made(tmp_path, form)
    for number in range(3 * NOTED_MAX + 5):
        note(log, request(target=f"/{number}"), 200, 1, 0.0, "-", "-")
        assert len(log._noted) < NOTED_MAX
    assert not (tmp_path / "access").read_text(), "only the loop's thread writes"
    log.close()
    lines = (tmp_path / "access").read_text().splitlines()
    assert len(lines) == 3 * NOTED_MAX + 5
    assert all(f"/{number}" in line for number, line in enumerate(lines))


def test_lines_for_which_there_is_no_room_are_counted(tmp_path: Path) -> None:
    event_path = tmp_path / "log"
    events = Log(os.open(event_path, APPENDING), Level.INFO, "x")
    log = AccessLog(os.open(tmp_path / "access", APPENDING), "web.0", events)
    for _ in range(16 * NOTED_MAX):
        note(log, request(target="/" + "a" * 4096), 200, 1, 0.0, "-", "-")
    assert log._made_bytes <= access_log.WAITING_BYTES_MAX
    log.close()
    written = (tmp_path / "access").read_text().count("\n")
    assert 0 < written < 16 * NOTED_MAX
    assert f"{16 * NOTED_MAX - written} lines of the access log lost" in event_path.read_text()


@each_form
def test_threads_add_lines_at_once(tmp_path: Path, form: str) -> None:
    log = made(tmp_path, form)

    def add(thread: int) -> None:
        for number in range(1000):
            note(log, request(target=f"/{thread}/{number}"), 200, 1, 0.0, "-", "-")

    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(add, thread) for thread in range(8)]
        while not all(each.done() for each in done):
            log.flush()
    assert all(each.result() is None for each in done)
    log.close()
    text = (tmp_path / "access").read_text()
    assert text.count("\n") == 8000
    for thread in range(8):
        for number in range(0, 1000, 199):
            assert any(f"/{thread}/{number}{end}" in text for end in (" ", '"'))
