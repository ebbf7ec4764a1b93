"""The link against the master's own control server, not one that a test has made: the fake is held to it."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gwctl.admin import app
from gwctl.admin.app import Admin
from gwctl.control import protocol
from gwctl.control.protocol import Method
from gwctl.errors import ControlError
from gwctl.log.event_log import Log
from gwctl.records.workers import WorkerReady
from gwctl.supervisor.control.follower import Follower
from gwctl.supervisor.control.server import REQUESTS_MAX, ControlServer
from gwctl.supervisor.core.actions import Progress
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder
from tests.support.admin_client import Client, living
from tests.support.admin_master import HEALTH, METRICS, STATUS, asynchronous, eventually
from tests.support.wait import DEADLINE_S
from tests.unit.records.examples import EXAMPLES

(READY,) = [each for each in EXAMPLES if isinstance(each, WorkerReady)]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The master is another thread here, and may pause on a busy machine for longer than a probe waits."""
    monkeypatch.setattr(app, "PROBE_S", DEADLINE_S)


class RealMaster:
    """A control server in a loop like the master's, in a thread."""

    def __init__(self, path: Path) -> None:
        self.history = History.of("shop")
        self.asked: list[tuple[int, Method]] = []
        self._selector = selectors.DefaultSelector()
        self._server = ControlServer(path, Recorder(Log(), self.history), self._handle)
        self._inbox: list[Any] = []
        self._waker, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, lambda mask: self._bell.recv(64))
        assert self._server.open(self._selector)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _handle(self, request: int, method: Method, user: str) -> dict[str, Any] | Follower | None:
        match method:
            case protocol.Events():
                return Follower.begin(self.history, method)
            case protocol.Health():
                return HEALTH
            case protocol.Metrics():
                return METRICS
            case protocol.Status():
                return STATUS
            case protocol.Requests(worker=worker) if worker:
                raise ControlError(f"no worker {worker}")
        self.asked.append((request, method))
        return None

    def _run(self) -> None:
        while True:
            timeout = 0.0 if self._server.next_at <= self._server._clock() else 0.05
            for key, mask in self._selector.select(timeout):
                key.data(mask)
            self._server.turn(self._server._clock())
            for task in self._inbox[:]:
                self._inbox.remove(task)
                if task is None:
                    self._server.close()
                    return
                task()

    def do(self, task: Any) -> None:
        """Run ``task`` in the master's loop; None: end."""
        self._inbox.append(task)
        self._waker.send(b"x")

    def answer(self, *, ok: bool = True, text: str = "done") -> None:
        for request, _ in list(self.asked):
            self.asked.pop(0)
            self.do(lambda request=request: self._server.answer(request, ok=ok, text=text, result={"n": 1}))

    def progress(self, request: int) -> None:
        self.do(lambda: self._server.progress(Progress(request, "web", "boot", "ok", "0.4 s")))


@contextmanager
def real(tmp_path: Path) -> Iterator[tuple[RealMaster, Admin]]:
    master = RealMaster(tmp_path / "control.sock")
    master._thread.start()
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(tmp_path / "control.sock"))
    yield master, Admin(sock, "secret", "shop")
    master.do(None)
    master._thread.join(30)
    master._selector.close()
    for each in (master._waker, master._bell):
        each.close()


@asynchronous
async def test_what_is_answered_at_once(tmp_path: Path) -> None:
    with real(tmp_path) as (_, admin):
        async with living(admin):
            client = Client(admin)
            assert (await client.get("/readyz")).text == "ok\n"
            assert (await client.get("/api/status")).json == STATUS
            assert (await client.get("/metrics")).status == 200
            refused = await client.get("/api/requests?worker=web.9")
            assert (refused.status, refused.json["error"]["message"]) == (400, "no worker web.9")
            unknown = await client.get("/api/events?kind=worker_redy")
            assert unknown.status == 400
            assert "did you mean worker_ready" in unknown.json["error"]["message"]


@asynchronous
async def test_what_takes_its_time_with_progress_and_a_refusal(tmp_path: Path) -> None:
    with real(tmp_path) as (master, admin):
        async with living(admin):
            for ok in (True, False):
                asked = asyncio.ensure_future(Client(admin).post("/api/reload"))
                await eventually(lambda: master.asked, "the reload")
                master.progress(master.asked[0][0])
                master.answer(ok=ok, text="adopted" if ok else "not adopted")
                reply = await asked
                body = reply.json if ok else reply.json["error"]
                assert reply.status == (200 if ok else 409)
                assert body["progress"] == [
                    {"pool": "web", "phase": "boot", "outcome": "ok", "detail": "0.4 s"}
                ]


@asynchronous
async def test_it_never_has_more_open_than_are_taken(tmp_path: Path) -> None:
    """Whatever comes over HTTP: none of it is refused by the server for being too much."""
    with real(tmp_path) as (master, admin):
        async with living(admin):
            client = Client(admin)
            paths = [("/api/reload", {}), ("/api/rollback", {}), ("/api/scale", {"pool": "web", "size": 1})]
            paths += [("/api/dump", {"worker": "web"}), ("/api/log_level", {"level": "debug"})]
            posts = [asyncio.ensure_future(client.post(path, body)) for path, body in paths * 3]
            gets = [asyncio.ensure_future(client.get("/api/requests")) for _ in range(5)]
            answered: list[int] = []
            while not all(each.done() for each in (*posts, *gets)):
                assert (await client.get("/livez")).status == 200
                answered.append(len(master.asked))
                master.answer()
            assert {each.result().status for each in (*posts, *gets)} == {200}
            assert 1 < max(answered) < REQUESTS_MAX


@asynchronous
async def test_records_before_and_after_and_the_end(tmp_path: Path) -> None:
    with real(tmp_path) as (master, admin):
        for _ in range(1500):
            master.history.add(READY)
        async with living(admin):
            following = Client(admin).follow("/events?last=1000")
            await eventually(lambda: f"id: {1500}\n" in following.text, "the history")
            master.do(lambda: master.history.add(READY))
            await eventually(lambda: f"id: {1501}\n" in following.text, "the next one")
            ids = [int(each.id) for each in following.events()]
            assert ids == list(range(ids[0], 1502))
            assert ids[0] <= 1500 - 500
            master.do(None)
            await following.exchange.task
            assert following.events()[-1].json == {"reason": "the master has closed the connection"}
            assert admin.master_gone.is_set()
