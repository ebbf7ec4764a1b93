"""A worker that is stuck in a call hands waiting connections to a sibling; nothing of it shows.

Two engines on one listener share a scoreboard and an exchange, as two workers do.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gwctl.ipc.scoreboard import BYTES_IN, CONNECTIONS, ERRORS, REQUESTS
from gwctl.workers.drain import unanswered
from gwctl.workers.exchange.states import BODY, IDLE
from gwctl.workers.runners.sync import SyncRunner
from tests.support.engine import Client, Engine
from tests.support.wait import until

REQUEST = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
WSGI = ("sync", "threads")
BOTH = (*WSGI, "sync+asgi", "threads+asgi")


@dataclass
class Application:
    """Answers with its name and what it was sent; /stuck waits for ``let_go``."""

    name: bytes
    let_go: threading.Event = field(default_factory=threading.Event)
    stuck: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/stuck":
            self.stuck.release()
            assert self.let_go.wait(30)
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/who":
            body = f" {environ['REMOTE_ADDR']} {environ['SERVER_PORT']}".encode()
        return [self.name + body]


class Blocking(Application):
    """The same as an ASGI application, one that blocks its event loop."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # type: ignore[override]
        if scope["path"] == "/stuck":
            self.stuck.release()
            assert self.let_go.wait(30)
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": self.name + body})


@dataclass
class Pair:
    one: Engine
    other: Engine
    app: Application

    def connect(self) -> Client:
        """A client of ``one``, kept alive."""
        self.other.call(self.other.server.park)
        client = self.one.connect()
        assert client.get().body == b"one"
        self.other.call(self.other.server.serve)
        return client

    def lets_wait(self, client: Client) -> None:
        """A request of ``client`` is not answered while the call lasts that `stick` began; then that ends."""
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.get()
        self.app.let_go.set()
        client.sock.settimeout(30)

    def stick(self, client: Client) -> None:
        client.send(REQUEST % b"/stuck")
        assert self.app.stuck.acquire(timeout=30)

    def connections(self) -> tuple[int, int]:
        return self.one.words(CONNECTIONS), self.other.words(CONNECTIONS)


@contextlib.contextmanager
def pair(worker_class: str, *, handover: bool = True, **settings: Any) -> Iterator[Pair]:
    worker_class, _, interface = worker_class.partition("+")
    kind = Blocking if interface else Application
    app = kind(b"one")
    settings = {"threads": 1, "interface": interface, **settings}
    first = Engine(app, worker_class, siblings=True, **settings)
    if not handover:
        assert first.queue is not None
        first.queue.send = lambda *_: False  # type: ignore[method-assign]
    with first as one, Engine(kind(b"other"), worker_class, beside=one, **settings) as other:
        try:
            yield Pair(one, other, app)
        finally:
            app.let_go.set()


@pytest.mark.parametrize("worker_class", WSGI)
def test_a_body_that_is_given_away_is_counted_once(worker_class: str) -> None:
    with pair(worker_class) as both, both.connect() as slow, both.connect() as client:
        both.stick(slow)
        for _ in range(3):
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
            assert client.response().body == b"otherhello"
        both.app.let_go.set()
        assert slow.response().body == b"one"
        assert both.one.words(BYTES_IN) + both.other.words(BYTES_IN) == 15


@pytest.mark.parametrize("worker_class", BOTH)
def test_a_request_behind_a_stuck_one_is_answered_by_a_sibling(worker_class: str) -> None:
    with pair(worker_class) as both, both.connect() as slow, both.connect() as client:
        both.stick(slow)
        for _ in range(3):
            assert client.get().body == b"other"
        both.app.let_go.set()
        assert slow.response().body == b"one"
        assert slow.get().body == b"one"
        assert client.get().body == b"other"
        until(lambda: both.connections() == (1, 1), lambda: f"one connection each: {both.connections()}")
        # A thread counts a response just after it wrote it.
        until(lambda: both.one.words(REQUESTS) + both.other.words(REQUESTS) == 8, "eight responses counted")
        assert both.one.words(ERRORS) == both.other.words(ERRORS) == 0


