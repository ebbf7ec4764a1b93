"""A record placed in time: nothing of it is lost, and what one looks for stands where all have it."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from gwctl.json_text import encode
from gwctl.records import AnyRecord
from gwctl.records.base import TEMPLATE
from gwctl.records.happening import KINDS, Happening, happening, kind_of
from gwctl.records.reloads import ReloadAdopted
from gwctl.records.sentences import sentence
from gwctl.records.workers import SlotRecovered, StartedWhileDegraded, WorkerBooting
from tests.tidy.checks import ROOT
from tests.unit.records.examples import EXAMPLES, TEMPLATE_OF_WEB, WEB
from tests.unit.records.page import page

BY_KIND = pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)


def placed(record: AnyRecord) -> Happening:
    return happening(record, 7, 1790000000.25, 61.5, "shop")


@BY_KIND
def test_the_record_can_be_made_of_it_again(record: AnyRecord) -> None:
    plain = msgspec.json.decode(encode(placed(record)))
    fields = plain["figures"] | {"record": plain["kind"], "level": plain["level"]}
    lifted = {name: plain[name] for name in ("pool", "slot", "generation", "pid") if name in plain}
    if "process" in {each.name for each in msgspec.structs.fields(type(record))}:
        fields["process"] = {"slot": TEMPLATE} | lifted
    assert msgspec.convert(fields | lifted, AnyRecord) == record


@BY_KIND
def test_it_says_when_where_and_what(record: AnyRecord) -> None:
    it = placed(record)
    assert it.time == dt.datetime.fromtimestamp(1790000000.25, dt.UTC)
    assert (it.number, it.monotonic, it.instance) == (7, 61.5, "shop")
    assert (it.kind, it.level) == (kind_of(type(record)), record.level)
    assert (it.subject, it.text) == (record.subject, sentence(record))
    assert KINDS[it.kind] is type(record)


def test_whose_it_is() -> None:
    worker = placed(WorkerBooting(process=WEB, stage="import"))
    assert (worker.pool, worker.slot, worker.generation, worker.pid) == ("web", 1, 3, 4134)
    assert worker.figures == {"stage": "import"}
    template = placed(StartedWhileDegraded(process=TEMPLATE_OF_WEB))
    assert (template.pool, template.slot, template.generation, template.pid) == ("web", None, 3, 4130)
    slot = placed(SlotRecovered(pool="web", slot=2, ready_s=30.0, ready=4, size=4))
    assert (slot.pool, slot.slot, slot.generation, slot.pid) == ("web", 2, None, None)
    reload = placed(ReloadAdopted(source="SIGHUP", generation=3, previous=2, took_s=3.9, pools=()))
    assert (reload.pool, reload.generation, reload.figures["previous"]) == (None, 3, 2)


def test_what_does_not_apply_is_left_out() -> None:
    plain = msgspec.json.decode(
        encode(placed(ReloadAdopted(source="", generation=3, previous=2, took_s=3.9, pools=())))
    )
    assert not {"pool", "slot", "pid"} & plain.keys()


def test_the_page_is_what_the_records_say() -> None:
    assert (ROOT / "docs" / "events.md").read_text("utf-8") == page(), "make docs"
