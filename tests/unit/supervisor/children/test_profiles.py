"""Who is profiled, who is told why not, and that no descriptor is left behind."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from gwctl.control import protocol
from gwctl.errors import ControlError
from gwctl.ipc.channel import PROFILE_PROTOCOL, Profile
from gwctl.records.base import Process
from gwctl.records.workers import ProfileBegun
from gwctl.supervisor.children.profiles import PROFILED_MAX, Profiles


def child(slot: int, **more: Any) -> SimpleNamespace:
    given = {
        "worker": slot,
        "pool": "web",
        "process": Process("web", slot, 1, 100 + slot),
        "ready": object(),
        "protocol": PROFILE_PROTOCOL,
        "channel": SimpleNamespace(closed=False, wants_write=False),
        "inspected": SimpleNamespace(has_said=True),
    }
    return SimpleNamespace(**(given | more))


class World:
    def __init__(self, *children: SimpleNamespace) -> None:
        self.children = list(children)
        self.upgrades = False
        self.sent: dict[int, tuple[Profile, int]] = {}
        self.records: list[Any] = []
        self.answers: list[tuple[int, bool, dict[str, Any], Sequence[socket.socket]]] = []
        self.end: Callable[..., None] = lambda *_: None
        inspections = SimpleNamespace(children=self, meant=lambda _target: self.children, begin=self._begin)
        recorder = SimpleNamespace(write=self.records.append)
        self.profiles = Profiles(inspections, recorder, self._answer, self._refuse)  # type: ignore[arg-type]

    def send(self, worker: int, order: Profile, fds: tuple[int, ...]) -> None:
        if worker in self.sent:
            os.close(self.sent[worker][1])
        self.sent[worker] = order, os.dup(fds[0])

    def _begin(
        self, found: Any, _now: float, end: Callable[..., None], *, stacks: bool, reads_on: bool
    ) -> None:
        assert stacks, "a loop that is held is asked by a signal"
        assert reads_on, "also one that has answered another by now"
        self.end = lambda living: end(found, living, 1.0)

    def _refuse(self) -> None:
        if self.upgrades:
            raise ControlError("an upgrade is under way")

    def _answer(self, request: int, ok: bool, text: str, result: dict[str, Any], *ends: Any) -> None:
        assert text == ""
        self.answers.append((request, ok, result, ends))

    def begin(self) -> None:
        self.profiles.begin(7, protocol.Profile("web", 5.0), "deploy", 0.0)


def test_each_worker_is_connected_with_who_asked() -> None:
    world = World(child(0), child(1, inspected=None), child(2))
    world.begin()
    assert world.answers == [], "they have to hear of it first"
    world.end(world.children[:2])
    ((request, ok, result, ends),) = world.answers
    assert (request, ok) == (7, True)
    heard = [(each["slot"], each["pid"], each["answers"]) for each in result["workers"]]
    assert heard == [(0, 100, True), (1, 101, False), (2, 102, False)]
    for worker, end in enumerate(ends):
        order, fd = world.sent[worker]
        assert order == Profile(5.0)
        os.write(fd, b"%d" % worker)
        os.close(fd)
        assert end.recv(10) == b"%d" % worker
        assert end.recv(10) == b"", "the master keeps no other end"
        end.close()
    assert [type(each) for each in world.records] == [ProfileBegun] * 3
    assert world.records[0].by == "deploy"


@pytest.mark.parametrize(
    ("children", "why"),
    [
        ([child(0, ready=None)], "web is starting yet"),
        ([child(0, protocol=PROFILE_PROTOCOL - 1)], "of an older version of gwctl: a reload"),
        ([child(0, channel=SimpleNamespace(closed=True, wants_write=False))], "web.0 cannot be reached"),
        ([child(0, channel=SimpleNamespace(closed=False, wants_write=True))], "web.0 cannot be reached"),
        ([child(slot) for slot in range(PROFILED_MAX + 1)], "name one, as in web.0"),
    ],
)
def test_who_cannot_be_profiled_is_not_asked(children: list[SimpleNamespace], why: str) -> None:
    world = World(*children)
    with pytest.raises(ControlError, match=why):
        world.begin()
    assert (world.sent, world.records) == ({}, [])


def ends_of(world: World) -> Iterator[int]:
    """What the worker's ends lead to, as far as the master has the other one yet."""
    for _, fd in world.sent.values():
        with socket.socket(fileno=fd) as sock:
            sock.setblocking(False)
            try:
                yield len(sock.recv(1))
            except BlockingIOError:
                yield -1


def test_in_a_forked_child_nothing_of_them_is_open() -> None:
    world = World(child(0), child(1))
    world.begin()
    world.profiles.close_in_child()
    assert list(ends_of(world)) == [0, 0], "who has the other end would find it open"


def test_so_many_are_begun_at_once() -> None:
    world = World(*(child(slot) for slot in range(PROFILED_MAX)))
    world.begin()
    first = world.end
    world.begin()
    with pytest.raises(ControlError, match="ask again in a moment"):
        world.begin()
    first([])
    world.begin()
    for _, _, _, ends in world.answers:
        for each in ends:
            each.close()
    world.profiles.close_in_child()
    for _, fd in world.sent.values():
        os.close(fd)


def test_nobody_is_asked_while_an_upgrade_is_under_way() -> None:
    world = World(child(0))
    world.upgrades = True
    with pytest.raises(ControlError, match="an upgrade is under way"):
        world.begin()
    assert world.sent == {}


def test_without_descriptors_nothing_is_begun_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(child(0), child(1))
    pairs: list[socket.socket] = []
    original = socket.socketpair

    def scarce() -> tuple[socket.socket, socket.socket]:
        if pairs:
            raise OSError(24, "Too many open files")
        pairs.extend(original())
        return pairs[0], pairs[1]

    monkeypatch.setattr(socket, "socketpair", scarce)
    with pytest.raises(ControlError, match="no descriptor is left for it: Too many open files"):
        world.begin()
    assert all(each.fileno() < 0 for each in pairs)
    os.close(world.sent[0][1])
    assert world.records == []