@pytest.mark.parametrize("worker_class", BOTH)
def test_without_it_the_request_waits(worker_class: str) -> None:
    """The same with an exchange that takes nothing: the test above does not pass by chance."""
    with pair(worker_class, handover=False) as both, both.connect() as slow, both.connect() as client:
        both.stick(slow)
        both.lets_wait(client)
        assert client.response().body == b"one"


@pytest.mark.parametrize("worker_class", BOTH)
def test_many_wait_and_all_are_answered(worker_class: str) -> None:
    """More than are free at once, those of a second stuck worker too: everything is answered once."""
    with pair(worker_class) as both:
        clients = [both.connect() for _ in range(20)]
        both.stick(clients[0])
        for client in clients[1:]:
            client.send(REQUEST % b"/")
        assert {client.response().body for client in clients[1:]} == {b"other"}
        both.app.let_go.set()
        assert clients[0].response().body == b"one"
        for client in clients:
            client.sock.close()


@pytest.mark.parametrize("worker_class", BOTH)
def test_what_waits_in_line_goes_too(worker_class: str) -> None:
    """Requests that were read before the call began; one has a body."""
    with pair(worker_class) as both:
        clients = [both.connect() for _ in range(4)]
        both.one.call(lambda: hold_loop(both, clients))
        answers = [client.response().body for client in clients[1:]]
        assert answers[0] in {b"otherabc", b"oneabc"}  # one that was read before the stuck one is not late
        assert b"otherabc" in answers or b"other" in answers
        both.app.let_go.set()
        assert clients[0].response().body == b"one"
        for client in clients:
            client.sock.close()


def calls_are_slow(both: Pair) -> None:
    if isinstance(both.one.server.runner, SyncRunner):
        both.one.server.runner._average_s = 1.0
    both.one.server.accounts.flush()


def calls_are_fast(both: Pair) -> None:
    """So that requests are served as they are read."""
    if isinstance(both.one.server.runner, SyncRunner):
        both.one.server.runner._average_s = 0.0
    both.one.call(both.one.server.runner.on_flush)


def hold_loop(both: Pair, clients: list[Client]) -> None:
    """In the loop's thread: all are readable in the same turn, the one that gets stuck first."""
    calls_are_slow(both)
    clients[0].send(REQUEST % b"/stuck")
    clients[1].send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    for client in clients[2:]:
        client.send(REQUEST % b"/")


@pytest.mark.parametrize("worker_class", BOTH)
def test_a_connection_whose_request_is_being_served_stays(worker_class: str) -> None:
    """Its client sends more meanwhile: a sibling's answer to that would be taken for the first one's."""
    with pair(worker_class) as both, both.connect() as client:
        calls_are_fast(both)
        both.stick(client)
        both.lets_wait(client)
        assert client.response().body == b"one"
        assert client.response().body in {b"one", b"other"}


