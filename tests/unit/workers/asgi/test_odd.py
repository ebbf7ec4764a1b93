"""ASGI applications that spoil what is theirs to change: it costs nobody but themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.engine import Engine
from tests.support.engine_apps import departure
from tests.support.wait import until
from tests.support.websocket import TEXT, frame, open_on, read_frame

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
CLASSES = ("asgi", "sync+asgi", "threads+asgi")


def no_headers(scope: dict[str, Any]) -> None:
    del scope["headers"]


def str_headers(scope: dict[str, Any]) -> None:
    scope["headers"].append((b"user-agent", "text"))


def odd_headers(scope: dict[str, Any]) -> None:
    scope["headers"].append((b"user-agent",))


SPOILS = pytest.mark.parametrize("spoils", [no_headers, str_headers, odd_headers])


@SPOILS
@pytest.mark.parametrize("worker_class", CLASSES)
def test_a_scope_that_is_changed_does_not_hold_the_connection(
    worker_class: str, spoils: Callable[[dict[str, Any]], None]
) -> None:
    async def application(scope, receive, send):
        spoils(scope)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"done"})

    with Engine(application, worker_class, access_log=True) as engine, engine.connect() as client:
        for _ in range(3):
            assert client.get().body == b"done"
        until(lambda: not engine.server.active_requests, "nothing to be under way")
        assert " error " not in engine.log


@SPOILS
def test_nor_a_websocket(spoils: Callable[[dict[str, Any]], None]) -> None:
    async def application(scope, receive, send):
        spoils(scope)
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})

    with Engine(application, "asgi", access_log=True) as engine, engine.connect() as client:
        open_on(client)
        client.send(frame(TEXT, b"hello"))
        assert read_frame(client) == (TEXT, b"hello")


@pytest.mark.parametrize("field", [(None, b"x"), (), (b"content-type",), (b"content-type", None)], ids=repr)
@pytest.mark.parametrize("worker_class", ["asgi", "threads+asgi"])  # the loop of sync waits for the odd one
def test_a_head_that_is_none_does_not_stop_who_looks_after_all(worker_class: str, field: Any) -> None:
    """It is not judged before the first block, which does not come."""

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [field]})
        await departure(receive)

    times = {"header_timeout_s": 0.3}
    with (
        Engine(application, worker_class, timeouts=times, threads=2) as engine,
        engine.sent(GET % b"/"),
    ):
        until(lambda: engine.server.active_requests, "it to wait")
        with engine.sent(b"GET / HT") as slow:
            assert slow.response().status == 408


class Odd:
    """No number, although it can be added to one."""

    def __radd__(self, other: object) -> list[object]:
        return [other]


@pytest.mark.parametrize("worker_class", ["asgi", "threads+asgi"])
def test_more_time_that_is_no_number_does_not_either(worker_class: str) -> None:
    async def application(scope, receive, send):
        with pytest.raises(TypeError):
            await send({"type": "gwctl.timeout", "seconds": Odd()})
        await departure(receive)

    times = {"header_timeout_s": 0.3, "request_timeout_s": 0.4}
    with (
        Engine(application, worker_class, timeouts=times, threads=2) as engine,
        engine.sent(GET % b"/") as odd,
    ):
        with engine.sent(b"GET / HT") as slow:
            assert slow.response().status == 408
        assert odd.response().status == 504
