"""Who is asked what it is at, for how long it is waited for, and who gets which answer."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

import pytest

from gwctl.errors import ControlError
from gwctl.ipc.channel import RequestReport, RequestUnderWay
from gwctl.records.base import Process
from gwctl.records.report import ProcessReport
from gwctl.supervisor.children.incident_report import IncidentReport, Inspection
from gwctl.supervisor.children.inspections import DUMPED_MAX, NUDGE_S, PATIENCE_S, Inspections


class FakeChild:
    """A worker that says what it is at when the test wants it to."""

    template = False
    serves_many = True

    def __init__(self, pool: str, slot: int, pid: int, generation: int = 1) -> None:
        self.worker = self.pid = pid
        self.pool, self.slot, self.generation = pool, slot, generation
        self.process = Process(pool, slot, generation, pid)
        self.inspected: Inspection | None = None

    def says(self) -> None:
        assert self.inspected is not None
        self.inspected.known.told = RequestReport((), (), stacks="Thread ...")

    def inspection_report(self, _now: float) -> ProcessReport | None:
        return None if self.inspected is None else ProcessReport(1.0, 0, 0)

    def under_way(self, _now: float) -> tuple[tuple[RequestUnderWay, ...], int]:
        return (RequestUnderWay(f"GET /{self.pid}", 1.5),), 2

    def end_inspection(self) -> None:
        self.inspected = None


class FakeChildren:
    def __init__(self, *children: FakeChild) -> None:
        self.living = {each.pid: each for each in children}
        self.asked: list[int] = []
        self.signalled: list[int] = []

    def __iter__(self) -> Iterator[FakeChild]:
        return iter(self.living.values())

    def get(self, worker: int) -> FakeChild | None:
        return self.living.get(worker)

    def inspect(self, child: FakeChild, now: float, *, stacks: bool) -> None:
        self.asked.append(child.pid)
        child.inspected = Inspection(IncidentReport(child.pid, ""), stacks, now)

    def inspect_by_signal(self, child: FakeChild) -> None:
        self.signalled.append(child.pid)


class World:
    def __init__(self, *children: FakeChild) -> None:
        self.children = FakeChildren(*children)
        self.answers: dict[int, tuple[bool, str, dict[str, Any]]] = {}
        self.inspections = Inspections(self.children, self.answer)  # type: ignore[arg-type]

    def answer(self, request: int, ok: bool, text: str, result: dict[str, Any]) -> None:
        self.answers[request] = ok, text, result


WEB, NEXT, LIVE = FakeChild("web", 0, 10), FakeChild("web", 1, 11), FakeChild("live", 0, 20)


@pytest.fixture
def world() -> World:
    for each in (WEB, NEXT, LIVE):
        each.inspected = None
    return World(NEXT, LIVE, WEB)


def pids(world: World, request: int) -> list[int]:
    return [each["pid"] for each in world.answers[request][2]["workers"]]


def test_all_of_a_pool_answer_as_soon_as_the_last_has_said_it(world: World) -> None:
    world.inspections.dump(1, "web", 100.0)
    assert (world.children.asked, world.inspections.next_at) == ([10, 11], 100.0 + NUDGE_S)
    WEB.says()
    world.inspections.turn(100.05)
    assert world.answers == {}
    NEXT.says()
    world.inspections.turn(100.06)
    assert pids(world, 1) == [10, 11]
    assert world.children.signalled == []
    assert (world.inspections.under_way, world.inspections.next_at) == (False, inf)


def test_one_whose_loop_is_held_has_its_time(world: World) -> None:
    world.inspections.dump(1, "web.1", 100.0)
    world.inspections.turn(100.0 + NUDGE_S)
    assert world.children.signalled == [11], "it is asked by a signal"
    assert world.inspections.next_at == 100.0 + PATIENCE_S
    world.inspections.turn(100.0 + PATIENCE_S - 0.01)
    assert (world.answers, world.children.signalled) == ({}, [11])
    world.inspections.turn(100.0 + PATIENCE_S)
    assert pids(world, 1) == [11]


def test_it_is_asked_once_for_all_who_want_to_know(world: World) -> None:
    world.inspections.dump(1, "web.0", 100.0)
    world.inspections.dump(2, "web", 100.5)
    assert world.children.asked == [10, 11]
    world.inspections.turn(100.0 + PATIENCE_S)
    assert pids(world, 1) == [10]
    assert WEB.inspected is not None, "somebody else waits for it"
    world.inspections.turn(100.5 + PATIENCE_S)
    assert pids(world, 2) == [10, 11]
    assert WEB.inspected is None


def test_one_that_ends_meanwhile_is_not_waited_for(world: World) -> None:
    world.inspections.dump(1, "web", 100.0)
    del world.children.living[10]
    NEXT.says()
    world.inspections.turn(100.1)
    ok, text, _ = world.answers[1]
    assert ok
    assert text.startswith("web.0 g1 pid 10 has ended meanwhile; gwctl events says why\n\nweb.1 g1 pid 11\n")
    world.inspections.dump(2, "live", 200.0)
    del world.children.living[20]
    world.inspections.turn(200.1)
    ok, text, result = world.answers[2]
    assert (ok, text) == (False, "live.0 g1 pid 20 has ended meanwhile; gwctl events says why")
    assert result["workers"] == [{"pool": "live", "slot": 0, "generation": 1, "pid": 20, "report": None}]


def test_two_generations_in_one_slot() -> None:
    world = World(FakeChild("web", 0, 12, generation=2), FakeChild("web", 0, 10))
    world.inspections.dump(1, "web.0", 100.0)
    world.inspections.turn(200.0)
    assert pids(world, 1) == [10, 12]


def test_no_more_than_can_be_read() -> None:
    world = World(*(FakeChild("web", slot, 100 + slot) for slot in range(DUMPED_MAX + 1)))
    with pytest.raises(ControlError, match=rf"web has {DUMPED_MAX + 1} workers: name one, as in web\.0"):
        world.inspections.dump(1, "web", 100.0)
    assert world.children.asked == []
    world.inspections.dump(2, f"web.{DUMPED_MAX}", 100.0)
    assert world.children.asked == [100 + DUMPED_MAX]


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("web.2", "no worker web.2: there are web.0, web.1"),
        ("web.", ""),
        ("shop", "no pool 'shop' with a worker: there are live, web"),
        ("web.-1", "no worker web.-1: there are web.0, web.1"),
    ],
)
def test_who_does_not_exist(world: World, target: str, error: str) -> None:
    if not error:
        world.inspections.dump(1, target, 100.0)
        assert world.children.asked == [10, 11]
        return
    with pytest.raises(ControlError, match=f"^{error}$"):
        world.inspections.dump(1, target, 100.0)


def test_requests_of_all_workers_of_all_pools(world: World) -> None:
    world.inspections.requests(1, "", 100.0)
    assert [each.inspected.stacks for each in (WEB, NEXT, LIVE) if each.inspected] == [False] * 3
    world.inspections.turn(100.0 + NUDGE_S)
    assert world.children.signalled == [], "for its stacks alone"
    for each in (WEB, NEXT, LIVE):
        each.says()
    world.inspections.turn(100.2)
    assert pids(world, 1) == [20, 10, 11]
    first = world.answers[1][2]["workers"][0]
    assert first["requests"] == [{"request": "GET /20", "age_s": 1.5}]
    assert (first["more"], first["loop_held"]) == (2, False)


def test_one_that_serves_one_at_a_time_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scoreboard has what it serves; its loop is held by it."""
    monkeypatch.setattr(WEB, "serves_many", False, raising=False)
    world.inspections.requests(1, "web", 100.0)
    NEXT.says()
    world.inspections.turn(100.1)
    assert [each["loop_held"] for each in world.answers[1][2]["workers"]] == [False, False]


