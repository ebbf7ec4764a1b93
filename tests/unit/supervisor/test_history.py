"""The last happenings: bounded, numbered without a gap, and handed over in an upgrade."""

from __future__ import annotations

import msgspec
import pytest

from gwctl.records.base import Process
from gwctl.records.master import InvariantBroken
from gwctl.records.reloads import ReloadRefused
from gwctl.records.report import ProcessReport, ThreadReport
from gwctl.records.workers import WorkerKilled
from gwctl.supervisor.history import EVENT_BYTES_MAX, KEPT_BYTES_MAX, KEPT_MAX, History, HistorySnapshot


class Clock:
    now = 100.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def history() -> History:
    return History("shop", (lambda: 1790000000.0, Clock()))


def tell(history: History, *rules: str) -> None:
    for rule in rules:
        history.add(InvariantBroken(rule=rule))


def rules(history: History, number: int = 0) -> list[str]:
    return [msgspec.json.decode(each.line)["figures"]["rule"] for each in history.since(number)]


def test_nothing_has_happened(history: History) -> None:
    assert (history.first, history.last, rules(history)) == (1, 0, [])


def test_the_oldest_go_first(history: History) -> None:
    tell(history, *map(str, range(KEPT_MAX + 3)))
    assert (history.first, history.last) == (4, KEPT_MAX + 3)
    assert rules(history) == [str(each) for each in range(3, KEPT_MAX + 3)]
    assert rules(history, history.last - 1) == [str(KEPT_MAX + 1), str(KEPT_MAX + 2)]
    assert rules(history, 2) == rules(history), "those are kept no more"
    assert rules(history, history.last + 1) == []


def test_long_ones_take_no_more_room_than_many_short_ones(history: History) -> None:
    tell(history, *["x" * (EVENT_BYTES_MAX // 3) for _ in range(100)])
    assert sum(len(each.line) for each in history.since(0)) <= KEPT_BYTES_MAX
    assert history.last == 100
    assert history.first > 50


def test_one_that_is_too_long_is_cut_and_costs_the_others_nothing(history: History) -> None:
    for _ in range(900):
        tell(history, "short")
    told = history.add(
        ReloadRefused(source="x", generation=2, phase="boot", kind="import", reason="y" * 300_000)
    )
    assert len(told.text) > 300_000, "the log has all of it"
    assert history.last - history.first == 900
    line = [each.line for each in history.since(901)][-1]
    kept = msgspec.json.decode(line)
    assert len(line) < EVENT_BYTES_MAX
    assert kept["cut"] is True
    assert kept["figures"]["reason"] == "y" * 256 + "..."
    assert kept["text"].endswith("...")
    assert "cut" not in msgspec.json.decode(next(history.since(900)).line)


def test_so_are_its_lists(history: History) -> None:
    frames = tuple(f"File {number}: {'x' * 300}" for number in range(1000))
    report = ProcessReport(
        1.0, 0, 0, threads=tuple(ThreadReport(each, "t", main=False, frames=frames) for each in range(100))
    )
    history.add(WorkerKilled(process=Process("web", 0, 1, 2), reason="x", report=report))
    (entry,) = history.since(0)
    assert len(entry.line) < EVENT_BYTES_MAX
    assert len(msgspec.json.decode(entry.line)["figures"]["report"]["threads"]) == 8


def test_what_is_no_utf_8(history: History) -> None:
    tell(history, "a\udcffb")
    assert rules(history) == ["a\\udcffb"]


def test_another_program_goes_on(history: History) -> None:
    tell(history, *map(str, range(5)))
    other = History.of("shop")
    other.resume(msgspec.json.decode(msgspec.json.encode(history.snapshot()), type=HistorySnapshot))
    tell(other, "5")
    assert (other.first, other.last) == (1, 6)
    assert rules(other) == ["0", "1", "2", "3", "4", "5"]
    assert [each[:4] for each in other.since(1)][:5] == [each[:4] for each in history.since(1)]


@pytest.mark.parametrize("at", [0, 2, 4])
def test_what_another_program_says_unintelligibly_is_left_out_with_what_was_before(
    history: History, at: int
) -> None:
    tell(history, *map(str, range(5)))
    lines = [each.line for each in history.since(0)]
    lines[at] = b'{"number": "many"}'
    other = History.of("shop")
    other.resume(HistorySnapshot(5, tuple(lines)))
    tell(other, "new")
    assert other.last == 6
    assert rules(other) == [*map(str, range(at + 1, 5)), "new"]
    assert other.first == 6 - (4 - at)


def test_a_program_that_kept_none_hands_over_the_number(history: History) -> None:
    history.resume(HistorySnapshot(17, ()))
    assert (history.first, history.last) == (18, 17)
    tell(history, "new")
    assert (history.first, history.last) == (18, 18)