@pytest.mark.parametrize("worker_class", BOTH)
def test_nor_does_one_whose_body_came_later(worker_class: str) -> None:
    with pair(worker_class) as both, both.connect() as client:
        calls_are_fast(both)
        client.send(b"POST /stuck HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
        until(
            lambda: any(each.state == BODY for each in both.one.server.open_connections()),
            "its head to be read",
        )
        client.send(b"bc")
        assert both.app.stuck.acquire(timeout=30)
        both.lets_wait(client)
        assert client.response().body == b"oneabc"
        assert client.response().body in {b"one", b"other"}


@pytest.mark.parametrize("worker_class", BOTH)
def test_a_body_that_went_with_its_request_takes_no_room_any_more(worker_class: str) -> None:
    """It came later than its head, so it was counted; it waits for the call that gets stuck."""
    with pair(worker_class) as both, both.connect() as slow, both.connect() as client:
        server = both.one.server
        room = server.body_budget.memory_left
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
        until(lambda: any(each.state == BODY for each in server.open_connections()), "its head to be read")

        def both_at_once() -> None:
            calls_are_slow(both)
            connections = sorted(server.open_connections(), key=lambda each: each.state)
            connections[0].data_received(REQUEST % b"/stuck")
            connections[1].data_received(b"bc")

        both.one.call(both_at_once)
        assert client.response().body == b"otherabc"
        until(lambda: unanswered(server) == 1, "a quick stop not to cut what a sibling has")
        both.app.let_go.set()
        assert slow.response().body == b"one"
        assert server.body_budget.memory_left == room
        assert not server.body_budget.holds


@pytest.mark.parametrize("request_", [b"chunked", b"pipelined"])
@pytest.mark.parametrize("worker_class", WSGI)
def test_what_cannot_be_told_again_stays(worker_class: str, request_: bytes) -> None:
    """Of a chunked body only the content is left, and a pipeline has more than one request: they wait."""
    requests = {
        b"chunked": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"pipelined": REQUEST % b"/" * 2,
    }
    with pair(worker_class) as both, both.connect() as slow, both.connect() as client:
        both.one.call(lambda: calls_are_slow(both))
        first = threading.Event()

        def send() -> None:
            slow.send(REQUEST % b"/stuck")
            client.send(requests[request_])
            first.set()

        both.one.call(send)
        assert both.app.stuck.acquire(timeout=30)
        answers = 2 if request_ == b"pipelined" else 1
        both.app.let_go.set()
        names = {client.response().body[:5] for _ in range(answers)}
        assert names <= {b"one", b"onea", b"other"}
        assert slow.response().body == b"one"


@pytest.mark.parametrize("worker_class", WSGI)
def test_a_parked_sibling_is_given_nothing(worker_class: str) -> None:
    with pair(worker_class) as both, both.connect() as slow, both.connect() as client:
        both.other.call(both.other.server.park)
        both.stick(slow)
        both.lets_wait(client)
        assert client.response().body == b"one"
        assert slow.response().body == b"one"


def test_a_preamble_is_read_by_who_accepted_and_its_address_goes_along() -> None:
    """A PROXY header that waits is not handed over as if it were a request; what it said, is."""
    header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 8443\r\n"
    settings = {"proxy_protocol": True, "trusted_proxies": ("127.0.0.1",)}
    with pair("sync", **settings) as both:
        both.other.call(both.other.server.park)
        slow, late, client = (both.one.connect() for _ in range(3))
        for each in (slow, client):
            each.send(header)
            assert each.get("/who").body == b"one 192.0.2.7 8443"
        until(lambda: both.connections()[0] == 3, "the silent one to be accepted")
        both.other.call(both.other.server.serve)
        both.stick(slow)
        late.send(header + REQUEST % b"/who")
        assert client.get("/who").body == b"other 192.0.2.7 8443"
        late.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.response()
        both.app.let_go.set()
        late.sock.settimeout(30)
        assert late.response().body == b"one 192.0.2.7 8443"
        assert slow.response().body == b"one"
        for each in (slow, late, client):
            each.sock.close()


@pytest.mark.parametrize("worker_class", WSGI)
def test_the_end_of_a_connection_is_not_handed_over(worker_class: str) -> None:
    with pair(worker_class) as both, both.connect() as slow:
        client = both.connect()
        both.stick(slow)
        client.sock.close()
        with both.one.connect() as fresh:
            assert fresh.get().body == b"other"
        both.app.let_go.set()
        assert slow.response().body == b"one"
        until(lambda: both.connections()[0] == 1, lambda: f"one connection: {both.connections()}")
        # A sibling that pauses is not waited for: then the stuck one has accepted the new one, and given it away.
        accepted = both.one.call(lambda: both.one.server._acceptor.accepted)
        assert both.other.server.handover.taken == accepted - 2


@pytest.mark.parametrize("worker_class", WSGI)
def test_the_last_worker_takes_what_is_left_in_the_exchange(worker_class: str) -> None:
    """All are parked; a connection in the queue must not be stranded when they drain."""
    with pair(worker_class) as both, both.connect() as client:
        both.one.call(both.one.server.park)
        both.other.call(both.other.server.park)
        until(lambda: both.one.call(lambda: give_all(both.one)), "the connection to be given")
        client.send(REQUEST % b"/")
        both.other.call(lambda: both.other.server.drain(False))
        assert client.response().body == b"other"
        assert both.connections()[0] == 0


@pytest.mark.parametrize("worker_class", WSGI)
def test_a_connection_in_the_exchange_is_taken_though_everybody_is_busy(worker_class: str) -> None:
    """One worker, never idle: three clients ask without a pause. Nobody else is there to take it."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        threading.Event().wait(0.003)
        start_response("200 OK", [])
        return [b"done"]

    stop = threading.Event()

    def keep_asking(client: Client) -> None:
        while not stop.is_set():
            assert client.get().body == b"done"

    with Engine(application, worker_class, siblings=True, threads=1) as engine, engine.connect() as client:
        assert client.get().body == b"done"
        everybody = [engine.connect() for _ in range(4)]
        threads = [threading.Thread(target=keep_asking, args=(each,)) for each in everybody]
        until(lambda: engine.call(lambda: give_all(engine)), "the connection to be given")
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                until(lambda: engine.call(lambda: engine.server.handover.taken), lambda: state_of(engine))
                assert client.get().body == b"done"
                until(lambda: engine.call(lambda: give_one(engine, client)), "it to be given again")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            for each in everybody:
                each.sock.close()


def test_a_connection_left_in_the_exchange_by_the_only_worker_is_taken_when_its_call_is_over() -> None:
    """It was busy when it saw it; then nothing more comes, and nobody else is there."""
    app = Application(b"one")
    with (
        Engine(app, "threads", siblings=True, threads=1) as engine,
        engine.connect() as client,
        engine.connect() as other,
    ):
        assert client.get().body == b"one"
        other.send(REQUEST % b"/stuck")
        assert app.stuck.acquire(timeout=20)
        until(lambda: engine.call(lambda: give_one(engine, client)), "it to be given")
        until(lambda: not engine.call(lambda: engine.server.handover._watching), "the worker to leave it")
        until(lambda: not engine.call(lambda: engine.server.accounts.flush_due), "its last look")
        app.let_go.set()
        assert other.response().body == b"one"
        assert client.get().body == b"one"


def state_of(engine: Engine) -> str:
    server = engine.server
    handover = server.handover
    facts = [
        f"{name} {getattr(handover, name)}" for name in ("_wanted", "_watching", "_pause", "_due", "pending")
    ]
    states = [each.state for each in server.open_connections()]
    return f"it to be taken: {', '.join(facts)}, active {server.runner.active}, flush {server.accounts.flush_due}, {states}"


def give_one(engine: Engine, client: Client) -> bool:
    handover = engine.server.handover
    for connection in engine.server.open_connections():
        if connection.state == IDLE and connection.peer == client.sock.getsockname():
            assert handover.give(connection, b"")
            handover.let_go(connection)
            return True
    return False


def give_all(engine: Engine) -> bool:
    handover = engine.server.handover
    given = [each for each in engine.server.open_connections() if each.state == IDLE]
    for connection in given:
        assert handover.give(connection, b"")
        handover.let_go(connection)
    return bool(given)


@pytest.mark.parametrize("worker_class", WSGI)
def test_out_of_descriptors_nothing_is_taken_and_nothing_lost(
    worker_class: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pair(worker_class) as both, both.connect() as client:
        opening, failed = os.open, threading.Event()

        def no_more(path: Any, *arguments: Any, **named: Any) -> int:
            if path == os.devnull and not failed.is_set():
                failed.set()
                raise OSError(24, "Too many open files")
            return opening(path, *arguments, **named)

        monkeypatch.setattr(os, "open", no_more)
        both.one.call(both.one.server.park)
        until(lambda: both.one.call(lambda: give_all(both.one)), "the connection to be given")
        client.send(REQUEST % b"/")
        assert client.response().body == b"other"
        assert failed.is_set()
