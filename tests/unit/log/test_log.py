"""The event log: what a line looks like, and that nobody ever waits for its reader."""

from __future__ import annotations

import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gwctl.log.event_log import QUEUE_LINES_MAX, Log
from gwctl.log.level import Level


@pytest.fixture
def pipe():
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield read, write
    os.close(read)
    os.close(write)


def everything(read: int) -> str:
    blocks = []
    while True:
        try:
            block = os.read(read, 1 << 20)
        except BlockingIOError:
            return b"".join(blocks).decode()
        if not block:
            return b"".join(blocks).decode()
        blocks.append(block)


def test_a_line_says_when_how_bad_and_who(pipe):
    read, write = pipe
    log = Log(write, subject="web.0 g1")
    log.info("ready")
    log.error("gone", subject="master")
    first, second = everything(read).splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} info  web\.0 g1   ready", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} error master     gone", second)


def test_further_lines_of_an_event_are_indented_under_it(pipe):
    read, write = pipe
    Log(write).error("failed:\n  File 'x'\nValueError")
    assert everything(read).splitlines()[1:] == ["    File 'x'", "  ValueError"]


def test_what_a_client_sent_does_not_steer_the_terminal(pipe):
    """An application may raise with it: titles, colours, a cursor that goes back over other lines."""
    read, write = pipe
    Log(write).error("GET /\x1b]0;title\x07\x9b2J\r10:00:00.000 info\n\tValueError: \x7f\x00\x08é")
    first, *rest = everything(read).splitlines()
    assert first.endswith("GET /\\x1b]0;title\\x07\\x9b2J")
    assert rest == ["  10:00:00.000 info", "  \tValueError: \\x7f\\x00\\x08é"]


def test_what_is_below_the_level_is_not_written(pipe):
    read, write = pipe
    log = Log(write, level=Level.WARNING)
    log.info("quiet")
    log.warning("loud")
    assert [line.split()[-1] for line in everything(read).splitlines()] == ["loud"]


def test_a_reader_that_stops_holds_nobody_up_and_is_told_how_much_was_lost(pipe):
    """A full pipe: writing goes on at once, the bound holds, and the count of lost lines is exact."""
    read, write = pipe
    log = Log(write)
    for number in range(20_000):
        log.info(f"line {number}")
    written = everything(read)
    log.flush()
    while more := everything(read):
        written += more
        log.flush()
    log.info("after")
    written += everything(read)
    lines = written.splitlines()
    kept = [line for line in lines if " line " in line]
    lost = re.search(r"^\((\d+) log lines were lost", written, re.MULTILINE)
    assert lost
    assert len(kept) + int(lost[1]) == 20_000
    assert len(kept) > QUEUE_LINES_MAX
    assert lines[-1].endswith("after")


def test_a_reader_that_is_gone_is_no_error(pipe):
    read, write = os.pipe()
    os.close(read)
    log = Log(write)
    log.info("to nobody")
    log.info("to nobody again")
    os.close(write)


def test_what_is_no_unicode_is_written_all_the_same(pipe):
    read, write = pipe
    Log(write).info("path \udcff")
    assert everything(read).endswith("path \\udcff\n")


def test_a_changed_time_zone_changes_no_times_of_a_log_that_keeps_its_own(pipe, monkeypatch):
    """Django sets TZ while it is imported; the lines of the worker must stand among those of the master."""
    read, write = pipe
    log = Log(write)
    log.keep_time_zone()
    here = time.localtime().tm_gmtoff
    try:
        monkeypatch.setenv("TZ", "XXX-11" if here != 11 * 3600 else "XXX-5")
        time.tzset()
        hour_here = time.strftime("%H:%M", time.gmtime(time.time() + here))
        log.info("after the import")
        assert everything(read)[:5] in {hour_here, time.strftime("%H:%M", time.gmtime(time.time() + here))}
    finally:
        monkeypatch.undo()
        time.tzset()


LINES = QUEUE_LINES_MAX - 1  # one more, and a thread that writes slowly would make the bound count


def test_threads_that_write_at_once_lose_and_repeat_nothing(tmp_path):
    """One of the threads that answer requests must not die of what another one logs."""
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = Log(fd)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for result in [threads.submit(log.info, f"line {number}\nmore") for number in range(LINES)]:
                result.result()
    finally:
        sys.setswitchinterval(interval)
        os.close(fd)
    lines = path.read_text("utf-8").splitlines()
    assert sorted(int(line.split()[-1]) for line in lines[::2]) == list(range(LINES))
    assert lines[1::2] == ["  more"] * LINES


def test_what_a_full_disk_does_not_take_is_counted_until_it_does() -> None:
    """/dev/full is a disk that is full; then a pipe takes its place, as if there were room again."""
    full = os.open("/dev/full", os.O_WRONLY)
    reader, writer = os.pipe()
    try:
        log = Log(full)
        for number in range(5):
            log.info(f"line {number}")
        log.redirect(writer)
        log.info("there is room again")
        log.info("and more")
        text = os.read(reader, 10_000).decode()
    finally:
        for fd in (full, reader):
            os.close(fd)
    lines = text.splitlines()
    assert lines[0] == "(5 log lines were lost: stderr did not take them)"
    assert [line.split(" ", 3)[-1].strip() for line in lines[1:]] == [
        "master     there is room again",
        "master     and more",
    ]
