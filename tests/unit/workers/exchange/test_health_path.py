"""``health_path``: probes on the port of the application, answered by the loop."""

from __future__ import annotations

from typing import Any

import pytest

from gwctl.workers.exchange.states import HEAD
from tests.support.engine import Engine
from tests.support.wait import until


def never(*_: Any) -> Any:
    raise AssertionError("the application was called")


async def never_asgi(*_: Any) -> None:
    raise AssertionError("the application was called")


def start(worker_class: str, **settings: Any) -> Engine:
    application = never_asgi if worker_class == "asgi" else never
    return Engine(application, worker_class, health_path="/healthz", **settings)


@pytest.mark.parametrize("target", ["/healthz", "/healthz?verbose=1"])
@pytest.mark.parametrize("settings", [{}, {"requests_max": 1}], ids=["unbounded", "bounded"])
def test_a_probe_is_answered_without_the_application(
    worker_class: str, target: str, settings: dict[str, int]
) -> None:
    with start(worker_class, **settings) as engine:
        for _ in range(3):
            with engine.connect() as client:
                answer = client.get(target)
                assert (answer.status, answer.body) == (200, b"200 OK\n")
                assert answer.headers["connection"] == "close"
                assert client.at_end()
        assert "was called" not in engine.log


def test_head_has_no_body(worker_class: str) -> None:
    with start(worker_class) as engine, engine.connect() as client:
        client.send(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head, end, body = client.rest().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert (end, body) == (b"\r\n\r\n", b"")


@pytest.mark.parametrize(
    "head", [b"POST /healthz", b"GET /healthz/", b"GET /Healthz", b"GET /health%7A", b"GET /?/healthz"]
)
def test_whatever_else_is_the_applications(worker_class: str, head: bytes) -> None:
    with start(worker_class) as engine, engine.connect() as client:
        client.send(head + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert client.response().status == 500


def test_while_the_worker_drains_it_is_said(worker_class: str) -> None:
    with start(worker_class) as engine, engine.connect() as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHo")
        until(lambda: engine.only_connection().state == HEAD, "its head to have begun")
        engine.call(engine.server.release_clients)
        client.send(b"st: x\r\n\r\n")
        assert client.response().status == 503
