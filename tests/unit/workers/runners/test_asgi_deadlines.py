"""ASGI requests over their limit: answered, cancelled, explained; the others of the worker go on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gwctl.workers.runners import asgi_deadlines
from tests.support.engine import Engine
from tests.support.wait import until

pytestmark = pytest.mark.usefixtures("asgi_under")

START = {"type": "http.response.start", "status": 200, "headers": []}


class Application:
    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.extensions: dict[str, Any] = {}

    async def __call__(self, scope, receive, send) -> None:
        self.extensions = scope["extensions"]
        path = scope["path"]
        try:
            await self._respond(path, send)
        except asyncio.CancelledError:
            self.cancelled.append(path)
            raise

    async def _respond(self, path: str, send) -> None:
        if path == "/streams":
            await send(START)
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while path == "/stubborn":
            with contextlib.suppress(asyncio.CancelledError):
                await self.wait_for_nothing()
        if path == "/extends":
            await send({"type": "gwctl.timeout", "seconds": 20})
        if path in {"/waits", "/streams"}:
            await self.wait_for_nothing()
        if path in {"/slow", "/extends"}:
            await asyncio.sleep(0.8)
        await send(START)
        await send({"type": "http.response.body", "body": b"done"})
        if path == "/background":
            await asyncio.sleep(0.8)
            self.cancelled.append("never")

    async def wait_for_nothing(self) -> None:
        await asyncio.get_running_loop().create_future()


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def engine(application: Application) -> Iterator[Engine]:
    timeouts = {"request_timeout_s": 0.3, "request_timeout_paths": ("/slow 20",)}
    with Engine(application, "asgi", timeouts=timeouts) as engine:
        yield engine


@pytest.mark.not_under("sync", reason="the master judges how long a request takes there")
def test_it_gets_504_its_task_is_cancelled_and_one_record_says_where_it_waited(engine, application):
    with engine.connect() as other, engine.connect() as client:
        other.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        response = client.get("/waits")
        assert response.status == 504
        assert client.at_end()
        assert other.response().body == b"done", "the other request went on"
    until(lambda: application.cancelled == ["/waits"], "the task to be cancelled")
    engine.wait_for_log("request timeout: GET /waits has run 0.")
    record = engine.log
    assert "(limit 0.3 s); answered with 504, its task is cancelled" in record
    assert "in wait_for_nothing\n" in record
    assert "gwctl/workers" not in record
    assert record.count(" error ") == 1, "one record"


@pytest.mark.not_under("sync", reason="the master judges how long a request takes there")
def test_no_drain_waits_for_one_that_ignores_its_cancellation(engine, monkeypatch):
    monkeypatch.setattr(asgi_deadlines, "CLEAN_UP_S", 0.2)
    with engine.connect() as client:
        assert client.get("/stubborn").status == 504
    drained = threading.Event()
    engine.call(lambda: engine.server.drain(False, drained.set))
    assert drained.wait(10)
    assert engine.call(lambda: engine.server.active_requests) == 0


@pytest.mark.not_under("sync", reason="the master judges how long a request takes there")
def test_in_mid_response_its_connection_is_cut(engine, application):
    with engine.connect() as client:
        client.send(b"GET /streams HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"begun" in client.read_until(b"begun")
        with contextlib.suppress(ConnectionResetError):
            assert b"0\r\n\r\n" not in client.rest(), "the end shows that the response is not whole"
    engine.wait_for_log("connection cut in mid-response")
    until(lambda: application.cancelled == ["/streams"], "the task to be cancelled")


def test_path_and_extension_give_more_time(engine, application):
    with engine.connect() as client:
        assert client.get("/slow").body == b"done"
        assert client.get("/extends").body == b"done"
        assert "gwctl.timeout" in application.extensions
    assert "request timeout" not in engine.log


def test_what_runs_on_after_the_response_has_no_limit(engine, application):
    with engine.connect() as client:
        assert client.get("/background").body == b"done"
        until(lambda: application.cancelled == ["never"], "the background work to end")
    assert "request timeout" not in engine.log


def test_without_a_limit_nothing_is_offered_or_ended(application):
    with Engine(application, "asgi") as engine, engine.connect() as client:
        assert client.get("/slow").body == b"done"
        assert "gwctl.timeout" not in application.extensions
