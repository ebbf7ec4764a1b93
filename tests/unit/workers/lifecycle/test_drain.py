"""Serve, park, drain, quit: nothing accepted is lost, and the end is announced."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from gwctl.ipc.scoreboard import REQUESTS
from tests.support.engine import WORKER_CLASSES, Engine
from tests.support.engine_apps import application
from tests.support.raw import reset_at_close
from tests.support.wait import until

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(params=WORKER_CLASSES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with Engine(application(request.param), request.param, timeouts={"linger_s": 0.4}) as engine:
        yield engine


@pytest.fixture(params=WORKER_CLASSES)
def patient(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine that leaves its clients time to ask once more."""
    with Engine(application(request.param), request.param, timeouts={"linger_s": 20.0}) as engine:
        yield engine


def test_an_idle_server_drains_at_the_next_sweep(engine: Engine) -> None:
    assert engine.drain().wait(20)
    assert engine.call(lambda: engine.server.drained)


def test_idle_connections_are_closed_after_the_linger(engine: Engine) -> None:
    with engine.connect() as client:
        client.get()
        drained = threading.Event()

        def drained_at_once() -> bool:
            engine.server.drain(False, drained.set)
            return engine.server.drained

        assert not engine.call(drained_at_once)
        assert client.at_end()
        assert drained.wait(20)


def test_a_request_during_the_linger_is_answered_with_a_close(patient: Engine) -> None:
    with patient.connect() as client:
        client.get()
        drained = patient.drain()
        response = client.get()
        assert response.body == b"hello"
        assert response.headers["connection"] == "close"
        assert client.at_end()
        assert drained.wait(20)


def test_whoever_was_about_to_send_more_is_not_reset(patient: Engine) -> None:
    """It could not know. What it sends meets nobody, but its last response stays readable (RFC 9112, 9.6)."""
    with patient.connect() as client:
        client.get()
        drained = patient.drain()
        client.send(REQUEST)
        response = client.response()
        assert response.headers["connection"] == "close"
        assert client.at_end()
        for _ in range(3):  # a reset would have made the second one fail
            client.send(REQUEST)
    assert drained.wait(20)


def test_a_connection_that_was_accepted_but_not_read_is_served(patient: Engine) -> None:
    with patient.connect() as client:
        until(lambda: patient.call(lambda: patient.server.connections), "the connection to be accepted")
        drained = patient.drain()
        client.send(REQUEST)
        assert client.response().body == b"hello"
        assert client.at_end()
        assert drained.wait(20)


def test_the_backlog_is_served_in_a_sweep(engine: Engine) -> None:
    engine.call(engine.server.park)
    clients = [engine.connect() for _ in range(30)]
    for client in clients:
        client.send(REQUEST)
    drained = engine.drain(sweep=True)
    for client in clients:
        assert client.response().body == b"hello"
        client.sock.close()
    assert drained.wait(20)
    assert engine.words(REQUESTS) == 30


def test_parked_means_no_accept_and_everything_else_as_before(engine: Engine) -> None:
    with engine.connect() as served:
        assert served.get().body == b"hello"
        engine.call(engine.server.park)
        with engine.connect() as waiting:
            waiting.send(REQUEST)
            assert served.get().headers.get("connection") is None
            assert engine.call(lambda: engine.server.connections) == 1
            engine.call(engine.server.serve)
            assert waiting.response().body == b"hello"


def test_a_late_sweep_gives_no_time_that_has_not_passed(engine: Engine) -> None:
    """What has happened since the loop turned again is not late: a drain would wait for the length of the last call."""
    with engine.connect() as client:
        client.get()

        def sweep_late() -> float:
            engine.server._sweep_at = time.monotonic() - 60
            engine.server._sweep()
            return max(each.since for each in engine.server.open_connections())

        assert engine.call(sweep_late) <= time.monotonic()


def test_close_listeners_twice_and_then_the_port_refuses(engine: Engine) -> None:
    with engine.connect() as client:
        assert client.get().status == 200
        engine.call(engine.server.close_listeners)
        engine.call(engine.server.close_listeners)
        assert client.get().status == 200
        address = engine._listener.getsockname()
        engine._listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)


def test_a_request_in_progress_is_finished(request: pytest.FixtureRequest) -> None:
    arrived, go = threading.Event(), threading.Event()

    def hold(environ, start_response):
        arrived.set()
        assert go.wait(20)
        start_response("200 OK", [])
        return [b"finished"]

    with Engine(hold, "threads", timeouts={"linger_s": 0.1}) as engine, engine.connect() as client:
        client.send(REQUEST)
        assert arrived.wait(20)
        drained = engine.drain()
        seen = engine.server._sweep_at
        until(lambda: engine.server._sweep_at > seen + 0.3, "some sweeps")
        assert not drained.is_set()
        assert engine.server.active_requests == 1
        go.set()
        response = client.response()
        assert response.body == b"finished"
        assert response.headers["connection"] == "close"
        assert drained.wait(20)


def test_background_work_of_an_asgi_request_is_waited_for() -> None:
    import asyncio

    go = asyncio.Event()

    async def background(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
        await go.wait()

    with Engine(background, "asgi", timeouts={"linger_s": 0.05}) as engine:
        with engine.connect() as client:
            assert client.get().body == b"done"
        until(lambda: engine.call(lambda: engine.server.connections) == 0, "the connection to be gone")
        drained = engine.drain()
        assert not drained.wait(0.3)
        engine.call(go.set)
        assert drained.wait(20)


def test_quit_cuts_and_counts() -> None:
    import asyncio

    arrived = threading.Event()

    async def hold(scope, receive, send):
        arrived.set()
        await asyncio.Event().wait()

    with Engine(hold, "asgi") as engine, engine.connect() as client, engine.connect() as idle:
        until(lambda: engine.call(lambda: engine.server.connections) == 2, "the connections")
        client.send(REQUEST)
        assert arrived.wait(20)
        assert engine.call(engine.server.quit) == 1
        assert client.at_end()
        assert idle.at_end()


def test_a_reset_client_does_not_keep_the_server_from_draining(engine: Engine) -> None:
    with engine.connect() as client:
        client.get()
        reset_at_close(client.sock)
    assert engine.drain().wait(20)
