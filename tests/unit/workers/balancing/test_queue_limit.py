"""Requests that have waited too long, or whose client has gone, never reach the application."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest

from gwctl.ipc.scoreboard import DROPPED
from gwctl.workers.balancing.queue_limit import seconds_since
from gwctl.workers.exchange.states import BUSY
from gwctl.workers.transport import acceptor
from tests.support.engine import Client, Engine
from tests.support.engine_apps import application
from tests.support.raw import reset_at_close
from tests.support.tls import Files, client_context
from tests.support.wait import pass_time, until

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
LIMIT_S = 3.5
ONE_AT_ONCE: dict[str, dict[str, Any]] = {
    "sync": {},
    "threads": {"threads": 1},
    "asgi": {"requests_max": 1},
    "sync+asgi": {},
    "threads+asgi": {"threads": 1},
    "asgi+wsgi": {"threads": 1},
}


class Gate:
    """A request for /hold stays until ``open``; ``seen`` has the paths in the order of their calls."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[str] = []

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.seen.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/hold":
            assert self.open.wait(30)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        if scope["path"] == "/block":
            assert self.open.wait(30)
        while scope["path"] == "/hold" and not self.open.is_set():  # noqa: ASYNC110 - of no loop
            await asyncio.sleep(0.005)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    def application(self, worker_class: str) -> Any:
        return self.asgi if worker_class.endswith("asgi") else self.wsgi


def engine_at_its_bound(gate: Gate, worker_class: str, **settings: Any) -> Engine:
    settings = {"timeouts": {"queue_timeout_s": LIMIT_S}, **ONE_AT_ONCE[worker_class], **settings}
    return Engine(gate.application(worker_class), worker_class, **settings)


def waited(engine: Engine, count: int) -> float:
    """For how long all of ``count`` requests have been there, without the time in which the loop stood still."""
    since = [each.since for each in engine.server.open_connections() if each.state == BUSY]
    return time.monotonic() - max(since) if len(since) == count else 0.0


def ends(engine: Engine) -> int:
    """Whose clients are known to have ended their side."""
    return sum(each.eof for each in engine.server.open_connections())


def stands_still(engine: Engine, seconds: float) -> None:
    """Hold the loop: all clients get that time again, those as well whose end was read before."""
    engine.server._sweep_at = time.monotonic()
    pass_time(seconds)
    engine.server._sweep()


@pytest.mark.parametrize("hold", ["/hold", "/block"])
def test_who_has_waited_too_long_is_told_and_who_comes_now_is_served(worker_class: str, hold: str) -> None:
    """Three times what can be done in time: the late ones cost no call, and all that are not late are served."""
    if hold == "/block" and worker_class != "asgi":
        pytest.skip("under WSGI a call that waits is one that blocks")
    gate = Gate()
    settings = {"requests_max": 0} if hold == "/block" else {}
    with (
        engine_at_its_bound(gate, worker_class, **settings) as engine,
        contextlib.ExitStack() as stack,
    ):

        def ask(data: bytes) -> Client:
            client = stack.enter_context(engine.connect())
            client.send(data)
            return client

        first = ask(GET % hold.encode())
        until(lambda: gate.seen, "the first to be in the application")
        late = [ask(GET % b"/late") for _ in range(10)] + [ask(POST) for _ in range(10)]
        pass_time(LIMIT_S + 0.3)
        prompt = [ask(GET % b"/prompt") for _ in range(10)]
        gate.open.set()
        assert first.response().body == b"done"
        for client in late:
            answer = client.response()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert [client.response().body for client in prompt] == [b"done"] * 10
        assert gate.seen == [hold] + ["/prompt"] * 10
        assert engine.words(DROPPED) == 20
        assert engine.log.count("(queue_timeout_s 3.5): answered 503 before the application") == 1
        assert ask(GET % b"/").response().body == b"done", "it has recovered"


