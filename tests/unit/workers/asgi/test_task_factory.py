"""An application whose task factory fails: its clients are told, and the worker goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.engine import Engine
from tests.support.engine_apps import application
from tests.support.wait import until
from tests.support.websocket import gone, handshake

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"
FACTORIES = {
    "ValueError": lambda _loop, _coroutine, **_more: _raise(ValueError("deliberate")),
    "SystemExit": lambda _loop, _coroutine, **_more: _raise(SystemExit(3)),
    "CancelledError": lambda _loop, _coroutine, **_more: _raise(asyncio.CancelledError()),
    "returned None": lambda _loop, _coroutine, **_more: None,
    "TypeError": lambda: None,
}


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.usefixtures("asgi_under")
@pytest.mark.parametrize("what", FACTORIES)
def test_who_has_no_task_is_answered_with_500(what: str) -> None:
    factory: Any = FACTORIES[what]
    with Engine(application("asgi"), "asgi") as engine:
        with engine.connect() as client:
            assert client.get("/").body == b"hello"
            engine.in_application(lambda: loop_of(engine).set_task_factory(factory))
            for data in (GET, POST, GET + GET, POST[:-2], CHUNKED):
                with engine.connect() as other:
                    other.send(data)
                    assert other.response().status == 500
                    assert other.at_end()
            client.send(GET)
            assert client.response().status == 500
        assert engine.log.count("task factory raised") == 6
        assert what in engine.log
        engine.in_application(lambda: loop_of(engine).set_task_factory(None))
        with engine.connect() as client:
            assert client.get("/").body == b"hello"
        until(lambda: engine.under_way == 0, "the last task to be over")


def loop_of(engine: Engine) -> asyncio.AbstractEventLoop:
    return engine.server.runner.application_loop or engine.loop


@pytest.mark.parametrize("what", FACTORIES)
def test_a_websocket_that_has_no_task_is_refused_with_500(what: str) -> None:
    factory: Any = FACTORIES[what]
    with Engine(application("asgi"), "asgi") as engine, engine.connect() as client:
        engine.call(lambda: engine.loop.set_task_factory(factory))
        client.send(handshake())
        assert client.response().status == 500
        client.sock.close()
        gone(engine)
        assert engine.call(lambda: engine.server.websockets.idle)
        assert engine.log.count("task factory raised") == 1
        assert what in engine.log or what == "returned None"
        engine.call(lambda: engine.loop.set_task_factory(None))
