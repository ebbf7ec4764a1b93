"""A log that is a file, read back: from its end, by what is asked for, and on over rotations."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gwctl.cli.logs import files
from gwctl.cli.logs.entries import Entry, Wanted
from gwctl.cli.logs.files import Query, read
from gwctl.errors import ControlError
from gwctl.log.level import Level

FIRST, LAST = dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, tzinfo=dt.UTC)
NOON = dt.datetime(2026, 11, 29, 12).astimezone()


def text_of(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def written(path: Path, content: str, at: dt.datetime = NOON) -> None:
    path.write_text(content)
    os.utime(path, (at.timestamp(), at.timestamp()))


def found(path: Path, **asked: Any) -> list[Entry]:
    entries: list[Entry] = []
    read(Query(path, **asked), entries.append, lambda: False, -1)
    return entries


def texts(entries: list[Entry]) -> list[str]:
    return [entry.fields["text"] for entry in entries]


LOG = text_of(
    "11:58:00.000 info  master     one",
    "11:59:00.000 error web.1 g1   two",
    "    File",
    "  KeyError",
    "what somebody printed",
    "11:59:30.000 info  web.1 g1   three",
    "11:59:31.000 warn  web.2 g1   four",
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "events.log"
    written(path, LOG)
    return path


def test_the_last_entries_are_found_from_the_end(log: Path) -> None:
    assert texts(found(log, last=2)) == ["three", "four"]
    assert texts(found(log, last=4)) == ["two\n  File\nKeyError", "what somebody printed", "three", "four"]
    assert len(found(log, last=100)) == 5
    assert found(log, last=0) == []


def test_they_are_the_last_of_those_that_are_wanted(log: Path) -> None:
    assert texts(found(log, last=1, wanted=Wanted("web", 1))) == ["three"]
    assert texts(found(log, last=2, wanted=Wanted("web", 1))) == ["two\n  File\nKeyError", "three"]
    assert texts(found(log, last=9, wanted=Wanted(level=Level.WARNING))) == ["two\n  File\nKeyError", "four"]


def test_since_goes_by_the_clock_and_the_time_of_the_file(log: Path) -> None:
    assert texts(found(log, since=NOON - dt.timedelta(seconds=45))) == ["three", "four"]
    assert len(found(log, since=NOON - dt.timedelta(days=1))) == 5
    assert texts(found(log, since=NOON - dt.timedelta(seconds=45), last=1)) == ["four"]


def test_days_are_told_apart(tmp_path: Path) -> None:
    """Also where the last line was written a moment before midnight, and the file a moment after."""
    log = tmp_path / "log"
    lines = text_of(
        "23:00:00.000 info  master     saturday",
        "21:00:00.000 info  master     sunday",
        "23:59:59.999 info  master     late",
    )
    written(log, lines, dt.datetime(2026, 11, 30, 0, 0, 1).astimezone())
    entries = found(log, last=9)
    days = [dt.datetime.fromisoformat(entry.fields["time"]).day for entry in entries]
    assert days == [28, 29, 29]
    assert texts(found(log, since=dt.datetime(2026, 11, 29).astimezone())) == ["sunday", "late"]


def test_lines_of_several_processes_may_be_out_of_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    written(log, text_of("11:00:00.010 info  master     a", "11:00:00.009 info  master     b"))
    days = {dt.datetime.fromisoformat(entry.fields["time"]).day for entry in found(log, last=9)}
    assert days == {29}


def test_json_is_read_by_its_fields(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [
        {"time": "2026-11-28T10:00:00Z", "level": "info", "pool": "web", "slot": 0, "text": "one"},
        {"time": "2026-11-29T10:00:00Z", "level": "error", "pool": "web", "slot": 1, "text": "two"},
    ]
    written(log, text_of(*map(json.dumps, lines), "raw"))
    assert texts(found(log, last=9)) == ["one", "two", "raw"]
    assert texts(found(log, last=9, wanted=Wanted("web", 1))) == ["two"]
    assert texts(found(log, since=dt.datetime(2026, 11, 29, tzinfo=dt.UTC), last=None)) == ["two", "raw"]


def test_half_a_line_at_the_end_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    written(log, text_of("11:00:00.010 info  master     a") + "half")
    assert texts(found(log, last=9)) == ["a", "half"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff" * 100_000, b"x" * 3_000_000, b" \n" * 100_000])
def test_whatever_is_in_a_file_is_read(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(content)
    shown = "".join(entry.line for entry in found(log, last=10_000_000))
    assert len(shown.replace("\n", "")) >= len(content.replace(b"\n", b""))


def test_a_long_file_is_read_in_blocks(tmp_path: Path) -> None:
    """Wherever lines lie over the ends of blocks."""
    log = tmp_path / "log"
    lines = [
        f"11:00:00.{number % 1000:03d} info  master     {number} {'x' * (number % 97)}"
        for number in range(9000)
    ]
    written(log, text_of(*lines))
    assert [entry.line for entry in found(log, last=5000)] == lines[-5000:]


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"no/events\.log, which cannot be read: No such file"):
        found(tmp_path / "no" / "events.log", last=1)


class Follower:
    """Reads on, and does the next step whenever it has read all there is."""

    def __init__(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[Callable[[], object]]
    ) -> None:
        self.entries: list[Entry] = []
        self._steps = iter(steps)
        self._ended = False
        self.now = 0.0
        monkeypatch.setattr(files.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(files, "_POLL_MS", 0)
        read(Query(path, last=0, follow=True), self.entries.append, self._next, -1)

    def _next(self) -> bool:
        """Tell whether that was the last: two turns after it, all is read."""
        step = next(self._steps, None)
        if step is None:
            ended, self._ended = self._ended, True
            return ended
        step()
        return False


def test_what_comes_is_followed_over_a_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file is read on for a while: not all processes have the new one at once."""
    log, old = tmp_path / "log", tmp_path / "log.1"
    written(log, "before\n")

    def add(path: Path, line: str) -> Callable[[], object]:
        def add_it() -> None:
            with path.open("a") as file:
                file.write(line)

        return add_it

    follower = Follower(
        log,
        monkeypatch,
        [
            add(log, "one\n"),
            lambda: log.rename(old),
            add(old, "two\n"),
            add(log, "three\n"),
            lambda: None,
            add(old, "straggler\n"),
            lambda: None,
            add(log, "half "),
            add(log, "a line\n"),
        ],
    )
    assert texts(follower.entries) == ["one", "two", "three", "straggler", "half a line"]


