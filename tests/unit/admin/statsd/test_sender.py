"""Datagrams on their way: to somebody, to nobody, to a name that nobody knows, and who waits for that."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gwctl.admin.link.errors import SilentError
from gwctl.admin.statsd import sender as module
from gwctl.admin.statsd.reporter import Reporter
from gwctl.admin.statsd.sender import Sender
from gwctl.config.model.statsd import StatsdSettings
from gwctl.config.statsd_target import Target
from gwctl.control.metrics import MasterMetrics
from tests.support.admin_master import asynchronous, eventually
from tests.unit.admin.figures.examples import MASTER


@pytest.fixture
def agent() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


def target_of(agent: socket.socket) -> Target:
    return Target("127.0.0.1", agent.getsockname()[1])


@asynchronous
async def test_they_arrive(agent: socket.socket) -> None:
    told: list[str] = []
    sender = Sender(target_of(agent), told.append)
    await sender.send([b"one", b"two"])
    await sender.send([b"three"])
    assert [agent.recv(100) for _ in range(3)] == [b"one", b"two", b"three"]
    assert (sender.sent, sender.lost, told) == (3, 0, [])
    sender.close()


@asynchronous
async def test_nobody_listens(agent: socket.socket) -> None:
    """The kernel says so at the next one; told once, and well again when somebody comes."""
    told: list[str] = []
    target = target_of(agent)
    agent.close()
    sender = Sender(target, told.append)
    for _ in range(3):
        await sender.send([b"one", b"two"])
    assert sender.lost >= 2
    assert told == [
        f"statsd: figures are lost, as they cannot be sent to udp://127.0.0.1:{target.port}: Connection refused"
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", target.port))
        again.settimeout(10)
        await sender.send([b"three"])
        assert again.recv(100) == b"three"
    sender.close()


@asynchronous
async def test_a_unix_socket_that_comes_later(tmp_path: Path) -> None:
    path, told = tmp_path / "agent.sock", list[str]()
    sender = Sender(Target(path=str(path)), told.append)
    await sender.send([b"one"])
    assert sender.lost == 1
    assert told[0].endswith("No such file or directory")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as agent:
        agent.bind(str(path))
        await sender.send([b"two"])
        assert agent.recv(100) == b"two"
    path.unlink()
    await sender.send([b"three"])
    assert (sender.sent, sender.lost, len(told)) == (1, 2, 1)
    sender.close()


@asynchronous
async def test_an_agent_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    path, told = tmp_path / "agent.sock", list[str]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as agent:
        agent.bind(str(path))
        sender = Sender(Target(path=str(path)), told.append)
        await sender.send([b"x" * 1000] * 5000)
        assert sender.sent + sender.lost == 5000
        assert sender.lost > 0
        sender.close()


@asynchronous
async def test_a_resolver_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESOLVE_S", 0.05)
    asked, told, go_on = list[str](), list[str](), threading.Event()

    def never(host: str, _port: int) -> Any:
        asked.append(host)
        go_on.wait(30)
        raise OSError(0, "too late")

    sender = Sender(Target("agent.example", 8125), told.append, never)
    turned = 0

    async def turn() -> None:
        nonlocal turned
        while True:
            turned += 1
            await asyncio.sleep(0.001)

    other = asyncio.create_task(turn())
    for _ in range(3):
        await sender.send([b"one"])
    assert turned > 5
    assert (asked, sender.lost) == (["agent.example"], 3), "asked once, as that is still open"
    assert len(told) == 1
    assert told[0].endswith("to udp://agent.example:8125: nobody says within 0.05 s where agent.example is")
    go_on.set()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    sender.close()


@asynchronous
async def test_a_name_that_nobody_knows(agent: socket.socket) -> None:
    answers: list[Any] = [socket.gaierror(-2, "Name or service not known")]

    def resolve(_host: str, _port: int) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    told: list[str] = []
    sender = Sender(Target("agent.example", 8125), told.append, resolve)
    await sender.send([b"one"])
    assert (sender.sent, sender.lost) == (0, 1)
    assert told[0].endswith("Name or service not known")
    answers.append([(socket.AF_INET, socket.SOCK_DGRAM, 17, "", agent.getsockname())])
    await sender.send([b"two"])
    assert agent.recv(100) == b"two"
    sender.close()


@asynchronous
@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
async def test_what_cannot_be_a_name(host: str) -> None:
    """An older master's settings may have it."""
    told: list[str] = []
    sender = Sender(Target(host, 8125), told.append)
    for _ in range(2):
        await sender.send([b"one"])
    assert (sender.sent, sender.lost, len(told)) == (0, 2, 1)
    assert told[0].endswith(f"{host} cannot be the name of a host")
    sender.close()


@asynchronous
async def test_a_name_with_an_address_where_nobody_listens(agent: socket.socket) -> None:
    """As localhost often has: an agent may listen on 127.0.0.1 alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        refuses = nobody.getsockname()
    unreachable = ("255.255.255.255", 1)  # connect(2) itself fails: no broadcast
    found = [
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", address)
        for address in (refuses, unreachable, agent.getsockname())
    ]
    sender = Sender(Target("agent.example", 8125), lambda _text: None, lambda _host, _port: found)
    for _ in range(3):
        await sender.send([b"one", b"two", b"three"])
        if sender.lost:
            break
    lost = sender.lost
    assert lost
    await sender.send([b"four"])
    assert agent.recv(100) == b"four"
    await sender.send([b"five"])
    assert agent.recv(100) == b"five"
    assert sender.lost == lost
    sender.close()


# ---- the reporter


@asynchronous
async def test_a_reading_now_and_then_and_one_at_the_end(agent: socket.socket) -> None:
    asked = 0

    async def ask() -> MasterMetrics:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise SilentError("the master did not answer")
        return MASTER

    port = agent.getsockname()[1]
    settings = StatsdSettings(to=f"udp://127.0.0.1:{port}", interval_s=0.01)
    reporter = Reporter(settings, ask, {}, asyncio.Event().wait, pytest.fail)
    reporter.begin()
    await eventually(lambda: asked >= 3, "a reading after one that failed")
    await reporter.end()
    assert b"gwctl.up_seconds:3661.5|g" in agent.recv(2000)
    assert reporter.sender.lost == 0


@asynchronous
async def test_events_of_before_are_no_news(agent: socket.socket) -> None:
    """The history comes when it comes: what is in it was counted by others."""
    asked = 0
    levels: dict[str, int] = {}
    history = asyncio.Event()

    async def ask() -> MasterMetrics:
        nonlocal asked
        asked += 1
        return MASTER

    settings = StatsdSettings(
        to=f"udp://127.0.0.1:{agent.getsockname()[1]}", interval_s=0.01, gunicorn_names=True
    )
    reporter = Reporter(settings, ask, levels, history.wait, pytest.fail)
    reporter.begin()
    for _ in range(20):
        await asyncio.sleep(0)
    assert asked == 0
    levels["warning"] = 7
    history.set()
    await eventually(lambda: asked >= 1, "the first reading")
    levels["warning"] = 8
    await eventually(lambda: asked >= 3, "two more")
    await reporter.end()
    agent.setblocking(False)
    found = []
    with suppress(BlockingIOError):
        while True:
            found += [line for line in agent.recv(2000).split(b"\n") if b"log.warning" in line]
    assert found == [b"gunicorn.log.warning:1|c"]