@pytest.mark.parametrize("kind", ["plain", "unix", "tls"])
def test_whose_client_has_gone_is_dropped_and_who_only_ends_its_side_is_served(
    worker_class: str, kind: str, shop: Files
) -> None:
    gate = Gate()
    settings: dict[str, Any] = {"timeouts": {}}
    if kind == "unix":
        settings["unix"] = True
    elif kind == "tls":
        settings["tls"] = shop.server()
    with engine_at_its_bound(gate, worker_class, **settings) as engine, contextlib.ExitStack() as stack:

        def ask(data: bytes) -> Client:
            client = stack.enter_context(engine.connect())
            if kind == "tls":
                context = client_context()
                client.sock = context.wrap_socket(client.sock, server_hostname="shop.example")
            client.send(data)
            return client

        quick = [ask(GET % b"/quick") for _ in range(3)]
        assert [client.response().body for client in quick] == [b"done"] * 3
        gate.seen.clear()
        first = ask(GET % b"/hold")
        until(lambda: gate.seen, "the first to be in the application")
        if kind == "tls":
            waiting = quick  # no handshake is begun now
            for client in waiting:
                client.send(GET % b"/gone")
        else:
            waiting = [ask(GET % b"/gone") for _ in range(3)] + [ask(POST) for _ in range(3)]
        half = None
        if kind != "tls":
            half = ask(GET % b"/half")
            half.finish_sending()
        by_our_clock = kind == "tls" and not worker_class.startswith("sync")
        if by_our_clock:
            until(
                lambda: engine.call(lambda: waited(engine, 4) > 0.8),
                "all to have waited, as the server sees it",
            )
        else:
            pass_time(0.8)
        for client in waiting:
            client.sock.close()
        if by_our_clock:
            until(lambda: engine.call(lambda: ends(engine)) == 3, "their ends to be read")
            engine.call(lambda: stands_still(engine, 0.6))
        else:
            pass_time(0.1)
        gate.open.set()
        assert first.response().body == b"done"
        if half is not None:
            assert half.response().body == b"done"
            assert gate.seen == ["/hold", "/half"]
            assert engine.words(DROPPED) == len(waiting)
        elif not worker_class.startswith("sync"):
            until(lambda: engine.words(DROPPED) == len(waiting), "all to be dropped")
            assert gate.seen == ["/hold"]


def test_whose_client_has_gone_from_the_backlog_is_dropped_whenever_the_sweep_looks(monkeypatch) -> None:
    """Several sweeps come between the last look at who waits there and the one that lets them in."""
    monkeypatch.setattr(acceptor, "RECHECK_S", 0.3)
    gate = Gate()
    with engine_at_its_bound(gate, "asgi", sweep_s=0.05) as engine:
        with engine.connect() as first:
            first.send(GET % b"/hold")
            until(lambda: gate.seen, "the first to be in the application")
            with contextlib.ExitStack() as stack:
                for _ in range(3):
                    stack.enter_context(engine.connect()).send(GET % b"/gone")
                pass_time(0.8)
            pass_time(0.1)
            gate.open.set()
            assert first.response().body == b"done"
            until(lambda: engine.words(DROPPED) == 3, "all to be dropped")
        assert gate.seen == ["/hold"]


def test_whose_client_has_gone_is_dropped_whoever_comes_right_behind() -> None:
    """Those who wait are looked at, although one who has not is read in the same turn of the loop."""
    gate = Gate()
    with Engine(gate.asgi, "asgi") as engine, engine.connect() as first:
        first.send(GET % b"/block")
        until(lambda: gate.seen, "the loop to be blocked")
        with engine.connect() as gone:
            gone.send(GET % b"/gone")
            pass_time(0.8)
        with engine.connect() as prompt:
            prompt.send(GET % b"/prompt")
            gate.open.set()
            assert first.response().body == prompt.response().body == b"done"
        assert gate.seen == ["/block", "/prompt"]
        assert engine.words(DROPPED) == 1