def test_one_whose_loop_does_not_answer_is_named(world: World) -> None:
    world.inspections.requests(1, "live", 100.0)
    world.inspections.turn(100.0 + PATIENCE_S)
    assert [each["loop_held"] for each in world.answers[1][2]["workers"]] == [True]


def test_stacks_are_asked_for_besides_requests(world: World) -> None:
    world.inspections.requests(1, "live", 100.0)
    world.inspections.dump(2, "live", 100.0)
    world.inspections.requests(3, "live", 100.0)
    assert world.children.asked == [20, 20], "for its requests, and for its stacks"
    LIVE.says()
    world.inspections.turn(100.1)
    assert {*world.answers} == {1, 2, 3}
    assert LIVE.inspected is None


def test_who_has_answered_another_reads_on_by_a_signal(world: World) -> None:
    """Its answer says nothing of what was sent after it, and its loop may not turn."""
    world.inspections.dump(1, "web", 100.0)
    WEB.says()
    ended: list[bool] = []
    world.inspections.begin([WEB, LIVE], 100.01, lambda *_: ended.append(True), stacks=True, reads_on=True)
    assert world.children.signalled == [WEB.pid]
    assert world.children.asked.count(WEB.pid) == 1
    LIVE.says()
    world.inspections.turn(100.02)
    assert ended == [True]
