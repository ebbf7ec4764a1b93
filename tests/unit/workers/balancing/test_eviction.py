"""No room for a new connection: a silent client makes it, and whoever behaves is served, or told 503, at once."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gwctl.ipc.scoreboard import EVICTED, REFUSED
from gwctl.workers.balancing import eviction
from gwctl.workers.balancing.eviction import Patience
from gwctl.workers.exchange.states import FRESH, IDLE
from tests.support.compiled import pure_only
from tests.support.engine import Client, Engine
from tests.support.engine_apps import application
from tests.support.tls import Files, client_context
from tests.support.wait import until

pytestmark = pure_only  # how long nobody is evicted is set shorter here

BOUND = 6
PROXY = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eviction, "WAIT_MIN_S", 0.2)


def settings_of(kind: str, shop: Files) -> dict[str, Any]:
    match kind:
        case "tls":
            return {"tls": shop.server()}
        case "proxy":
            return {"proxy_protocol": True}
        case "unix":
            return {"unix": True}
    return {}


def served(engine: Engine, kind: str) -> int:
    """A well-behaved client: the status it gets."""
    with engine.connect() as client:
        return served_on(client, kind)


def served_on(client: Client, kind: str) -> int:
    if kind == "tls":
        client.sock = client_context().wrap_socket(client.sock, server_hostname="shop.example")
    elif kind == "proxy":
        client.send(PROXY)
    return client.get().status


def silent(engine: Engine, start: bytes) -> list[Client]:
    """As many clients as may be connected, of which nothing comes after ``start``."""
    clients = [engine.connect() for _ in range(BOUND)]
    for client in clients:
        client.send(start)
    until(lambda: engine.call(lambda: engine.server.connections) == BOUND, "all to be accepted")
    return clients


def nobody_at_a_request(engine: Engine) -> bool:
    """From when a client waits is noted after it has been answered; by threads, in any order."""
    return all(each.state in {FRESH, IDLE} for each in engine.server.open_connections())


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
STARTS = {
    "plain": [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HT"],
    "unix": [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HT"],
    "tls": [b"", HELLO],
    "proxy": [b"", PROXY[:20], PROXY, PROXY + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", PROXY + b"GET / HT"],
}


@pytest.mark.parametrize("kind", STARTS)
def test_silent_clients_make_room_at_connections_max(worker_class: str, kind: str, shop: Files) -> None:
    """Before TLS or a PROXY header, in the middle of either or of a head, or between two requests."""
    app = application(worker_class)
    with Engine(app, worker_class, connections_max=BOUND, **settings_of(kind, shop)) as engine:
        gone = 0
        for start in STARTS[kind]:
            clients = silent(engine, start)
            for _ in range(2 * BOUND):
                assert served(engine, kind) == 200
            gone += BOUND
            until(lambda: engine.words(EVICTED) >= 1, "evictions to be counted")
            for client in clients:
                client.sock.close()
            until(lambda: not engine.call(lambda: engine.server.connections), "all to be gone")
        assert 1 <= engine.words(EVICTED) <= gone
        assert engine.log.count("no room for new connections") == 1


def test_who_has_waited_longest_goes_and_is_told_by_the_end(worker_class: str) -> None:
    with Engine(application(worker_class), worker_class, connections_max=3) as engine:
        clients = [engine.connect() for _ in range(3)]
        for client in (*clients, clients[0]):
            assert client.get().status == 200
            until(lambda: nobody_at_a_request(engine), "the request to be over")
        with engine.connect() as new:
            assert new.get().status == 200
            assert clients[1].at_end()
            assert clients[0].get().status == clients[2].get().status == 200
        for client in clients:
            client.sock.close()
        assert engine.words(EVICTED) == 1


def test_half_a_head_goes_last_and_is_told_408(worker_class: str) -> None:
    with Engine(application(worker_class), worker_class, connections_max=2) as engine:
        half, idle = engine.connect(), engine.connect()
        half.send(b"GET / HTTP/1.1\r\n")
        assert idle.get().status == 200
        with engine.connect() as new, engine.connect() as another:
            assert new.get().status == 200
            assert idle.at_end()
            assert another.get().status == 200
            assert half.response().status == 408
        half.sock.close()
        idle.sock.close()


def test_nobody_goes_who_has_not_waited_or_is_at_a_request(
    worker_class: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Young connections and a body under way: who finds no room is told 503 at once."""
    monkeypatch.setattr(eviction, "WAIT_MIN_S", 60.0)
    app = application(worker_class)
    with Engine(app, worker_class, connections_max=3, overload="refuse") as engine:
        young, half, body = engine.connect(), engine.connect(), engine.connect()
        assert young.get().status == 200
        half.send(b"GET / HT")
        body.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        until(lambda: engine.call(lambda: engine.server.connections) == 3, "all to be accepted")
        with engine.connect() as new:
            assert new.response().status == 503
        half.send(b"TP/1.1\r\nHost: x\r\n\r\n")
        body.send(b"cd")
        assert half.response().status == young.get().status == 200
        assert body.response().body == b"abcd"
        for client in (young, half, body):
            client.sock.close()
        assert (engine.words(EVICTED), engine.words(REFUSED)) == (0, 1)


