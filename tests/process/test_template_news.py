"""What the master makes of a template's answers and of exits that come before them: real processes, a scripted template."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from gwctl.config.model.settings import PoolSettings
from gwctl.ipc.assignment import Assignment
from gwctl.ipc.channel import Channel, Fork, Forked, Serve
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.children import Children
from gwctl.supervisor.children.new_process import Opened
from gwctl.supervisor.children.scoreboards import Boards
from gwctl.supervisor.children.subreaper import _user_of
from gwctl.supervisor.core import events
from gwctl.supervisor.core.actions import Spawn
from gwctl.supervisor.event_loop import Loop
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder
from tests.support import child
from tests.support.processes import look
from tests.support.wait import until

SETTINGS = PoolSettings(app="shop:app")
TEMPLATE = 1


def a_process(status: int | None = None) -> int:
    """A child that ends at once with ``status``; None: it waits to be killed."""
    pid = os.fork()
    if pid == 0:
        while status is None:
            signal.pause()
        os._exit(status)
    if status is not None:
        until(lambda: (found := look(pid)) and found.is_zombie, "it to end")
    return pid


@dataclass
class Stage:
    """A master's children, among them a template whose part the test plays."""

    loop: Loop = field(default_factory=Loop)
    news: list[events.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        boards = Boards(records_max=8)
        null = os.open(os.devnull, os.O_WRONLY)
        self.children = Children(
            self.loop,
            boards,
            Recorder(Log(null, Level.ERROR), History.of("shop")),
            self.news.append,
            lambda: 0.0,
            lambda _pool, _g: None,
        )
        ours, theirs = socket.socketpair()
        self.template = Channel(theirs)
        self.pid = a_process()
        record = boards.of("web").allocate()
        assert record is not None
        template = Child(
            TEMPLATE, "web", -1, 1, SETTINGS, Channel(ours), record, 0.0, pid=self.pid, template=True
        )
        self.children.take_over(template)

    def asks(self, worker: int) -> None:
        def assign(opened: Opened) -> Assignment:
            return Assignment(
                worker, "web", 0, 1, "t", SETTINGS, 1, (), Channel(opened.theirs), opened.record, -1,
                Level.INFO, os.getpid(), dump_fd=opened.dump.fd,
            )  # fmt: skip

        self.children.spawn(Spawn(worker, "web", 0, 1, TEMPLATE), 1, assign, captured=False)

    def answers(self, worker: int, pid: int, reason: str = "") -> None:
        self.template.send(Forked(worker, pid, reason))
        self.loop.wait(1)

    def asked(self) -> list[int]:
        """Whom the template was asked for by now."""
        heard = self.template.receive()
        for _, fds in heard:
            for fd in fds:
                os.close(fd)
        return [message.worker for message, _ in heard if isinstance(message, Fork)]

    def told(self) -> list[tuple[str, ...]]:
        lines = []
        for event in self.news:
            match event:
                case events.Spawned(worker=worker, pid=pid):
                    lines.append(("spawned", str(worker), str(pid)))
                case events.SpawnFailed(worker=worker, reason=reason):
                    lines.append(("failed", str(worker), reason))
                case events.Exited(worker=worker, status=status):
                    lines.append(("exited", str(worker), str(status)))
                case _:
                    continue
        self.news.clear()
        return lines

    def kill_template(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        until(lambda: (found := look(self.pid)) and found.is_zombie, "the template to end")
        self.children.reap()

    def clear(self) -> None:
        if look(self.pid):
            self.kill_template()
        for each in list(self.children):
            os.kill(each.pid, signal.SIGKILL)
        until(lambda: not self.children.reap() and not list(self.children), "all to be reaped")
        self.template.close()
        self.loop.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage()
    yield one
    one.clear()


def test_an_exit_before_the_answer_waits_for_it_and_keeps_its_status(stage: Stage) -> None:
    stage.asks(2)
    pid = a_process(7)
    stage.children.reap()
    assert stage.told() == []
    found = look(pid)
    assert found is not None
    assert found.is_zombie, "it may be the worker: its status must not be lost"
    stage.answers(2, pid)
    assert stage.told() == [("spawned", "2", str(pid)), ("exited", "2", "7")]


def test_an_answer_that_was_written_before_the_exit_is_read_before_it(stage: Stage) -> None:
    stage.asks(2)
    pid = a_process(7)
    stage.template.send(Forked(2, pid))
    stage.children.reap()
    assert stage.told() == [("spawned", "2", str(pid)), ("exited", "2", "7")]


def test_a_stranger_goes_when_nothing_is_owed_any_more(stage: Stage) -> None:
    stage.asks(2)
    stranger = a_process(0)
    stage.children.reap()
    assert look(stranger)
    stage.answers(2, 0, "fork failed: Cannot allocate memory")
    assert stage.told() == [("failed", "2", "fork failed: Cannot allocate memory")]
    assert look(stranger) is None


def test_exits_of_others_are_told_while_an_answer_is_owed(stage: Stage) -> None:
    stage.asks(2)
    worker = a_process()
    stage.answers(2, worker)
    stage.asks(3)
    stranger = a_process(0)
    os.kill(worker, signal.SIGKILL)
    until(lambda: (found := look(worker)) and found.is_zombie, "the worker to end")
    stage.children.reap()
    assert stage.told() == [("spawned", "2", str(worker)), ("exited", "2", "-9")]
    stage.kill_template()
    assert stage.told() == [("exited", "1", "-9"), ("failed", "3", "its template has ended")]
    assert look(stranger) is None


def test_a_template_is_asked_for_one_worker_at_a_time(stage: Stage) -> None:
    for worker in (2, 3):
        stage.asks(worker)
    assert stage.asked() == [2]
    stage.answers(2, a_process())
    assert stage.asked() == [3]
    assert stage.children.owed
    stage.answers(3, a_process())
    assert not stage.children.owed


@pytest.mark.parametrize(
    "which", ["init", "itself", "the master", "nobody", "a worker that is known", "no number"]
)
def test_a_template_cannot_name_a_process_that_is_none_of_its_own(stage: Stage, which: str) -> None:
    """The master would signal it, as root maybe."""
    known = a_process()
    stage.asks(2)
    stage.answers(2, known)
    pid = {
        "init": 1,
        "itself": stage.pid,
        "the master": os.getpid(),
        "nobody": 1 << 22,
        "a worker that is known": known,
        "no number": 10**30,
    }[which]
    stage.asks(3)
    stage.told()
    stage.answers(3, pid)
    ((what, worker, reason),) = stage.told()
    assert (what, worker) == ("failed", "3")
    assert "which is no new process of its own" in reason


@pytest.mark.skipif(os.geteuid() != 0, reason="needs processes of two users")
def test_a_template_cannot_name_a_child_of_another_user(stage: Stage) -> None:
    """An orphan of another pool's application, say, that the master has adopted."""
    stranger, ready = child.start(lambda: str(signal.sigwait([signal.SIGTERM])), uid=child.NOBODY)
    until(lambda: _user_of(stranger) == child.NOBODY, "it to be another user's")
    stage.asks(2)
    stage.answers(2, stranger)
    ((what, _, reason),) = stage.told()
    assert (what, "no new process of its own" in reason) == ("failed", True)
    os.kill(stranger, signal.SIGKILL)
    os.close(ready)


def test_an_answer_that_nobody_asked_for_costs_the_template_its_channel(stage: Stage) -> None:
    stage.answers(9, 1)
    assert any(isinstance(event, events.ChannelClosed) for event in stage.news)


class WithoutRoom:
    """A socket for which the kernel has no memory at the moment."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, _data: bytes) -> int:
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    def fileno(self) -> int:
        return self.sock.fileno()

    def recv(self, size: int) -> bytes:
        return self.sock.recv(size)


def test_a_channel_that_the_kernel_has_no_room_for_does_not_keep_the_loop_turning(stage: Stage) -> None:
    """Its socket is writable all the time. It is tried again when the scoreboard is looked at."""
    template = stage.children.get(TEMPLATE)
    assert template is not None
    sock = template.channel._sock
    template.channel._sock = WithoutRoom(sock)  # type: ignore[assignment]
    stage.children.send(TEMPLATE, Serve())
    assert template.channel.wants_write
    key = stage.loop.selector.get_key(template.channel)
    assert key.events == selectors.EVENT_READ
    template.channel._sock = sock
    stage.children.observe(time.monotonic())
    assert [message for message, _ in stage.template.receive()] == [Serve()]
    assert not template.channel.wants_write
