"""Records: each can be made into JSON and back, has a sentence, and is explained where one can do something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest

from gwctl.records import AnyRecord
from gwctl.records.base import Record
from gwctl.records.reloads import ReloadWaits
from gwctl.records.sentences import kinds, sentence
from gwctl.records.workers import (
    Retry,
    SlotRecovered,
    StartedWhileDegraded,
    WorkerEndedEarly,
    WorkerGone,
    WorkerReady,
)
from tests.tidy.checks import ROOT
from tests.unit.records.examples import EXAMPLES, TEMPLATE_OF_WEB, WEB

BY_KIND = pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
KINDS = frozenset(get_args(AnyRecord))


def written_down(base: type[Record] = Record) -> Iterator[type[Record]]:
    """Every class of a record that nothing is derived from."""
    for kind in base.__subclasses__():
        yield from written_down(kind) if kind.__subclasses__() else [kind]


def test_each_kind_has_an_example_a_sentence_and_its_place_in_the_union() -> None:
    assert set(written_down()) == KINDS
    assert kinds() == KINDS
    assert [type(record) for record in EXAMPLES].count(WorkerReady) == 1
    assert {type(record) for record in EXAMPLES} == KINDS


def test_one_that_leaves_while_the_fleet_ends_is_not_called_by_the_core_s_word() -> None:
    left = WorkerEndedEarly(process=WEB, status=7, state="lost", took_s=0.5)
    assert sentence(left).endswith(" ended with exit status 7 while leaving by itself, after 0.50 s")


@BY_KIND
def test_json_and_back(record: AnyRecord) -> None:
    text = msgspec.json.encode(record)
    assert msgspec.json.decode(text, type=AnyRecord) == record
    plain = msgspec.json.decode(text)
    assert plain["level"] == record.level
    assert plain["record"] == re.sub(r"(?<!^)(?=[A-Z])", "_", type(record).__name__).lower()


@BY_KIND
def test_what_another_version_does_not_know_is_ignored(record: AnyRecord) -> None:
    plain = msgspec.json.decode(msgspec.json.encode(record)) | {"from_the_future": 1}
    assert msgspec.convert(plain, type=AnyRecord) == record


@BY_KIND
def test_the_sentence(record: AnyRecord) -> None:
    """It is whole without the subject, which stands before it, and says nothing twice."""
    text = sentence(record)
    first = text.splitlines()[0]
    assert len(first) > 10
    assert not first.endswith((" ", ":", ","))
    assert "  " not in first
    assert "None" not in text
    assert record.subject


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        EXAMPLES[0].level = "error"  # type: ignore[misc]


def test_subjects() -> None:
    """As the log has always had them: a template's lines are its pool's."""
    assert WorkerGone(process=WEB, retry=Retry()).subject == "web.1 g3"
    assert StartedWhileDegraded(process=TEMPLATE_OF_WEB).subject == "web g3"
    assert SlotRecovered(pool="web", slot=2, ready_s=30.0, ready=4, size=4).subject == "web"
    assert ReloadWaits(source="SIGHUP").subject == "master"


# ---- where one can do something


_PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
_HEADINGS = {
    phrase
    for title in re.findall(r"^\*\*(.+?)\.?\*\*", _PAGE, re.MULTILINE)
    for phrase in re.findall(r"`([^`]+)`", title)
}


@BY_KIND
def test_warnings_and_errors_are_explained(record: AnyRecord) -> None:
    """By a heading of docs/troubleshooting.md, which quotes what the sentence says."""
    kind = type(record)
    default = next(each.default for each in msgspec.structs.fields(kind) if each.name == "level")
    if default in {"warning", "error"}:
        assert kind.help, "what is to be done?"
    if kind.help:
        assert kind.help in _HEADINGS
        for piece in re.split(r"\.\.\.|\bN\b", kind.help):
            assert piece.strip(" ,:") in sentence(record)