def test_a_file_that_is_cut_off_is_read_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    written(log, "a long line before\n")
    follower = Follower(
        log,
        monkeypatch,
        [lambda: log.write_text("one\n"), lambda: None, lambda: log.write_text("one\ntwo\n")],
    )
    assert texts(follower.entries) == ["one", "two"]


@pytest.mark.parametrize("at", [FIRST, LAST])
def test_a_clock_that_goes_back_without_end_leads_to_no_day_that_there_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: dt.datetime
) -> None:
    path = tmp_path / "events.log"
    lines = [f"{clock}:00:00.000 info  web.1 g1   {clock}" for clock in ("23", "01", "22", "00")]
    written(path, text_of(*lines))
    monkeypatch.setattr(files, "_written_at", lambda _file: at)
    assert texts(found(path)) == texts(found(path, last=9)) == ["23", "01", "22", "00"]
    assert len(found(path, since=NOON)) in {0, 4}


@pytest.mark.parametrize("seconds", [-(1 << 40), 1 << 40])
def test_a_time_of_the_file_that_no_clock_here_knows(tmp_path: Path, seconds: int) -> None:
    path = tmp_path / "events.log"
    path.write_text("11:58:00.000 info  master     one\n")
    try:
        os.utime(path, (seconds, seconds))
    except OSError:
        pytest.skip("this file system has no such times")
    assert texts(found(path, last=1)) == ["one"]
