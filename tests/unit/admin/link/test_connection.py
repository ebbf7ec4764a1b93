"""Many requests at once over one connection: answers, silence, refusals, a master that goes or talks nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from gwctl.admin.link.connection import PAUSES_S, WAITING_MAX, WIDTHS, Link
from gwctl.admin.link.errors import AnsweredNoError, CrowdedError, GoneError, SilentError
from gwctl.control import protocol
from gwctl.control.protocol import ANSWER_BYTES_MAX, Failure, Happened, Lost, News, Progress
from gwctl.supervisor.control.server import REQUESTS_MAX
from tests.support.admin_master import FakeMaster, asynchronous, eventually


class Linked:
    """A link, its master, and what was said about their end."""

    def __init__(self) -> None:
        self.master = FakeMaster()
        self.gone: list[str] = []
        self.link = Link(self.master.socket(), self.gone.append)


@asynccontextmanager
async def linked() -> AsyncIterator[Linked]:
    it = Linked()
    await it.master.begin()
    await it.link.open()
    yield it
    it.link.close()
    await it.master.end()


@asynchronous
async def test_answers_find_who_asked_whatever_their_order() -> None:
    async with linked() as it:
        it.master.silent |= {"status", "health", "dump"}
        asked = {
            method: asyncio.ensure_future(it.link.ask(params, 30))
            for method, params in [
                ("status", protocol.Status()),
                ("health", protocol.Health()),
                ("dump", protocol.Dump("web")),
            ]
        }
        for method in ("dump", "status", "health"):
            await it.master.asked(method)
        for method in ("health", "dump", "status"):
            it.master.answer_all(method, {"is": method})
        assert {method: await answer for method, answer in asked.items()} == {
            each: {"is": each} for each in asked
        }


@asynchronous
async def test_what_the_method_needs_is_sent() -> None:
    async with linked() as it:
        await it.link.ask(protocol.Scale("web", 4), 30)
        asked = await it.master.asked("scale")
        assert asked.params == {"pool": "web", "size": 4}


@asynchronous
async def test_news_go_to_who_asked_before_the_answer() -> None:
    async with linked() as it:
        it.master.silent |= {"reload", "events"}
        first: list[News] = []
        second: list[News] = []
        reload = asyncio.ensure_future(it.link.ask(protocol.Reload(), None, first.append))
        events = asyncio.ensure_future(it.link.ask(protocol.Events(), None, second.append))
        number, other = (await it.master.asked("reload")).number, (await it.master.asked("events")).number
        it.master.say(protocol.encode_progress(Progress(number, "web", "boot", "ok")))
        it.master.say(protocol.encode_event(other, b'{"number": 1}'))
        it.master.say(protocol.encode_lost(other, 7))
        it.master.say(b'{"method": "weather", "params": {"id": 1}}\n')
        it.master.answer(number, {"text": "adopted"})
        it.master.answer(other, {})
        assert await reload == {"text": "adopted"}
        await events
        assert first == [Progress(number, "web", "boot", "ok")]
        assert second == [Happened(other, {"number": 1}), Lost(other, 7)]


@asynchronous
async def test_a_refusal_has_what_the_master_says() -> None:
    async with linked() as it:
        it.master.answers["scale"] = lambda params: Failure(1, "no pool 'x'", {"pool": "x"})
        with pytest.raises(AnsweredNoError, match="no pool 'x'") as caught:
            await it.link.ask(protocol.Scale("x", 1), 30)
        assert caught.value.failure == Failure(1, "no pool 'x'", {"pool": "x"})


@asynchronous
async def test_silence_ends_the_waiting_and_keeps_the_place() -> None:
    """The master counts what it has not answered: so nothing else is sent in that lane, and nothing refused."""
    async with linked() as it:
        it.master.silent.add("health")
        for _ in range(3):
            with pytest.raises(SilentError, match=r"did not answer health within 0\.01 s"):
                await it.link.ask(protocol.Health(), 0.01)
        assert it.master.count("health") == 1
        later = asyncio.ensure_future(it.link.ask(protocol.Health(), 30))
        it.master.answer_all("health", {"n": 1})
        await it.master.asked("health", 2)
        assert (await later)["phase"] == "serving", (
            "the answer to the one that gave up is not that of the next"
        )


@asynchronous
async def test_who_is_cancelled_before_it_is_sent_is_never_sent() -> None:
    async with linked() as it:
        it.master.silent.add("dump")
        tasks = [asyncio.ensure_future(it.link.ask(protocol.Dump(f"web.{n}"), 30)) for n in range(3)]
        await it.master.asked("dump")
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        it.master.answer_all("dump")
        await asyncio.gather(tasks[0], tasks[2])
        assert [each.params["worker"] for each in it.master.requests] == ["web.0", "web.2"]


@asynchronous
async def test_never_more_is_open_than_the_master_takes() -> None:
    assert sum(WIDTHS.values()) < REQUESTS_MAX
    methods = [
        protocol.Health(),
        protocol.Status(),
        protocol.Metrics(),
        protocol.Requests(),
        protocol.Dump("web"),
        protocol.LogLevel(),
        protocol.Scale("web", 1),
        protocol.Recycle("web"),
        protocol.Reload(),
        protocol.Rollback(),
        protocol.Events(),
        protocol.Events(follow=True),
    ]
    async with linked() as it:
        it.master.silent |= set(protocol.METHODS)
        tasks = [asyncio.ensure_future(it.link.ask(each, 30)) for each in methods * 5]
        await eventually(lambda: len(it.master.open) == sum(WIDTHS.values()), "all places to be taken")
        while it.master.open:
            for number in list(it.master.open):
                it.master.answer(number, {})
            await asyncio.sleep(0.001)
            await eventually(lambda: it.master.open or all(task.done() for task in tasks), "the next ones")
        await asyncio.gather(*tasks)
        assert (len(it.master.requests), it.master.refused) == (len(tasks), 0)


@asynchronous
async def test_what_takes_long_does_not_hold_up_a_probe() -> None:
    async with linked() as it:
        it.master.silent |= {"reload", "dump", "status", "scale"}
        waiting = [protocol.Reload(), protocol.Dump("web"), protocol.Status(), protocol.Scale("web", 1)]
        tasks = [asyncio.ensure_future(it.link.ask(each, 30)) for each in waiting * 10]
        assert (await it.link.ask(protocol.Health(), 30))["phase"] == "serving"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynchronous
async def test_the_queue_is_bounded_and_first_come_first_served() -> None:
    async with linked() as it:
        it.master.silent.add("dump")
        tasks = [
            asyncio.ensure_future(it.link.ask(protocol.Dump(f"web.{n}"), 30)) for n in range(WAITING_MAX + 1)
        ]
        await it.master.asked("dump")
        with pytest.raises(CrowdedError, match="64 requests wait already"):
            await it.link.ask(protocol.Dump("web"), 30)
        it.master.answer_all("dump")
        await asyncio.gather(*tasks)
        names = [each.params["worker"] for each in it.master.requests]
        assert names == [f"web.{n}" for n in range(WAITING_MAX + 1)]


@asynchronous
async def test_what_costs_the_master_more_comes_with_pauses() -> None:
    loop = asyncio.get_running_loop()
    asked: list[float] = []

    def note(params: object) -> dict[str, int]:
        asked.append(loop.time())
        return {}

    async with linked() as it:
        it.master.answers["requests"] = note
        await asyncio.gather(*(it.link.ask(protocol.Requests("web"), 30) for _ in range(5)))
        assert min(later - earlier for earlier, later in pairwise(asked)) >= PAUSES_S["looks"] * 0.9


@asynchronous
async def test_when_the_master_goes_all_who_wait_are_told_once() -> None:
    async with linked() as it:
        it.master.silent |= {"health", "dump"}
        tasks = [asyncio.ensure_future(it.link.ask(protocol.Dump("web"), None)) for _ in range(3)]
        tasks.append(asyncio.ensure_future(it.link.ask(protocol.Health(), 30)))
        await it.master.asked("health")
        await it.master.end()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [GoneError] * 4
        assert it.gone == ["the master has closed the connection"]
        assert it.link.closed.is_set()
        with pytest.raises(GoneError, match="the master has closed the connection"):
            await it.link.ask(protocol.Health(), 30)


@asynchronous
async def test_the_master_s_last_words_are_the_reason() -> None:
    async with linked() as it:
        it.master.fail(None, Failure(2, "64 control clients are connected, and another one came"))
        await it.master.end()
        await eventually(lambda: it.gone, "the end")
        assert it.gone == ["64 control clients are connected, and another one came"]


@asynchronous
async def test_who_closes_is_not_told() -> None:
    async with linked() as it:
        it.master.silent.add("health")
        task = asyncio.ensure_future(it.link.ask(protocol.Health(), 30))
        await it.master.asked("health")
        it.link.close()
        with pytest.raises(GoneError):
            await task
        assert (it.gone, it.link.closed.is_set()) == ([], True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\n", "malformed"),
        (b'{"id": 1, "result": 5}\n', "Expected"),
        (b'{"id": 1, "result": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}\n", "nested too deeply"),
        (b'{"method": "event", "params": {"id": 1}}\n', "event"),
        (b"\xff\xfe\n", "malformed"),
        (b"x" * (ANSWER_BYTES_MAX + 1), "a line without end"),
    ],
)
@asynchronous
async def test_a_line_that_is_none_of_the_protocol_ends_it(line: bytes, said: str) -> None:
    async with linked() as it:
        it.master.silent.add("health")
        task = asyncio.ensure_future(it.link.ask(protocol.Health(), 30))
        await it.master.asked("health")
        it.master.say(line)
        with pytest.raises(GoneError, match="does not speak gwctl's protocol") as caught:
            await task
        assert said in str(caught.value)
        assert it.gone == [str(caught.value)]


@asynchronous
async def test_an_answer_that_nobody_asked_for_is_nothing() -> None:
    async with linked() as it:
        it.master.say(
            b'{"id": 4711, "result": {}}\n{"id": "x", "result": {}}\n{"id": 4712, "extra": [1]}\n{}\n'
        )
        assert (await it.link.ask(protocol.Health(), 30))["generation"] == 5


@asynchronous
async def test_a_huge_answer_comes_through() -> None:
    async with linked() as it:
        it.master.answers["status"] = lambda params: {"text": "x" * (8 << 20)}
        answer = await it.link.ask(protocol.Status(), 30)
        assert len(answer["text"]) == 8 << 20


@asynchronous
async def test_what_is_asked_before_it_is_open_is_sent_then() -> None:
    it = Linked()
    task = asyncio.ensure_future(it.link.ask(protocol.Health(), 30))
    await asyncio.sleep(0)
    await it.master.begin()
    await it.link.open()
    assert (await task)["phase"] == "serving"
    it.link.close()
    await it.master.end()


@asynchronous
async def test_a_master_that_does_not_know_what_is_asked_is_another_version() -> None:
    """It was upgraded to one before there were admin processes, and does not know that it has one."""
    async with linked() as it:
        it.master.silent.add("metrics")
        waiting = asyncio.ensure_future(it.link.ask(protocol.Metrics(), 30))
        asked = await it.master.asked("metrics")
        it.master.fail(asked.number, Failure(protocol.NO_SUCH_METHOD, "no method 'metrics'"))
        with pytest.raises(GoneError, match="of another version"):
            await waiting
        assert it.gone == ["the master is of another version"]
