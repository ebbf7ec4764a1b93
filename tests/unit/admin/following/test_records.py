"""The master's records in this process: in order, each once, bounded, with a place for each who follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gwctl.admin.following import records as module
from gwctl.admin.following.records import Records
from gwctl.admin.link.connection import Link
from gwctl.admin.link.master import Master
from gwctl.control.protocol import Failure
from gwctl.supervisor import history
from tests.support.admin_master import FakeMaster, asynchronous, eventually, happening


def unlinked() -> Records:
    return Records(None, lambda: None)  # type: ignore[arg-type]


def numbers(records: Records, after: int = 0) -> list[int]:
    return [each.number for each in records.after(after)]


@asynccontextmanager
async def running(master: FakeMaster) -> AsyncIterator[Records]:
    link = Link(master.socket(), lambda why: None)
    records = Records(Master(link), lambda: None)
    await master.begin()
    await link.open()
    task = asyncio.ensure_future(records.run())
    yield records
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    link.close()
    await master.end()


@asynchronous
async def test_what_was_and_what_comes_is_there_once() -> None:
    master = FakeMaster(history=[happening(number) for number in range(1, 6)])
    async with running(master) as records:
        await records.known()
        assert numbers(records) == [1, 2, 3, 4, 5]
        await eventually(lambda: master.followers, "it to be followed")
        master.happens(happening(6))
        await eventually(lambda: records.last == 6, "the next one")
        assert numbers(records) == [1, 2, 3, 4, 5, 6]
        assert [each.params.get("follow", False) for each in master.requests] == [False, True]


@asynchronous
async def test_it_is_followed_again_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.001)
    master = FakeMaster(history=[happening(1)])
    master.answers["events"] = lambda params: Failure(2, "8 requests wait already")
    async with running(master) as records:
        await master.asked("events", 3)
        del master.answers["events"]
        await records.complete.wait()
        await eventually(lambda: master.followers, "it to be followed")
        number = master.followers.pop()
        master.answer(number, {"events": 1, "lost": 0})
        await eventually(lambda: master.followers, "it to be followed again")
        master.happens(happening(2))
        await eventually(lambda: records.last == 2, "the next one")
        assert numbers(records) == [1, 2]


@asynchronous
async def test_it_ends_with_its_master() -> None:
    master = FakeMaster()
    link = Link(master.socket(), lambda why: None)
    records = Records(Master(link), lambda: None)
    await master.begin()
    await link.open()
    task = asyncio.ensure_future(records.run())
    await eventually(lambda: master.followers, "it to be followed")
    await master.end()
    await task


@asynchronous
async def test_one_waits_for_a_silent_master_s_history_but_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "READ_S", 0.01)
    async with running(FakeMaster(silent={"events"})) as records:
        await records.known()
        assert not records.complete.is_set()


def test_so_many_are_kept_as_the_master_keeps() -> None:
    assert (module.KEPT_MAX, module.KEPT_BYTES_MAX) == (history.KEPT_MAX, history.KEPT_BYTES_MAX)
    records = unlinked()
    for number in range(1, 2001):
        records.take(happening(number))
    assert numbers(records) == list(range(1001, 2001))
    for number in range(2001, 2101):
        records.take(happening(number, text="x" * (1 << 16)))
    assert len(numbers(records)) == 15
    records.take(happening(3000, text="x" * (1 << 21)))
    assert numbers(records) == [3000], "the newest is kept, however long"


@pytest.mark.parametrize("event", [{}, {"number": "1"}, {"number": None}, {"number": 3}, {"number": 1.5}])
def test_what_has_no_number_or_an_old_one_is_nothing(event: dict[str, Any]) -> None:
    records = unlinked()
    records.take(happening(3))
    records.take(event)
    assert numbers(records) == [3]


@pytest.mark.parametrize(
    ("last_seen", "last", "place"),
    [
        (None, 0, 20),
        (None, 3, 17),
        (None, 10, 10),
        (None, 1000, 10),
        (15, 0, 15),
        (15, 3, 15),
        (20, 0, 20),
        (5, 0, 5),
        (0, 0, 0),
        (21, 0, 10),
        (10**18, 0, 10),
        (-1, 0, 10),
    ],
)
def test_where_one_begins(last_seen: int | None, last: int, place: int) -> None:
    """Kept are 11 to 20; a number that never was is of another master, whose records are all new."""
    records = unlinked()
    for number in range(11, 21):
        records.take(happening(number))
    assert records.place(last_seen, last) == place


def test_where_one_begins_when_nothing_has_happened() -> None:
    records = unlinked()
    assert [records.place(None, 0), records.place(None, 5), records.place(0, 0), records.place(7, 0)] == [
        0
    ] * 4
