"""At connections_max and requests_max: waiting in the backlog, or 503. Never a crash, one line in the log."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from gwctl.ipc.scoreboard import REFUSED, REQUESTS
from gwctl.workers.balancing import eviction, overload
from gwctl.workers.runners import asgi_deadlines
from tests.support.compiled import pure_only
from tests.support.engine import WORKER_CLASSES, Engine
from tests.support.engine_apps import application
from tests.support.tls import Files, connect
from tests.support.wait import until

REQUEST = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def _nobody_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """As idle clients would after two seconds, which a busy machine may take for a few lines.

    Nor is an overload over because of such a pause.
    """
    monkeypatch.setattr(eviction, "WAIT_MIN_S", 60.0)
    monkeypatch.setattr(overload, "_OVER_S", 4.0)


class Gatekeeper:
    """WSGI and ASGI: requests for /wait stay in the application until ``open``; counts the most at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = self.most = 0

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self._enter()
        if environ["PATH_INFO"] == "/wait":
            assert self.open.wait(30)
        self.inside -= 1
        start_response("200 OK", [])
        return [b"done"]

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        self._enter()
        while scope["path"] == "/wait" and not self.open.is_set():  # noqa: ASYNC110 - of no loop
            await asyncio.sleep(0.005)
        self.inside -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    def _enter(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_connections_over_the_bound_wait_in_the_backlog(worker_class: str) -> None:
    with Engine(application(worker_class), worker_class, connections_max=2) as engine:
        one, two, three = engine.connect(), engine.connect(), engine.connect()
        assert one.get().status == two.get().status == 200
        three.send(REQUEST % b"/")
        engine.wait_for_log("overload: 2 connections (connections_max = 2): accepting no more")
        three.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            three.response()
        one.sock.close()
        three.sock.settimeout(30)
        assert three.response().body == b"hello"
        assert two.get().status == 200
        two.sock.close()
        three.sock.close()
        engine.wait_for_log("overload is over after")
        assert "all were served later" in engine.log
        assert engine.log.count("overload:") == 1


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_connections_over_the_bound_are_refused_at_once(worker_class: str) -> None:
    settings = {"connections_max": 2, "overload": "refuse", "retry_after_s": 7}
    with Engine(application(worker_class), worker_class, **settings) as engine:
        one, two = engine.connect(), engine.connect()
        assert one.get().status == two.get().status == 200
        for _ in range(20):
            with engine.connect() as refused:
                refused.send(REQUEST % b"/")
                answer = refused.response()
                assert (answer.status, answer.headers["retry-after"]) == (503, "7")
                assert answer.headers["connection"] == "close"
                assert refused.at_end()
        assert one.get().status == two.get().status == 200
        one.sock.close()
        until(lambda: engine.call(lambda: engine.server.connections) == 1, "room again")
        with engine.connect() as three:
            assert three.get().status == 200
        two.sock.close()
        assert engine.words(REFUSED) == 20
        engine.wait_for_log("overload is over after")
        assert "20 refused" in engine.log
        assert engine.log.count("overload:") == 1, "one line for all of them"


@pure_only
@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
@pytest.mark.parametrize("sent", [b"", REQUEST % b"/", b"GET / HT"])
def test_refused_clients_that_stay_keep_nobody_from_being_told(
    worker_class: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many linger: the oldest is closed for the next one, and each is answered at once."""
    monkeypatch.setattr(overload, "LINGERING_MAX", 3)
    settings = {"connections_max": 1, "overload": "refuse"}
    with Engine(application(worker_class), worker_class, **settings) as engine, engine.connect() as one:
        assert one.get().status == 200
        clients = []
        for _ in range(12):
            clients.append(engine.connect())
            clients[-1].send(sent)
            assert clients[-1].response().status == 503
        until(lambda: engine.call(lambda: engine.server.connections) == 4, "three to linger")
        assert one.get().status == 200
        assert clients[0].at_end()
        for client in clients:
            client.sock.close()
        until(lambda: engine.call(lambda: engine.server.connections) == 1, "the others to be gone")
        with engine.connect() as refused:
            assert refused.response().status == 503
        assert engine.words(REFUSED) == 13


@pure_only
@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_refused_clients_that_are_silent_before_tls_keep_nobody_from_being_told(
    worker_class: str, shop: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "LINGERING_MAX", 3)
    with (
        Engine(
            application(worker_class), worker_class, connections_max=1, overload="refuse", tls=shop.server()
        ) as engine,
        connect(engine) as one,
    ):
        assert one.get().status == 200
        silent = [engine.connect() for _ in range(12)]
        with connect(engine) as told:
            assert told.response().status == 503
        assert one.get().status == 200
        for client in silent:
            client.sock.close()


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_requests_over_the_bound_are_refused(worker_class: str) -> None:
    gate = Gatekeeper()
    app = gate.asgi if worker_class == "asgi" else gate.wsgi
    with Engine(app, worker_class, requests_max=2, overload="refuse", threads=4) as engine:
        clients = [engine.connect() for _ in range(2)]
        for client in clients:
            client.send(REQUEST % b"/wait")
        until(lambda: gate.inside == 2, "both to run")
        with engine.connect() as third:
            answer = third.get()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert third.at_end()
        gate.open.set()
        for client in clients:
            assert client.response().body == b"done"
            assert client.get().body == b"done"
            client.sock.close()
        assert gate.most == 2


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_requests_over_the_bound_wait_and_are_all_served(worker_class: str) -> None:
    """Also those on connections that were there before; one has gone when its turn comes."""
    gate = Gatekeeper()
    app = gate.asgi if worker_class == "asgi" else gate.wsgi
    threads = {"threads": 2} if worker_class == "threads" else {}
    with Engine(app, worker_class, requests_max=2, **threads) as engine:
        clients = [engine.connect() for _ in range(8)]
        for client in clients:
            assert client.get().body == b"done"
        gate.most = 0
        for client in clients[:-1]:
            client.send(REQUEST % b"/wait")
        clients[-1].send(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        until(lambda: gate.inside == (1 if worker_class == "sync" else 2), "as many as may to run")
        clients[3].sock.close()
        gate.open.set()
        for n, client in enumerate(clients):
            if n != 3:
                assert client.response().body == b"done"
                assert client.get().body == b"done"
                client.sock.close()
        assert gate.most <= 2
        until(
            lambda: engine.words(REQUESTS) >= 8 + 14, "a count of them all"
        )  # a thread counts after it wrote


def test_a_load_that_hovers_about_the_bound_is_one_overload() -> None:
    """It comes and goes each few seconds; a line for each would be thousands in a night."""
    with Engine(application("sync"), "sync", connections_max=1) as engine:
        bounds = engine.server.overload
        assert bounds is not None

        def hover() -> None:
            now = engine.loop.time()
            for _ in range(600):
                bounds._note(now, "1 connections")
                bounds.check_end(now + 5)
                now += 6

        engine.call(hover)
        assert engine.log.count("overload:") < 10


@pure_only
def test_who_waits_is_let_in_when_a_request_that_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asgi_deadlines, "CLEAN_UP_S", 0.2)
    over = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while scope["path"] == "/stubborn" and not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    times = {"request_timeout_s": 60.0, "request_timeout_paths": ("/stubborn 0.2",)}
    with (
        Engine(app, "asgi", requests_max=1, timeouts=times) as engine,
        engine.connect() as stubborn,
        engine.connect() as waiting,
    ):
        stubborn.send(REQUEST % b"/stubborn")
        until(lambda: engine.server.active_requests, "it to begin")
        waiting.send(REQUEST % b"/")
        try:
            assert stubborn.response().status == 504
            assert waiting.response().body == b"done"
        finally:
            over.set()
