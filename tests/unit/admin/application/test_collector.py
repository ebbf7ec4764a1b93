"""Workers that live and die: each counts exactly once, whenever this process is killed."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gwctl.admin.application import folded
from gwctl.admin.application.collector import Collected, Collector
from gwctl.admin.application.values import DEAD_PROCESSES_MAX, SERIES_MAX
from tests.support.multiproc import count, samples_of, text_of, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".folded").mkdir()
    (tmp_path / "web").mkdir()
    return tmp_path


class World:
    """The master's folder, and who lives."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[str] = []
        self.collector = Collector(str(root), self.told.append)

    def scrape(self, *living: int, pool: str = "web") -> Collected:
        return self.collector.collect(self.collector.listing(), {pool: living})

    def value(self, found: Collected, name: str, **labels: str) -> float | None:
        return samples_of(found.metrics).get((name, *sorted({**labels, "pool": "web"}.items())))

    def hits(self, *living: int) -> float | None:
        return self.value(self.scrape(*living), "hits_total")

    @property
    def folders(self) -> set[str]:
        return {each.name for each in (self.root / "web").iterdir()}


@pytest.fixture
def world(root: Path) -> World:
    return World(root)


def test_the_dead_count_on_and_leave_no_files(world: World) -> None:
    for worker in range(1, 6):
        count(world.root / "web" / str(worker), 10.0, process=worker)
    assert world.hits(1, 2, 3, 4, 5) == 50
    assert world.hits(4, 5) == 50
    assert world.folders == {"4", "5"}
    count(world.root / "web" / "5", 11.0, process=5)
    assert world.hits(5) == 51
    assert world.hits() == 51
    assert world.folders == set()
    assert world.told == []


def test_pids_come_again(world: World) -> None:
    """A worker that has the pid of a dead one adds to what that one has counted."""
    for worker in (1, 2, 3):
        count(world.root / "web" / str(worker), 1.0, process=4133)
        assert world.hits(worker) == worker
    assert world.hits() == 3


def test_gauges_of_the_dead(world: World) -> None:
    for worker in (1, 2, 3):
        folder = world.root / "web" / str(worker)
        for mode in ("min", "max", "sum", "livesum", "livemax", "all", "liveall"):
            write(folder, f"gauge_{mode}", worker, [(mode, mode, {}, float(worker), 0.0)])
        write(folder, "gauge_mostrecent", worker, [("recent", "recent", {}, float(worker), 100.0 - worker)])
    assert (now := world.scrape(3)).left_out["web"] == {}
    assert [world.value(now, mode) for mode in ("min", "max", "sum", "recent")] == [1, 3, 6, 1]
    assert [world.value(now, mode) for mode in ("livesum", "livemax")] == [3, 3]
    assert [world.value(now, "all", pid=str(pid)) for pid in (1, 2, 3)] == [1, 2, 3]
    assert [world.value(now, "liveall", pid=str(pid)) for pid in (1, 2, 3)] == [None, None, 3]
    now = world.scrape()
    assert world.value(now, "livesum") is None
    assert world.value(now, "sum") == 6


def test_gauges_of_each_process_are_bounded(world: World) -> None:
    for worker in range(1, 100):
        write(world.root / "web" / str(worker), "gauge_all", worker, [("g", "g", {}, 1.0, 0.0)])
        found = world.scrape()
    assert found.series == {"web": DEAD_PROCESSES_MAX}
    assert world.value(found, "g", pid="99") == 1
    assert world.value(found, "g", pid="10") is None


class KilledError(BaseException):
    """The process ends here."""


CALLS = ("open", "rename", "unlink", "rmdir", "write", "stat")


def test_killed_at_any_moment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever system call is the last one, the next process finds each worker's count exactly once."""
    survived = 0
    for last in range(200):
        folder = root / str(last)
        (folder / ".folded").mkdir(parents=True)
        (folder / "web").mkdir()
        for worker in (1, 2, 3, 4):
            count(folder / "web" / str(worker), 1.0, process=worker)
        left = last

        def counting(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **more: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    raise KilledError
                return call(*args, **more)

            return counted

        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, counting(getattr(os, name)))
            try:
                assert World(folder).hits(4) == 4
                survived += 1
            except KilledError:
                pass
        after = World(folder)
        assert after.hits(4) == 4, f"killed at call {last}"
        assert after.folders == {"4"}
        assert after.hits() == 4
    assert 0 < survived < 200


def test_who_is_not_in_the_answer_yet_is_not_dead(world: World) -> None:
    """A worker that makes its folder after the listing is left alone."""
    count(world.root / "web" / "1", 1.0)
    listing = world.collector.listing()
    count(world.root / "web" / "2", 1.0)
    found = world.collector.collect(listing, {"web": (1,)})
    assert world.value(found, "hits_total") == 1
    assert world.folders == {"1", "2"}
    assert world.hits(1, 2) == 2


def test_another_process_folds_between_listing_and_answer(world: World) -> None:
    for worker in (1, 2):
        count(world.root / "web" / str(worker), 1.0, process=worker)
    listing = world.collector.listing()
    other = World(world.root)
    assert other.hits(2) == 2
    found = world.collector.collect(listing, {"web": (1, 2)})  # an answer from when both lived
    assert world.value(found, "hits_total") == 2
    assert world.value(world.collector.collect(listing, {"web": (2,)}), "hits_total") == 2
    assert world.hits(2) == 2