def test_an_asgi_task_whose_client_resets_before_its_first_step_does_not_begin() -> None:
    gate = Gate()
    with Engine(gate.asgi, "asgi") as engine, engine.connect() as client:
        client.send(GET % b"/first" + GET % b"/block")
        until(lambda: "/block" in gate.seen, "the loop to be blocked")
        with engine.connect() as gone:
            gone.send(GET % b"/gone")
            reset_at_close(gone.sock)
        pass_time(0.2)
        gate.open.set()
        assert client.response().body == client.response().body == b"done"
        with engine.connect() as other:
            other.send(GET % b"/other")
            assert other.response().body == b"done"
        assert gate.seen == ["/first", "/block", "/other"]


def test_what_a_trusted_proxy_says_counts(worker_class: str) -> None:
    now = time.time()
    with Engine(
        application(worker_class), worker_class, timeouts={"queue_timeout_s": 15.0}, retry_after_s=3
    ) as engine:
        for value in (
            f"t={now - 20:.3f}",
            f"{(now - 20) * 1e3:.0f}",
            f"t={(now - 20) * 1e6:.0f}, t={now:.3f}",
        ):
            with engine.connect() as client:
                answer = client.get("/", f"X-Request-Start: {value}")
                assert (answer.status, answer.headers["retry-after"]) == (503, "3")
        with engine.connect() as client:
            for value in (f"t={now - 1:.3f}", "t=nonsense", f"t={now + 1000:.3f}", "", "t=1"):
                assert client.get("/", f"X-Request-Start: {value}").body == b"hello"
            assert client.get().body == b"hello", "nothing stays of the request before"
            shown = client.get("/path", f"X-Request-Start: t={now:.3f}").body
            assert f"t={now:.3f}".encode() in shown, "the application sees it"
            client.send(
                b"POST /echo HTTP/1.1\r\nHost: x\r\nX-Request-Start: t=%.3f\r\nContent-Length: 2\r\n\r\nab"
                % now
            )
            assert client.response().body == b"ab"
        assert engine.words(DROPPED) == 3


def test_what_others_say_does_not_count(worker_class: str) -> None:
    settings: dict[str, Any] = {"timeouts": {"queue_timeout_s": 15.0}, "trusted_proxies": ("192.0.2.1",)}
    with Engine(application(worker_class), worker_class, **settings) as engine, engine.connect() as client:
        assert client.get("/", f"X-Request-Start: t={time.time() - 20:.3f}").body == b"hello"


def test_a_trusted_proxy_is_believed_although_no_forwarded_field_is(worker_class: str) -> None:
    settings: dict[str, Any] = {"timeouts": {"queue_timeout_s": 15.0}, "forwarded_headers": ()}
    with Engine(application(worker_class), worker_class, **settings) as engine:
        with engine.connect() as client:
            assert client.get("/", f"X-Request-Start: t={time.time() - 20:.3f}").status == 503
        with engine.connect() as client:
            assert client.get("/", f"X-Request-Start: t={time.time():.3f}").body == b"hello"
        assert engine.words(DROPPED) == 1


def test_no_limit(worker_class: str) -> None:
    with (
        Engine(application(worker_class), worker_class, timeouts={"queue_timeout_s": 0.0}) as engine,
        engine.connect() as client,
    ):
        assert client.get("/", f"X-Request-Start: t={time.time() - 2000:.3f}").body == b"hello"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"t=1700000000.250", 9.75),
        (b"1700000000.250", 9.75),
        (b"t=1700000000", 10),
        (b"1700000000250", 9.75),
        (b"t=1700000000250", 9.75),
        (b" t=1700000000250000 ", 9.75),
        (b"1700000000250000000", 9.75),
        (b"t=1700000000.25, t=1700000009", 9.75),
        (b"t=1700000010.001", 0),  # a clock that is ahead
        (b"t=1699990000", 0),  # one that is wrong
        (b"", 0),
        (b"t=", 0),
        (b"t=-1700000000", 0),
        (b"t=17e8", 0),
        (b"yesterday", 0),
        (b"t=" + b"9" * 30, 0),
        (b"t=1700000000.2.5", 0),
    ],
)
def test_the_formats_of_x_request_start(value: bytes, seconds: float) -> None:
    assert seconds_since(value, 1_700_000_010.0) == pytest.approx(seconds, abs=1e-3)
