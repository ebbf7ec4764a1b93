"""An application that cancels all tasks, among them those of requests that have not had their first step."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.engine import Engine
from tests.support.engine_apps import application

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"


@pytest.mark.parametrize(
    "data", [GET, POST, GET * 3, POST[:-2]], ids=["get", "post", "pipeline", "half a body"]
)
def test_who_was_not_begun_is_answered_too(data: bytes) -> None:
    with Engine(application("asgi"), "asgi") as engine, engine.connect() as client:
        assert client.get("/").body == b"hello"

        def arrives_and_is_cancelled() -> Any:
            (connection,) = engine.server._connections
            connection.data_received(data)
            for task in asyncio.all_tasks(engine.loop):
                task.cancel()

        engine.call(arrives_and_is_cancelled)
        assert client.response().status == 500
        assert engine.log.count("the request was cancelled before it began") == 1
        with engine.connect() as other:
            assert other.get("/").body == b"hello"


def test_a_drain_does_not_wait_for_it() -> None:
    with Engine(application("asgi"), "asgi") as engine, engine.connect() as client:
        assert client.get("/").body == b"hello"

        def arrives_and_is_cancelled() -> None:
            (connection,) = engine.server._connections
            connection.data_received(GET)
            for task in asyncio.all_tasks(engine.loop):
                task.cancel()
            engine.server.drain(sweep=False)

        engine.call(arrives_and_is_cancelled)
        assert client.response().status == 500
        assert client.at_end()