def test_a_full_disk_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for worker in (1, 2):
        count(world.root / "web" / str(worker), 1.0, process=worker)

    def full(*_args: Any, **_more: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        assert [world.hits(2), world.hits(2)] == [2, 2]
        assert world.folders == {"1", "2"}
    assert len(world.told) == 1
    assert "No space left" in world.told[0]
    assert world.hits(2) == 2
    assert world.folders == {"2"}


def test_what_is_lost_is_told(world: World) -> None:
    count(world.root / "web" / "1", 1.0)
    assert world.hits() == 1
    (world.root / ".folded" / "web.folded").write_bytes(b"garbage")
    found = world.scrape()
    assert found.left_out["web"]["storage"] == 1
    assert "is lost" in world.told[0]


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, huge])
def test_something_else_in_its_place_holds_nobody_up(world: World, make: Callable[[Path], None]) -> None:
    """Where the application runs as the same user, it may write here, too."""
    for name in ("web.folded", "web.new"):
        make(world.root / ".folded" / name)
    count(world.root / "web" / "1", 1.0)
    found = world.scrape()
    assert found.left_out["web"]["storage"] >= 1
    assert len(world.told) == 1


def test_a_lock_that_nobody_lets_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded, "_LOCK_S", 0.05)
    count(world.root / "web" / "1", 1.0)
    with (world.root / ".folded" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = world.scrape(1)
        assert found.metrics == []
        assert found.left_out["web"] == {"storage": 1}
    assert "holds its lock" in world.told[0]
    assert world.hits(1) == 1


def test_one_pool_that_cannot_be_read_hides_no_other(world: World) -> None:
    count(world.root / "web" / "1", 1.0)
    (world.root / "api").symlink_to("/nowhere")
    found = world.collector.collect({"api": {1}, "web": {1}}, {"api": (1,), "web": (1,)})
    assert world.value(found, "hits_total") == 1
    assert found.left_out["api"] == {"storage": 1}


def test_a_folder_that_cannot_be_removed_is_counted_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(world.root / "web" / "1", 1.0)
    with monkeypatch.context() as patch:
        patch.setattr("gwctl.admin.application.collector.remove_tree", lambda *_args: 0)
        assert [world.hits(), world.hits()] == [1, 1]
        count(world.root / "web" / "2", 1.0)
        assert [world.hits(), world.hits(), World(world.root).hits()] == [2, 2, 2]
        assert world.folders == {"1", "2"}
    assert world.hits() == 2
    assert world.folders == set()


def test_a_hostile_folder_goes_with_its_worker(world: World) -> None:
    folder = world.root / "web" / "1"
    count(folder, 1.0)
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "out").symlink_to(world.root / "web")
    os.mkfifo(folder / "pipe")
    assert world.hits() == 1
    assert world.folders == set()


def test_names_that_are_no_workers_are_left(world: World) -> None:
    for name in ("x", "-1", "1" * 30, "٣"):
        (world.root / "web" / name).mkdir()
    assert world.scrape().left_out["web"] == {}
    assert len(world.folders) == 4


def test_told_once(world: World) -> None:
    write(world.root / "web" / "1", "counter", 1, [("gwctl_up", "gwctl_up_total", {}, 1.0, 0.0)])
    for _ in range(3):
        assert world.scrape(1).left_out["web"] == {"reserved": 1}
    assert world.told == ["application metrics of web: 1 left out: gwctl_ is for gwctl's own"]


def test_a_million_series_are_bounded(world: World) -> None:
    """Of many workers, each with as many as are read of one."""
    for worker in range(1, 5):
        series = [("a", "a_total", {"n": f"{worker}.{number}"}, 1.0, 0.0) for number in range(9_000)]
        write(world.root / "web" / str(worker), "counter", worker, series)
    found = world.scrape(1, 2)
    assert found.series == {"web": SERIES_MAX}
    found = world.scrape()
    assert found.series == {"web": SERIES_MAX}
    assert len(text_of(found.metrics).splitlines()) == SERIES_MAX + 2


def test_ten_thousand_lives(world: World) -> None:
    """What was is no burden: a scrape takes as long as after ten."""

    def lives(first: int, count_of: int) -> None:
        for worker in range(first, first + count_of):
            folder = world.root / "web" / str(worker)
            count(folder, 1.0, process=worker, path="/")
            write(folder, "gauge_all", worker, [("g", "g", {}, 1.0, 0.0)])
        assert (
            samples_of(world.scrape().metrics)[("hits_total", ("path", "/"), ("pool", "web"))]
            == first + count_of - 1
        )

    def fastest() -> float:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            world.scrape()
            took.append(time.perf_counter() - began)
        return min(took)

    lives(1, 50)
    few = fastest()
    for first in range(51, 2051, 100):
        lives(first, 100)
    assert (world.root / ".folded" / "web.folded").stat().st_size < 10_000
    assert fastest() < 10 * few + 0.05
