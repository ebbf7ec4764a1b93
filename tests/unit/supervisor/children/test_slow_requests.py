"""Who is asked about slow requests, when, and what is told of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gwctl.config.model.settings import PoolSettings
from gwctl.config.model.timeouts import Timeouts
from gwctl.ipc import scoreboard
from gwctl.ipc.channel import RequestUnderWay
from gwctl.ipc.scoreboard import Record
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.records.base import Process
from gwctl.records.report import ProcessReport, TaskReport, ThreadReport
from gwctl.supervisor.children import slow_requests
from gwctl.supervisor.children.slow_requests import A_MINUTE_MAX, AGAIN_S, HELD_S, SlowRequests
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder

SLOW_S = 2.0
NOW = 1000.0


class Ready:
    def __init__(self, worker_class: str) -> None:
        self.worker_class = worker_class


class Worker:
    """A child, as far as it is looked at here."""

    template = False

    def __init__(self, worker_class: str, *paths: str) -> None:
        self.worker = 1
        self.process = Process("web", 0, 1, 4711)
        self.ready: Ready | None = Ready(worker_class)
        self.serves_many = worker_class != "sync"
        self.settings = PoolSettings(
            app="x", timeouts=Timeouts(slow_request_s=SLOW_S, request_timeout_paths=paths)
        )
        self.record = Record(0, memoryview(bytearray(scoreboard.RECORD_BYTES)))
        self.written = Record(0, memoryview(bytearray(scoreboard.RECORD_BYTES)))
        self.requests: tuple[RequestUnderWay, ...] = ()
        self.threads: tuple[ThreadReport, ...] = ()
        self.tasks: tuple[TaskReport, ...] = ()

    @property
    def channel(self) -> Worker:
        return self

    closed = False

    def trusted_record(self, _now: float) -> Record:
        """The record itself is as old as its last copy, where a version of before an upgrade has made it."""
        return self.written

    def runs_since(self, since: float, turned_at: float = 0.0) -> None:
        word = scoreboard.LONGEST_SINCE if self.serves_many else scoreboard.BUSY_SINCE
        self.written.floats[word] = since
        self.written.floats[scoreboard.HEARTBEAT_AT] = turned_at or NOW

    def under_way(self, _now: float) -> tuple[tuple[RequestUnderWay, ...], int]:
        return self.requests, 0

    def inspection_report(self, _now: float) -> ProcessReport:
        return ProcessReport(1.0, 1, 1, threads=self.threads, tasks=self.tasks)


class Stage:
    def __init__(self, file: Any, *workers: Worker) -> None:
        self.now = NOW
        self.asked: list[Worker] = []
        self._ends: list[Callable[[], None]] = []
        self.recorder = Recorder(Log(file.fileno(), Level.ERROR), History.of("shop"))
        self.slow = SlowRequests(workers, self.recorder, self._ask)  # type: ignore[arg-type]

    def _ask(self, child: Any, _now: float, end: Any) -> None:
        self.asked.append(child)
        self._ends.append(lambda: end(child, self.now))

    def turn(self, later_s: float = 1.0, *, asks: bool = True) -> None:
        """Let time pass; whoever is asked answers at once."""
        self.now += later_s
        self.slow.turn(self.now, asks=asks)
        ends, self._ends = self._ends, []
        for end in ends:
            end()

    def told(self) -> list[str]:
        return [entry.kind for entry in self.recorder.history.since(0)]

    def lines(self) -> str:
        return b"".join(entry.line for entry in self.recorder.history.since(0)).decode()


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    with tempfile.TemporaryFile() as file:
        yield lambda *workers: Stage(file, *workers)


def test_nobody_wakes_up_where_nothing_is_to_be_watched(stage: Callable[..., Stage]) -> None:
    worker = Worker("sync")
    worker.ready = None
    assert stage(worker).slow.next_at == float("inf")
    assert stage().slow.next_at == float("inf")


def test_one_that_is_quick_is_not_asked(stage: Callable[..., Stage]) -> None:
    worker = Worker("sync")
    it = stage(worker)
    worker.runs_since(NOW)
    it.turn(SLOW_S - 0.1)
    assert it.asked == []


def test_a_slow_one_is_told_of_once_with_the_stack_of_its_thread(stage: Callable[..., Stage]) -> None:
    worker = Worker("sync")
    it = stage(worker)
    worker.runs_since(NOW)
    worker.requests = (RequestUnderWay("GET /slow", SLOW_S + 1),)
    worker.threads = (ThreadReport(1, "main", True, "GET /slow", None, ('File "x.py", line 1 in f',)),)
    for _ in range(20):
        it.turn()
    assert len(it.asked) == 1
    assert it.told() == ["slow_request"]
    assert "line 1 in f" in it.lines()
    worker.runs_since(it.now)
    it.turn(SLOW_S)
    assert len(it.asked) == 2, "another request"


def test_while_an_upgrade_waits_nobody_is_asked_and_the_master_sleeps(stage: Callable[..., Stage]) -> None:
    worker = Worker("sync")
    it = stage(worker)
    worker.runs_since(NOW)
    for _ in range(5):
        it.turn(asks=False)
        assert it.slow.next_at > it.now
    assert it.asked == []
    it.turn()
    assert len(it.asked) == 1


def test_beside_a_long_one_others_are_asked_about_now_and_then(stage: Callable[..., Stage]) -> None:
    worker = Worker("asgi", "/live 0")
    it = stage(worker)
    worker.runs_since(NOW)
    long = RequestUnderWay("GET /live", 10.0)
    worker.requests = (long,)
    it.turn(SLOW_S)
    assert (len(it.asked), it.told()) == (1, [])
    it.turn(AGAIN_S - 0.1)
    assert len(it.asked) == 1
    worker.requests = (long, RequestUnderWay("GET /cart", 2.5), RequestUnderWay("GET /quick", 0.1))
    worker.tasks = (TaskReport("t", "GET /cart", 2.5, ('File "y.py", line 2 in g',)),)
    it.turn()
    assert it.told() == ["slow_request"]
    assert "GET /cart" in it.lines()
    assert "line 2 in g" in it.lines()


def test_a_loop_that_is_held_is_asked_what_by(stage: Callable[..., Stage]) -> None:
    """It has not noted that it serves anything."""
    worker = Worker("asgi")
    it = stage(worker)
    worker.runs_since(0.0, turned_at=NOW)
    worker.requests = (RequestUnderWay("GET /holds", HELD_S + 1),)
    worker.threads = (ThreadReport(1, "main", True, "", None, ('File "z.py", line 3 in h',)),)
    it.turn(HELD_S - 0.1)
    assert it.asked == []
    it.turn(1.0)
    assert it.told() == ["slow_request"]
    assert "line 3 in h" in it.lines()


def test_ten_a_minute_of_one_worker(stage: Callable[..., Stage]) -> None:
    worker = Worker("threads")
    it = stage(worker)
    worker.runs_since(NOW)
    worker.requests = tuple(RequestUnderWay(f"GET /{number}", 100.0) for number in range(50))
    it.turn(SLOW_S)
    assert len(it.told()) == A_MINUTE_MAX
    worker.requests = tuple(RequestUnderWay(f"GET /more/{number}", 100.0) for number in range(3))
    it.turn(slow_requests._MINUTE_S)
    assert len(it.told()) == A_MINUTE_MAX + 3
