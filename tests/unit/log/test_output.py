"""What processes print, as lines of the event log."""

from __future__ import annotations

import json
import os
from pathlib import Path

from gwctl.log.event_log import Log
from gwctl.log.json_lines import Origin
from gwctl.log.level import Level
from gwctl.log.lines import OUTPUT_LINES_MAX
from gwctl.log.output_lines import OutputLine, Printed
from tests.support.datagrams import Reader
from tests.support.wait import DEADLINE_S

PRINTED = Printed("web.2 g3", 4133, Origin("shop", "web", 2, 3), "stderr")
OUTPUT = [
    OutputLine("tea \x1b[31m"),
    OutputLine("Traceback:\n  here", is_fault=True),
    OutputLine("x", continued=True),
]


def test_what_was_printed_says_who_and_where() -> None:
    reader, writer = os.pipe()
    Log(writer, Level.ERROR).write_output(PRINTED, OUTPUT)
    os.close(writer)
    with os.fdopen(reader) as source:
        lines = [line[13:] for line in source.read().splitlines()]
    assert lines == [
        "info  web.2 g3 stderr tea \\x1b[31m",
        "error web.2 g3 stderr Traceback:",
        "",
        "info  web.2 g3 stderr …x",
    ]


def test_what_was_printed_has_fields() -> None:
    reader, writer = os.pipe()
    Log(writer, json=True).write_output(PRINTED, OUTPUT)
    os.close(writer)
    with os.fdopen(reader) as source:
        first, fault, last = map(json.loads, source.read().splitlines())
    del first["time"]
    assert first == {
        "level": "info",
        "severity_number": 9,
        "instance": "shop",
        "kind": "output",
        "subject": "web.2 g3",
        "pool": "web",
        "slot": 2,
        "generation": 3,
        "pid": 4133,
        "stream": "stderr",
        "text": "tea \x1b[31m",
    }
    assert (fault["level"], fault["text"]) == ("error", "Traceback:\n  here")
    assert last["continued"] is True


def test_what_was_printed_gives_way_to_what_happens() -> None:
    """Nobody reads: so much is kept, and room is left for the log's own lines."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.write(writer, b"x" * 65536)
    log = Log(writer)
    for _ in range(5):
        log.write_output(PRINTED, [OutputLine("x")] * 300)
    assert log.lost == 1500 - OUTPUT_LINES_MAX
    log.info("a worker died")
    assert b"a worker died" in log.waiting()[-1]
    for fd in (reader, writer):
        os.close(fd)


def test_a_descriptor_that_an_application_has_taken_is_not_written_to(tmp_path: Path) -> None:
    """It has closed what it did not open, and its own file has that number now."""
    reader, writer = os.pipe()
    log = Log(writer)
    mine = os.open(tmp_path / "mine", os.O_CREAT | os.O_WRONLY)
    os.dup2(mine, writer)
    log.info("not for this file")
    assert (tmp_path / "mine").read_bytes() == b""
    assert log.lost == 1
    for fd in (reader, writer, mine):
        os.close(fd)


def test_an_entry_of_the_journal_has_the_stream(tmp_path: Path) -> None:
    with Reader(tmp_path / "journal", timeout_s=DEADLINE_S) as journal:
        log = Log(to=f"journal:{tmp_path}/journal")
        log.write_output(PRINTED, OUTPUT[1:2])
        entry = journal.entry()
    assert entry["MESSAGE"] == "web.2 g3 stderr: Traceback:\n  here"
    assert (entry["PRIORITY"], entry["GWCTL_STREAM"], entry["GWCTL_PID"]) == ("3", "stderr", "4133")
    assert (entry["GWCTL_POOL"], entry["GWCTL_SLOT"], entry["GWCTL_GENERATION"]) == ("web", "2", "3")
