"""When figures are asked for, what is kept of them, and what followers are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from gwctl.admin.figures import sampler as module
from gwctl.admin.figures.sampler import KEPT_EVERY_S, KEPT_MAX, TOLD_MAX, Sampler
from gwctl.control.metrics import MasterMetrics, PoolMetrics
from gwctl.errors import ControlError
from tests.support.admin_master import asynchronous, eventually


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def metrics(requests: int = 0) -> MasterMetrics:
    web = PoolMetrics("web", "sync", 1, 1, requests={"GET": {"2xx": requests}})
    return MasterMetrics("shop", "1", 1, 1.0, 1, "serving", "healthy", pools=(web,))


async def nothing() -> MasterMetrics:
    raise ControlError("never asked here")


class Taken:
    """A sampler that is given its figures by the test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told = 0
        self.sampler = Sampler(nothing, self._tell, self.clock, lambda: 1764400000.0 + self.clock.now)

    def _tell(self) -> None:
        self.told += 1

    def after(self, seconds: float, requests: int) -> None:
        self.clock.now += seconds
        self.sampler.take(metrics(requests))

    @property
    def kept(self) -> list[float]:
        return [each.pools["web"].requests_per_s for each in self.sampler.kept]


def test_the_first_figures_are_where_it_begins() -> None:
    it = Taken()
    it.after(0, 1_000_000)
    assert it.kept == []
    it.after(5, 1_000_010)
    assert it.kept == [2.0]


def test_a_quarter_of_an_hour_is_kept() -> None:
    it = Taken()
    for number in range(1000):
        it.after(KEPT_EVERY_S, number)
    assert len(it.sampler.kept) * KEPT_EVERY_S == KEPT_MAX * KEPT_EVERY_S == 15 * 60


def test_what_is_kept_is_of_five_seconds_also_while_each_second_is_told() -> None:
    it = Taken()
    it.sampler.follow()
    for number in range(11):
        it.after(1.001, number * 10)
    assert it.kept == [pytest.approx(9.99, abs=0.01)] * 2
    assert it.told == it.sampler.number == 10


def test_a_gap_is_one_long_span() -> None:
    it = Taken()
    it.after(0, 0)
    it.after(60, 60)
    assert it.kept == [1.0]


def test_followers_are_told_what_comes_and_nothing_of_before() -> None:
    it = Taken()
    it.after(0, 0)
    it.after(1, 5)
    assert it.told == 0, "nobody follows"
    place = it.sampler.follow()
    it.after(1, 7)
    (found,) = it.sampler.since(place)
    assert found.pools["web"].requests_per_s == 2.0
    assert it.sampler.since(it.sampler.number) == []
    it.sampler.unfollow()
    it.after(1, 9)
    assert len(it.sampler.since(place)) == 1


def test_a_slow_follower_is_told_the_last_of_them() -> None:
    it = Taken()
    place = it.sampler.follow()
    for number in range(TOLD_MAX * 3):
        it.after(1, number)
    found = it.sampler.since(place)
    assert len(found) == TOLD_MAX
    assert found[-1].at == 1764400000.0 + it.clock.now


# ---- in time


@contextlib.asynccontextmanager
async def running(ask: object) -> AsyncIterator[Sampler]:
    sampler = Sampler(ask, lambda: None)  # type: ignore[arg-type]
    task = asyncio.ensure_future(sampler.run())
    yield sampler
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynchronous
async def test_who_begins_to_follow_has_it_asked_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_EVERY_S", 1000.0)
    monkeypatch.setattr(module, "FOLLOWED_EVERY_S", 0.001)
    asked = []

    async def ask() -> MasterMetrics:
        asked.append(1)
        return metrics(len(asked))

    async with running(ask) as sampler:
        await eventually(lambda: asked, "the first figures")
        assert len(asked) == 1
        place = sampler.follow()
        await eventually(lambda: len(sampler.since(place)) >= 3, "three samples")


@asynchronous
async def test_a_master_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_EVERY_S", 0.001)
    monkeypatch.setattr(module, "FOLLOWED_EVERY_S", 0.001)
    asked = []

    async def ask() -> MasterMetrics:
        asked.append(1)
        if len(asked) < 5:
            raise ControlError("the master did not answer")
        return metrics()

    async with running(ask) as sampler:
        await eventually(lambda: sampler.kept, "a sample")
