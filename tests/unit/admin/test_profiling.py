"""/api/profile: what may be asked, whom the sockets come from, and that none is left behind."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from gwctl.admin import profiling as module
from gwctl.control import protocol
from gwctl.profile.lines import Begun, Ended, Frame, Refused, Samples, encode
from tests.support.admin_client import Client, Exchange, serving
from tests.support.admin_master import FakeMaster, asynchronous, eventually

TOLD = b"".join(
    map(
        encode,
        (
            Begun(),
            Samples(frames=(Frame("cart", "shop.py", 3),), stacks=((0,),), times=((0, 2_000_000, 0, 0),)),
            Ended(1.0, samples=98),
        ),
    )
)
WEB = {"pool": "web", "slot": 2, "pid": 4134, "answers": True}
JSON = {"content-type": "application/json", "authorization": "Bearer secret"}


class Worker:
    """The worker's end of a profile, and the master that connects it."""

    def __init__(self, master: FakeMaster, *, count: int = 1) -> None:
        self.master = master
        self.count = count
        self.ends: list[socket.socket] = []

    async def connect(self, times: int = 1) -> None:
        asked = await self.master.asked("profile", times)
        theirs = []
        for _ in range(self.count):
            mine, end = socket.socketpair()
            self.ends.append(mine)
            theirs.append(end)
        self.master.pass_on(asked.number, {"text": "", "workers": [WEB] * self.count}, theirs)

    def says(self, data: bytes) -> None:
        for end in self.ends:
            end.sendall(data)

    def is_left(self) -> bool:
        """Nobody has the other ends any more."""
        for end in self.ends:
            end.setblocking(False)
            try:
                if end.recv(1):
                    return False
            except BlockingIOError:
                return False
            except ConnectionResetError:
                pass
        return True


def begin(admin: Any, body: bytes = b'{"worker": "web.2", "seconds": 5}') -> Exchange:
    return Client(admin).begin("POST", "/api/profile", JSON, (body,))


@asynchronous
async def test_a_picture_is_made_of_what_the_worker_tells() -> None:
    worker = Worker(FakeMaster(silent={"profile"}))
    async with serving(worker.master) as admin:
        asked = begin(admin)
        await worker.connect()
        worker.says(TOLD)
        reply = await asked.reply()
        assert (reply.status, reply.fields["content-type"]) == (200, "image/svg+xml")
        assert "cart (shop.py:3)" in reply.text
        assert worker.is_left()
        assert (await worker.master.asked("profile")).params == {"worker": "web.2", "seconds": 5.0}


@asynchronous
async def test_one_at_a_time_and_who_goes_away_ends_it() -> None:
    worker = Worker(FakeMaster(silent={"profile"}))
    async with serving(worker.master) as admin:
        first = begin(admin)
        await worker.connect()
        reply = await begin(admin).reply()
        assert (reply.status, reply.json["error"]["code"]) == (503, "busy")
        first.leave()
        await eventually(worker.is_left, "the end of the profile")
        second = begin(admin)
        await worker.connect(2)
        worker.ends[-1].sendall(TOLD)
        assert (await second.reply()).status == 200


@asynchronous
async def test_descriptors_that_come_when_nobody_waits_are_closed() -> None:
    worker = Worker(FakeMaster(silent={"profile"}))
    async with serving(worker.master) as admin:
        asked = begin(admin)
        await worker.master.asked("profile")
        asked.leave()
        await asked.task
        await worker.connect()
        await eventually(worker.is_left, "their end")


@asynchronous
async def test_one_that_tells_nothing_is_given_up_and_the_answer_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.05)
    for told, why in (
        (b"", "does not answer"),
        (encode(Refused("threads are patched by gevent")), "patched by gevent"),
        (b"nonsense\n", "what it tells is no profile"),
    ):
        worker = Worker(FakeMaster(silent={"profile"}))
        async with serving(worker.master) as admin:
            asked = begin(admin, b'{"worker": "web.2", "seconds": 0.05}')
            await worker.connect()
            worker.says(told)
            reply = await asked.reply()
            assert (reply.status, reply.json["error"]["code"]) == (409, "refused")
            assert why in reply.json["error"]["message"]
            assert worker.is_left()


@asynchronous
async def test_too_many_processes_are_left() -> None:
    worker = Worker(FakeMaster(silent={"profile"}), count=module.WORKERS_MAX + 1)
    async with serving(worker.master) as admin:
        asked = begin(admin)
        await worker.connect()
        assert (await asked.reply()).status == 409
        assert worker.is_left()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "`worker`"),
        (b'{"worker": "web"}', "names no worker"),
        (b'{"worker": "web.2", "seconds": 61}', "$.seconds"),
        (b'{"worker": "web.2", "seconds": 0}', "$.seconds"),
        (b'{"worker": "web.2", "format": "png"}', "$.format"),
        (b'{"worker": "web.2", "memory": true}', "memory"),
    ],
)
@asynchronous
async def test_a_body_that_says_something_else_reaches_nobody(body: bytes, said: str) -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        reply = await begin(admin, body).reply()
        assert (reply.status, reply.json["error"]["code"]) == (400, "malformed")
        assert said in reply.json["error"]["message"]
        assert master.count("profile") == 0


@asynchronous
async def test_who_is_not_there_is_refused() -> None:
    no = protocol.Failure(protocol.REFUSED, "no worker web.2: there are web.0", {})
    async with serving(FakeMaster({"profile": lambda params: no})) as admin:
        reply = await begin(admin).reply()
        assert (reply.status, reply.json["error"]["message"]) == (400, "no worker web.2: there are web.0")


@asynchronous
async def test_so_many_pictures_are_kept_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(FakeMaster(silent={"profile"}))
    async with serving(worker.master) as admin:
        paths = []
        for number in range(module.KEPT_MAX + 1):
            asked = begin(admin, b'{"worker": "web.2", "keep": true}')
            await worker.connect(number + 1)
            worker.ends[-1].sendall(TOLD)
            paths.append((await asked.reply()).json["path"])
        found = [(await Client(admin).get(f"/{path}")).status for path in paths]
        assert found == [404] + [200] * module.KEPT_MAX
        policy = (await Client(admin).get(f"/{paths[-1]}")).fields["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        monkeypatch.setattr(module, "KEPT_S", 0.0)
        asked = begin(admin, b'{"worker": "web.2", "keep": true}')
        await worker.connect(len(paths) + 1)
        worker.ends[-1].sendall(TOLD)
        assert (await Client(admin).get(f"/{(await asked.reply()).json['path']}")).status == 404
