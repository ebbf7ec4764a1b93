"""What is understood of lines of a log that is read back."""

from __future__ import annotations

import json
from typing import Final

import pytest

from gwctl.cli.logs.entries import Entry, Wanted, clock_of, of_journal, of_json, of_text, time_of
from gwctl.log.level import Level


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (
            "10:02:11.630 info  web.0 g1   pid 4133 ready",
            {"level": "info", "subject": "web.0 g1", "pool": "web", "slot": 0, "generation": 1},
        ),
        (
            "10:02:11.630 warn  web.12 g30 stderr tea: low",
            {"level": "warning", "subject": "web.12 g30", "pool": "web", "slot": 12, "generation": 30}
            | {"stream": "stderr"},
        ),
        ("10:02:11.630 error master     stopped", {"level": "error", "subject": "master"}),
        (
            "10:02:11.630 info  web        web.1 keeps dying",
            {"level": "info", "subject": "web", "pool": "web"},
        ),
        ("10:02:11.630 info  web.0 g1 stdout ", {"stream": "stdout", "subject": "web.0 g1"}),
    ],
)
def test_a_line_of_text_says_who(line: str, fields: dict[str, object]) -> None:
    found = of_text(line).fields
    assert {name: found.get(name) for name in fields} == fields


def test_the_text_of_several_lines_is_that_of_the_log() -> None:
    entry = of_text("10:02:11.630 error web.0 g1   failed\n    File\n  KeyError")
    assert entry.fields["text"] == "failed\n  File\nKeyError"


@pytest.mark.parametrize("line", ["", "hello", "  10:02:11.630 info  master     indented", "10:02:11 info"])
def test_any_other_line_has_no_level(line: str) -> None:
    entry = of_text(line)
    assert entry.level is None
    assert Wanted()(entry)
    assert not Wanted(level=Level.INFO)(entry)
    assert not Wanted("web")(entry)


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"text": 1}', "{" * 100_000, '{"a":' * 100_000])
def test_what_is_no_json_of_ours_is_none(line: str) -> None:
    assert of_json(line) is None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_what_is_no_number_is_no_json(number: str) -> None:
    """Python's reader takes it, and its writer gives it on to those who don't."""
    assert of_json(f'{{"text":"tea","figures":{{"left":{number}}}}}') is None
    entry = of_journal(json.dumps({"MESSAGE": "tea", "GWCTL_FIGURES": f'{{"left":{number}}}'}))
    assert entry is not None
    assert "figures" not in entry.fields
    assert of_journal(f'{{"MESSAGE":"tea","X":{number}}}') is None


def test_pool_worker_and_level_choose() -> None:
    entry = Entry({"pool": "web", "slot": 2, "level": "warning", "text": ""})
    assert Wanted("web")(entry)
    assert Wanted("web", 2, Level.WARNING)(entry)
    assert not Wanted("web", 1)(entry)
    assert not Wanted("we")(entry)
    assert not Wanted(level=Level.ERROR)(entry)


def test_an_entry_of_the_journal_is_what_was_sent() -> None:
    entry = of_journal(
        json.dumps(
            {
                "MESSAGE": "web.2 g3 stderr: tea\nmilk",
                "PRIORITY": "3",
                "GWCTL_TIME": "2026-11-29T10:02:40.118412Z",
                "GWCTL_SUBJECT": "web.2 g3",
                "GWCTL_STREAM": "stderr",
                "GWCTL_POOL": "web",
                "GWCTL_SLOT": "2",
                "GWCTL_FIGURES": '{"left":3}',
                "GWCTL_EVENT": "output",
                "_PID": "4120",
            }
        )
    )
    assert entry is not None
    assert entry.fields == {
        "time": "2026-11-29T10:02:40.118412Z",
        "level": "error",
        "kind": "output",
        "subject": "web.2 g3",
        "pool": "web",
        "slot": 2,
        "stream": "stderr",
        "text": "tea\nmilk",
        "figures": {"left": 3},
    }


def test_bytes_fields_and_entries_of_others_are_understood() -> None:
    theirs = {"MESSAGE": [104, 105, 255], "SYSLOG_IDENTIFIER": ["a", "shop"], "__REALTIME_TIMESTAMP": "1"}
    entry = of_journal(json.dumps(theirs))
    assert entry is not None
    assert entry.fields["text"] == "hi\\xff"
    assert (entry.fields["subject"], entry.fields["kind"], entry.fields["level"]) == (
        "shop",
        "journal",
        "info",
    )
    assert entry.fields["time"].startswith("1970-01-01T00:00:00")


def test_a_message_that_is_json_is_the_object() -> None:
    entry = of_journal(json.dumps({"MESSAGE": '{"text":"tea","level":"info","pool":"web"}', "PRIORITY": "6"}))
    assert entry is not None
    assert entry.fields == {"text": "tea", "level": "info", "pool": "web"}


@pytest.mark.parametrize("line", ["", "-- No entries --", "[]", "{" * 10_000])
def test_what_is_no_entry_is_none(line: str) -> None:
    assert of_journal(line) is None


LONG: Final = "9" * 5000
"""More digits than Python makes a number of."""


@pytest.mark.parametrize(
    "line",
    [
        "99:99:99.000 info  web.0 g1   tea",
        "24:00:00.000 info  web.0 g1   tea",
        "\u0661\u0661:\u0661\u0661:\u0661\u0661.\u0661\u0661\u0661 info  web.0 g1   tea",
        f'{{"text": "tea", "slot": {LONG}}}',
        f"web.{LONG}",
    ],
)
def test_a_line_that_is_nearly_one_of_ours_is_shown_as_it_is(line: str) -> None:
    assert of_json(line) is None
    assert clock_of(line) is None
    assert of_text(line) == Entry({"text": line}, line)


def test_a_process_whose_number_is_none_is_a_subject() -> None:
    fields = of_text(f"10:02:11.630 info  web.{LONG} g{LONG} tea").fields
    assert (fields["text"], fields.get("slot"), fields.get("generation")) == ("tea", None, None)


@pytest.mark.parametrize("number", [LONG, "-1", "\u0663"])
def test_a_number_of_the_journal_that_is_none_stays_text(number: str) -> None:
    entry = of_journal(json.dumps({"MESSAGE": "tea", "GWCTL_SLOT": number, "GWCTL_POOL": "web"}))
    assert entry is not None
    assert entry.fields["slot"] == number
    assert entry.process == ("web", None)


@pytest.mark.parametrize(
    "time",
    ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-11-29T10:02:11", "soon", LONG, 7, None],
)
def test_a_time_that_no_clock_here_knows_is_none(time: object) -> None:
    assert time_of({"time": time}) is None
