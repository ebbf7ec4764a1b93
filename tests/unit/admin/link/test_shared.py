"""One question for all who ask it at about the same time, and an answer that is never older than the question."""

from __future__ import annotations

import asyncio

import pytest

from gwctl.admin.link.errors import GoneError, SilentError
from gwctl.admin.link.shared import Shared
from tests.support.admin_master import asynchronous, eventually


class Asked:
    """What is asked: each time a future that the test answers."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[int]] = []

    async def __call__(self) -> int:
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]

    async def times(self, count: int) -> None:
        await eventually(lambda: len(self.answers) >= count, f"{count} questions")


@asynchronous
async def test_who_asks_before_it_is_sent_shares_it_and_who_comes_later_has_the_next() -> None:
    asked = Asked()
    shared = Shared("health", asked, 0.0)
    first = [asyncio.ensure_future(shared.get(30)) for _ in range(100)]
    await asked.times(1)
    second = [asyncio.ensure_future(shared.get(30)) for _ in range(100)]
    await asyncio.sleep(0.01)
    assert len(asked.answers) == 1, "one is under way at a time"
    asked.answers[0].set_result(1)
    assert set(await asyncio.gather(*first)) == {1}
    await asked.times(2)
    asked.answers[1].set_result(2)
    assert set(await asyncio.gather(*second)) == {2}
    assert len(asked.answers) == 2


@asynchronous
async def test_between_two_there_is_a_pause() -> None:
    loop = asyncio.get_running_loop()
    sent = []

    async def ask() -> int:
        sent.append(loop.time())
        return len(sent)

    shared = Shared("health", ask, 0.05)
    began_at = loop.time()  # not from one to the next: `ask` may have been late to write down the one
    assert [await shared.get(30) for _ in range(3)] == [1, 2, 3]
    assert all(at - began_at >= 0.05 * number - 1e-6 for number, at in enumerate(sent))


@asynchronous
async def test_who_waits_too_long_is_told_and_the_question_stays() -> None:
    asked = Asked()
    shared = Shared("health", asked, 0.0)
    for _ in range(3):
        with pytest.raises(SilentError, match=r"did not answer health within 0\.01 s"):
            await shared.get(0.01)
    assert len(asked.answers) == 1
    asked.answers[0].set_result(1)
    await asked.times(2)
    asked.answers[1].set_result(2)
    answer = asyncio.ensure_future(shared.get(30))
    await asked.times(3)
    asked.answers[2].set_result(3)
    assert await answer == 3


@asynchronous
async def test_an_error_is_for_all_who_asked_and_for_nobody_else() -> None:
    asked = Asked()
    shared = Shared("health", asked, 0.0)
    tasks = [asyncio.ensure_future(shared.get(30)) for _ in range(3)]
    await asked.times(1)
    asked.answers[0].set_exception(GoneError("gone"))
    assert {str(each) for each in await asyncio.gather(*tasks, return_exceptions=True)} == {"gone"}
    answer = asyncio.ensure_future(shared.get(30))
    await asked.times(2)
    asked.answers[1].set_result(2)
    assert await answer == 2


@asynchronous
async def test_one_who_goes_takes_it_from_nobody() -> None:
    asked = Asked()
    shared = Shared("health", asked, 0.0)
    goes, stays = asyncio.ensure_future(shared.get(30)), asyncio.ensure_future(shared.get(30))
    await asked.times(1)
    goes.cancel()
    asked.answers[0].set_result(1)
    assert await stays == 1


@asynchronous
async def test_an_error_that_nobody_hears_any_more_is_no_noise() -> None:
    asked = Asked()
    shared = Shared("health", asked, 0.0)
    with pytest.raises(SilentError):
        await shared.get(0.01)
    asked.answers[0].set_exception(GoneError("gone"))
    await shared.close()
