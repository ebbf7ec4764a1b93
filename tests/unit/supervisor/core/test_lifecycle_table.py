"""The table of the lifecycle benchmark says what came of each case."""

from __future__ import annotations

from benchmarks.lifecycle.cases import CASES, Report
from benchmarks.lifecycle.contenders import CONTENDERS
from benchmarks.lifecycle.table import TITLES, row, table


def test_every_case_has_its_part_of_the_table() -> None:
    assert list(TITLES) == list(CASES)
    text = table([Report("gwctl sync", case) for case in CASES], {"uwsgi": "no compiler"})
    for title, _, _ in TITLES.values():
        assert title in text
    assert "uwsgi                missing: no compiler" in text


def test_failures_are_told_by_class() -> None:
    report = Report("uvicorn", "kill -9 of a worker", 1000, {"timeout": 1, "reset_reused": 20}, done_s=0.51)
    assert row(report).split() == [
        *("uvicorn", "1,000", "21", "0.0", "0.0", "0.5", "0"),
        *("20", "reset_reused,", "1", "timeout"),
    ]


def test_what_did_not_happen_is_never() -> None:
    report = Report("gunicorn gthread", "hang", outcome="hangs for more than 20 s", stack="no")
    assert " never " in row(report)
    assert row(report).endswith("hangs for more than 20 s; stack: no")


def test_contenders_have_names_of_their_own() -> None:
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
    assert {contender.kind for contender in CONTENDERS if contender.ours} == {"sync", "threads", "asgi"}
