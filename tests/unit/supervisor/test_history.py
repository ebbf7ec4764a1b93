"""The last happenings: bounded, numbered without a gap, and handed over in an upgrade."""

from __future__ import annotations

import msgspec
import pytest

from gwctl.records.master import InvariantBroken
from gwctl.supervisor.history import KEPT_BYTES_MAX, KEPT_MAX, History, HistorySnapshot


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
    tell(history, *["x" * (KEPT_BYTES_MAX // 10) for _ in range(20)])
    assert sum(len(each.line) for each in history.since(0)) <= KEPT_BYTES_MAX
    assert history.last == 20
    assert history.first > 10
    tell(history, "y" * (KEPT_BYTES_MAX * 2))
    assert (history.first, history.last) == (21, 21), "one that is too long for all is kept alone"
    tell(history, "z")
    assert rules(history) == ["z"]


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