@pytest.mark.parametrize("kind", ["plain", "tls", "unix"])
def test_busy_clients_leave_with_their_next_response(
    worker_class: str, kind: str, shop: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is silent, so nobody is evicted; those beyond the bound must have their turn nevertheless."""
    monkeypatch.setattr(eviction, "WAIT_MIN_S", 60.0)
    app = application(worker_class)
    with Engine(app, worker_class, connections_max=3, **settings_of(kind, shop)) as engine:
        kept = [engine.connect() for _ in range(3)]
        for client in kept:
            if kind == "tls":
                client.sock = client_context().wrap_socket(client.sock, server_hostname="shop.example")
            assert client.get().headers.get("connection") is None
        with engine.connect() as new, ThreadPoolExecutor(1) as pool:
            waits = pool.submit(served_on, new, kind)
            until(lambda: engine.call(lambda: engine.server._acceptor._expecting_room), "it to be seen")
            answers = [client.get() for client in kept]
            assert waits.result() == 200
        assert {answer.status for answer in answers} == {200}
        assert [answer.headers.get("connection") for answer in answers].count("close") == 1
        assert engine.words(EVICTED) == 0
        for client in kept:
            client.sock.close()


def test_whose_request_is_on_its_way_stays() -> None:
    """It came while the worker was busy, and is read after a new client is seen to."""
    with (
        Engine(application("sync"), "sync", connections_max=1) as engine,
        engine.connect() as old,
        engine.connect() as new,
    ):
        assert old.get().status == 200
        new.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

        def sends_while_the_loop_is_held() -> None:
            old.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: _unread(engine), "it to arrive")
            (connection,) = engine.server.open_connections()
            connection.since -= 60
            assert not engine.server._acceptor._eviction.make_room(1, time.monotonic())

        engine.call(sends_while_the_loop_is_held)
        assert old.response().status == 200
        assert new.response().status == 200


def _unread(engine: Engine) -> bool:
    (connection,) = engine.server.open_connections()
    with contextlib.suppress(BlockingIOError):
        return bool(connection.sock.recv(1, socket.MSG_PEEK))
    return False


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_a_kernel_that_gives_none_is_the_same(worker_class: str, number: int) -> None:
    """The system's table of files is full (ENFILE), or it has no memory for a socket."""
    with Engine(application(worker_class), worker_class) as engine, engine.connect() as idle:
        assert idle.get().status == 200
        acceptor = engine.server._acceptor
        accept_one, failed = acceptor._reserve, []

        def reserve() -> None:
            if not engine.record.words[EVICTED]:
                failed.append(1)
                raise OSError(number, os.strerror(number))
            accept_one()

        acceptor._reserve = reserve
        with engine.connect() as new:
            assert new.get().status == 200
            assert idle.at_end()
        assert failed


def test_siblings_with_room_come_first_but_not_for_long() -> None:
    patience = Patience()
    assert patience.wait(10.0)
    assert patience.wait(10.05)
    assert not patience.wait(10.11)
    assert not patience.wait(11.0), "it is stuck: the next one need not wait"
    assert patience.wait(11.2), "it may be well again"
    assert patience.wait(20.0), "another time"
    assert patience.wait(20.05)


def test_a_connection_goes_to_a_sibling_with_room_before_anybody_is_closed(
    worker_class: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_s = eviction.WAIT_MIN_S
    monkeypatch.setattr(eviction, "WAIT_MIN_S", 60.0)  # however long the sibling takes to come to it
    app = application(worker_class)
    with (
        Engine(app, worker_class, connections_max=2, siblings=True) as one,
        Engine(app, worker_class, connections_max=2, beside=one) as other,
        contextlib.ExitStack() as stack,
    ):
        clients = [stack.enter_context(one.connect()) for _ in range(4)]
        for client in clients:
            assert client.get().status == 200
        assert one.words(EVICTED) + other.words(EVICTED) == 0
        monkeypatch.setattr(eviction, "WAIT_MIN_S", wait_s)
        with one.connect() as fifth:
            assert fifth.get().status == 200
        assert 1 <= one.words(EVICTED) + other.words(EVICTED) <= 2, (
            "both may make room for the one that waits"
        )
