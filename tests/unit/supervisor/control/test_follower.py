"""A request for events: what of the history it gets, and what it hears of what it missed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gwctl.control.protocol import Events
from gwctl.errors import ControlError
from gwctl.records.base import Process
from gwctl.records.master import InvariantBroken
from gwctl.records.workers import WorkerBooting, WorkerReady
from gwctl.supervisor.control.follower import Follower, FollowerSnapshot
from gwctl.supervisor.history import KEPT_MAX, History

WEB = Process("web", 0, 1, 4133)
ROOM = 1 << 20


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history(clock: Clock) -> History:
    """Three of each kind, a second apart."""
    history = History("shop", (lambda: 1790000000.0, clock))
    for count in range(3):
        history.add(WorkerBooting(process=WEB, stage=str(count)))
        history.add(
            WorkerReady(
                process=WEB, worker_class="sync", boot_s=0, import_s=0, memory_bytes=count, parser="C"
            )
        )
        history.add(InvariantBroken(rule=str(count)))
        clock.now += 1.0
    return history


def taken(follower: Follower, room: int = ROOM) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in follower.take("me", room).splitlines()]


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    assert {each["params"]["id"] for each in lines} <= {"me"}
    return [each["params"]["event"]["number"] for each in lines]


def test_all_that_is_kept(history: History) -> None:
    follower = Follower.begin(history, Events())
    assert follower.is_due
    assert not follower.done
    assert numbers(taken(follower)) == [*range(1, 10)]
    history.add(InvariantBroken(rule="later"))
    assert follower.done
    assert taken(follower) == []
    assert follower.result() == {"events": 9, "lost": 0}


def test_nothing_has_happened() -> None:
    follower = Follower.begin(History.of("shop"), Events())
    assert follower.done
    assert follower.is_due, "it is to be told so"


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Events(since_s=1.5), [7, 8, 9]),
        (Events(since_s=2.0), [4, 5, 6, 7, 8, 9]),
        (Events(since_s=0), []),
        (Events(since_s=1e9), [*range(1, 10)]),
        (Events(last=2), [8, 9]),
        (Events(last=0), []),
        (Events(last=100), [*range(1, 10)]),
        (Events(level="info"), [2, 3, 5, 6, 8, 9]),
        (Events(level="error"), [3, 6, 9]),
        (Events(kinds=("worker_ready",)), [2, 5, 8]),
        (Events(kinds=("worker_*",)), [1, 2, 4, 5, 7, 8]),
        (Events(kinds=("worker_ready", "invariant_broken"), last=3), [6, 8, 9]),
        (Events(kinds=("worker_*",), level="info", since_s=2.0), [5, 8]),
        (Events(kinds=("master_stopped",)), []),
    ],
)
def test_what_is_wished(history: History, wish: Events, expected: list[int]) -> None:
    follower = Follower.begin(history, wish)
    assert numbers(taken(follower)) == expected
    assert follower.done


def test_who_follows_gets_what_comes_and_is_never_done(history: History) -> None:
    follower = Follower.begin(history, Events(follow=True, last=1, kinds=("invariant_broken",)))
    assert numbers(taken(follower)) == [9]
    assert not follower.is_due
    history.add(WorkerBooting(process=WEB, stage="x"))
    assert follower.is_due
    assert taken(follower) == []
    history.add(InvariantBroken(rule="x"))
    assert numbers(taken(follower)) == [11]
    assert not follower.is_due
    assert not follower.done


def test_no_more_than_there_is_room_for(history: History) -> None:
    follower = Follower.begin(history, Events())
    assert numbers(taken(follower, room=1)) == [1]
    assert taken(follower, room=0) == []
    line = len(Follower.begin(history, Events(last=1)).take("me", ROOM))
    assert numbers(taken(follower, room=line + 1)) in ([2, 3], [2])
    assert numbers(taken(follower))[-1] == 9
    assert follower.done


def test_what_is_missed_is_counted(history: History) -> None:
    follower = Follower.begin(history, Events(follow=True))
    assert numbers(taken(follower, room=1)) == [1]
    for count in range(KEPT_MAX):
        history.add(InvariantBroken(rule=str(count)))
    lost, *rest = taken(follower)
    assert lost == {"jsonrpc": "2.0", "method": "lost", "params": {"id": "me", "count": 8}}
    assert numbers(rest) == [*range(10, 10 + KEPT_MAX)]
    assert follower.result() == {"events": 1 + KEPT_MAX, "lost": 8}


def test_who_asked_for_what_was_and_reads_too_late_comes_to_an_end(history: History) -> None:
    follower = Follower.begin(history, Events())
    for count in range(KEPT_MAX + 100):
        history.add(InvariantBroken(rule=str(count)))
    assert [each["params"] for each in taken(follower)] == [{"id": "me", "count": 9}], "of what it asked for"
    assert follower.done
    assert follower.result() == {"events": 0, "lost": 9}


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("worker_ready", True),
        ("worker_read", False),
        ("*", True),
        ("w*y", True),
        ("*_*", True),
        ("worker_*", True),
        ("*_ready", True),
        ("*er_re*", True),
        ("w*r*k*e*r*_*y", True),
        ("worker_ready*", True),
        ("*worker_ready", True),
        ("worker_r*ready", False),
        ("**", True),
        ("*" * 100, True),
        ("*a" * 50, False),
        ("", False),
        ("worker?ready", False),
        ("[a-z]*", False),
    ],
)
def test_a_star_stands_for_any_part(history: History, pattern: str, meant: bool) -> None:
    snapshot = FollowerSnapshot(2, until=2, kinds=(pattern,))
    assert bool(taken(Follower(history, snapshot))) == meant


def test_a_kind_that_does_not_exist(history: History) -> None:
    with pytest.raises(ControlError, match=r"no event of the kind 'worker_redy': did you mean worker_ready"):
        Follower.begin(history, Events(kinds=("worker_ready", "worker_redy")))
    with pytest.raises(ControlError, match=r"no event of the kind '\*zzz': docs/events.md has all of them"):
        Follower.begin(history, Events(kinds=("*zzz",)))


def test_another_program_goes_on(history: History) -> None:
    follower = Follower.begin(history, Events(follow=True, kinds=("invariant_*",), level="error"))
    assert numbers(taken(follower, room=1)) == [3]
    other = Follower(history, follower.snapshot())
    assert numbers(taken(other)) == [6, 9]
    assert not other.done
    assert other.result() == {"events": 3, "lost": 0}


def test_a_program_goes_on_with_what_it_does_not_know(history: History) -> None:
    """Kinds and levels of another version."""
    snapshot = FollowerSnapshot(1, kinds=("from_the_future", "invariant_*"), level=35)
    assert numbers(taken(Follower(history, snapshot))) == [3, 6, 9]
    assert taken(Follower(history, FollowerSnapshot(1, kinds=("from_the_future",)))) == []
