"""Where a request's task waits: down to the application's innermost frame, in both builds of the engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import pytest

from gwctl.workers.observe import introspection
from tests.support.engine import Engine
from tests.support.wait import until


async def innermost(until_set: asyncio.Event) -> None:
    await until_set.wait()


class LazyQuery:
    """Awaited by a method of its own, as a lazy query is."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    def __await__(self) -> Generator[Any, None, None]:
        return innermost(self._event).__await__()


async def blocks(event: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"first"
    await innermost(event)


async def by_call(event: asyncio.Event) -> None:
    await innermost(event)


async def by_object(event: asyncio.Event) -> None:
    await LazyQuery(event)


async def by_loop(event: asyncio.Event) -> None:
    async for _block in blocks(event):
        pass


async def by_next(event: asyncio.Event) -> None:
    source = blocks(event)
    await anext(source)
    await anext(source, None)


async def by_close(event: asyncio.Event) -> None:
    @contextlib.asynccontextmanager
    async def held() -> AsyncIterator[None]:
        yield
        await innermost(event)

    async with held():
        pass


async def by_group(event: asyncio.Event) -> None:
    """What the group's task does is told of that task; here is where the request waits for it."""
    async with asyncio.TaskGroup() as group:
        group.create_task(innermost(event))


class View:
    def __init__(self, way: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        self._way = way
        self.event: asyncio.Event

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.event = asyncio.Event()
        await self._way(self.event)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("way", [by_call, by_object, by_loop, by_next, by_close, by_group])
def test_the_stack_ends_where_the_application_waits(way: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    view = View(way)
    with Engine(view, "asgi") as engine, engine.connect() as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")

        def report() -> Any:
            return introspection.request_report(engine.server.runner.under_way(), engine.loop)

        def names() -> list[list[str]]:
            return [[line.rsplit(" ", 1)[1] for line in each.frames] for each in engine.call(report).tasks]

        until(lambda: any("innermost" in stack for stack in names()), lambda: f"the frame: {names()}")
        request, *others = names()
        assert request[-2:] == [way.__name__, "__call__"]
        if way is by_group:
            assert others == [["wait", "innermost"]]
        else:
            assert request[:2] == ["wait", "innermost"]
            assert others == []
        engine.call(view.event.set)
        assert client.response().status == 200
        until(lambda: names() == [], "the task to be over")


def test_our_own_tasks_are_not_told_of() -> None:
    async def application(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()

    with Engine(application, "asgi") as engine, engine.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")

        def ours() -> list[bool]:
            return [introspection.is_ours(task) for task in asyncio.all_tasks(engine.loop)]

        until(lambda: engine.call(ours) == [True], "the request's task, whose outermost code is ours")
