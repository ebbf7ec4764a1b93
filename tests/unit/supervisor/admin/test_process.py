"""The admin process as its parent sees it: when one is started, told to end, killed, tried again."""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gwctl.config.model.settings import PoolSettings
from gwctl.ipc import scoreboard
from gwctl.ipc.assignment import Assignment
from gwctl.ipc.channel import Channel, Hello, Serve, SetLogLevel, WorkerFailed, WorkerReady
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.supervisor.admin import process as module
from gwctl.supervisor.admin.process import (
    BACKOFF_MAX_S,
    BOOT_S,
    GRACE_S,
    HEALTHY_S,
    SILENT_S,
    AdminProcess,
    Plan,
)
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder

FIRST = Plan("shop", PoolSettings(app="gwctl.admin"), (), "")
SECOND = Plan("shop", PoolSettings(app="gwctl.admin"), (), "another token")
READY = WorkerReady("asgi", 0.0, 0.2, 1 << 24, "C", "uvloop")


class Forked:
    """A process that there is not: its end of the channel, and its record."""

    def __init__(self, pid: int, assignment: Assignment) -> None:
        self.pid = pid
        self.sock = socket.socket(fileno=os.dup(assignment.channel.fileno()))
        self.channel = Channel(self.sock)
        self.record = assignment.record
        self.assignment = assignment

    def say(self, *messages: WorkerReady | WorkerFailed) -> None:
        for message in messages:
            self.channel.send(message)

    def heard(self) -> list[type]:
        return [type(message) for message, _ in self.channel.receive()]


class Stage:
    """A parent without children. ``now`` is its clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.forked: list[Forked] = []
        self.signals: list[tuple[int, int]] = []
        self.refusal: OSError | None = None
        self.connected: list[socket.socket] = []
        self._reaped: dict[int, Callable[[int], None]] = {}
        self.selector = selectors.DefaultSelector()
        self._log = (folder / "log").open("wb")
        self.recorder = Recorder(Log(self._log.fileno(), Level.INFO), History.of("shop"))
        monkeypatch.setattr(module, "fork_worker", self._fork)
        monkeypatch.setattr(module, "_signal", lambda pid, signum: self.signals.append((pid, signum)))
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.admin = AdminProcess(
            self.selector, self.recorder, self._reaped.__setitem__, self.connected.append, lambda: None
        )

    def _fork(self, assignment: Assignment, _close_in_child: Callable[[], None]) -> int:
        if self.refusal is not None:
            raise self.refusal
        self.forked.append(Forked(4711 + len(self.forked), assignment))
        return self.forked[-1].pid

    @property
    def last(self) -> Forked:
        return self.forked[-1]

    def turn(self, later_s: float = 0.0) -> None:
        self.now += later_s
        for key, mask in self.selector.select(0):
            key.data(mask)
        self.admin.turn(self.now)

    def ends(self, forked: Forked, status: int) -> None:
        forked.channel.close()
        self._reaped.pop(forked.pid)(status)

    def events(self) -> list[str]:
        return [entry.kind for entry in self.recorder.history.since(0)]

    def close(self) -> None:
        for forked in self.forked:
            forked.channel.close()
        for sock in self.connected:
            sock.close()
        self._log.close()
        self.selector.close()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(tmp_path, monkeypatch)
    yield stage
    stage.close()


def open_files() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def begun(stage: Stage, plan: Plan = FIRST) -> Forked:
    """Want it, and have it be ready."""
    stage.admin.want(plan, stage.now)
    forked = stage.last
    forked.say(READY)
    stage.turn()
    return forked


def test_it_is_told_to_serve_when_it_is_ready(stage: Stage) -> None:
    stage.admin.want(FIRST, stage.now)
    assert not stage.admin.ready
    assert stage.last.heard() == [Hello]
    stage.last.say(READY)
    stage.turn()
    assert stage.last.heard() == [Serve]
    assert stage.admin.ready
    assert stage.events() == ["admin_ready"]
    stage.admin.want(FIRST, stage.now)
    assert len(stage.forked) == 1, "it is what is wanted already"


def test_it_hears_of_another_level_and_form_of_the_log(stage: Stage) -> None:
    forked = begun(stage)
    assert forked.heard() == [Hello, Serve]
    stage.recorder.log.level, stage.recorder.log.json = Level.DEBUG, True
    stage.admin.tell_log_level()
    assert [message for message, _ in forked.channel.receive()] == [SetLogLevel(10, "json")]
    stage.admin.want(SECOND, stage.now)
    assert (stage.last.assignment.log_level, stage.last.assignment.log_json) == (Level.DEBUG, True)


def test_it_is_tried_again_after_longer_and_longer(stage: Stage) -> None:
    stage.admin.want(FIRST, stage.now)
    waits = []
    for _ in range(9):
        stage.ends(stage.last, 1)
        waits.append(stage.admin.next_at - stage.now)
        count = len(stage.forked)
        stage.turn(waits[-1] - 0.01)
        assert len(stage.forked) == count
        stage.turn(0.02)
        assert len(stage.forked) == count + 1
    assert waits == [0.5, 1, 2, 4, 8, 16, *[BACKOFF_MAX_S] * 3]


def test_one_that_was_well_for_a_while_is_tried_again_soon(stage: Stage) -> None:
    for _ in range(3):
        stage.admin.want(FIRST, stage.now)
        stage.ends(stage.last, 1)
        stage.turn(BACKOFF_MAX_S)
    stage.last.say(READY)
    stage.turn()
    stage.now += HEALTHY_S + 1
    stage.last.record.floats[scoreboard.HEARTBEAT_AT] = stage.now
    stage.admin.observe(stage.now)
    stage.ends(stage.last, -9)
    assert stage.admin.next_at - stage.now == 0.5


def test_why_it_failed_is_told_as_it_said(stage: Stage) -> None:
    stage.admin.want(FIRST, stage.now)
    stage.last.say(WorkerFailed("boot", "there is no user 'nobody'", ""))
    stage.ends(stage.last, 3)
    (entry,) = stage.recorder.history.since(0)
    assert b"there is no user 'nobody'" in entry.line


def test_one_that_does_not_become_ready_is_killed(stage: Stage) -> None:
    stage.admin.want(FIRST, stage.now)
    assert stage.admin.next_at == stage.now + BOOT_S
    stage.turn(BOOT_S)
    assert stage.signals == [(stage.last.pid, signal.SIGKILL)]
    assert stage.admin.next_at > stage.now, "nothing is due before it is gone: the master sleeps"
    stage.turn(1.0)
    assert len(stage.signals) == 1
    stage.ends(stage.last, -9)
    killed, ended = stage.recorder.history.since(0)
    assert b"was not ready within 30 s" in killed.line
    assert b"ended: signal 9 (SIGKILL)" in ended.line


def test_one_whose_loop_does_not_turn_is_killed(stage: Stage) -> None:
    forked = begun(stage)
    for _ in range(3):
        stage.now += SILENT_S
        forked.record.floats[scoreboard.HEARTBEAT_AT] = stage.now
        stage.admin.observe(stage.now)
    assert stage.signals == []
    stage.now += SILENT_S + 1
    stage.admin.observe(stage.now)
    assert stage.signals == [(forked.pid, signal.SIGKILL)]
    stage.ends(forked, -9)
    assert stage.events() == ["admin_ready", "admin_killed", "admin_ended"]
    stage.turn(1.0)
    assert len(stage.forked) == 2


def test_why_it_is_killed_is_written_before_it_is(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of the master at that moment, the log has it."""
    written_at_signal: list[list[str]] = []
    monkeypatch.setattr(module, "_signal", lambda _pid, _signum: written_at_signal.append(stage.events()))
    stage.admin.resume((4000,))
    stage.admin.want(None, stage.now)
    stage.turn(GRACE_S)
    assert [each[-1:] for each in written_at_signal] == [[], ["admin_killed"]], (
        "TERM, and the end of its grace"
    )
    stage.turn(GRACE_S * 100)
    assert len(written_at_signal) == 2, "one that even KILL does not end fills no log"
    forked = begun(stage)
    forked.sock.sendall(b"no message\n")
    stage.turn()
    assert written_at_signal[-1][-1] == "admin_killed"
    stage.turn(GRACE_S)
    assert len(written_at_signal) == 3


@pytest.mark.parametrize(
    "said",
    [b"no message\n", b'{"t":"serve"}\n' * 3, b'{"t":"hello"}\n', b'{"t":"stage","name":"x"}\n' * 300],
    ids=["no message", "orders", "half a message", "without end"],
)
def test_one_that_talks_nonsense_hurts_nobody(stage: Stage, said: bytes) -> None:
    forked = begun(stage)
    forked.sock.sendall(said)
    stage.turn()
    assert not stage.selector.select(0), "what it says does not keep the master awake"
    assert len(stage.forked) == 1, "no other one before it is gone"
    assert stage.admin.next_at > stage.now
    stage.turn(GRACE_S)
    assert {signum for _, signum in stage.signals} <= {signal.SIGKILL}
    stage.ends(forked, -9)
    stage.turn(1.0)
    assert len(stage.forked) == 2


def test_the_one_before_ends_when_the_next_serves(stage: Stage) -> None:
    first = begun(stage)
    stage.admin.want(SECOND, stage.now)
    second = stage.last
    assert second is not first
    stage.turn(1.0)
    assert stage.signals == [], "it serves on"
    second.say(READY)
    stage.turn()
    assert stage.signals == [(first.pid, signal.SIGTERM)]
    stage.turn(GRACE_S + 0.1)
    assert stage.signals[1:] == [(first.pid, signal.SIGKILL)]
    stage.ends(first, -9)
    assert "admin_ended" not in stage.events(), "it was told to"
    assert stage.admin.pid == second.pid


def test_none_is_wanted(stage: Stage) -> None:
    forked = begun(stage)
    stage.admin.want(None, stage.now)
    assert stage.signals == [(forked.pid, signal.SIGTERM)]
    stage.ends(forked, 0)
    assert stage.admin.next_at == float("inf")
    assert stage.events() == ["admin_ready"]


def test_a_fork_that_is_refused_leaves_nothing_open(stage: Stage) -> None:
    stage.refusal = OSError(11, "Resource temporarily unavailable")
    stage.admin.want(FIRST, stage.now)
    open_before = open_files()
    for _ in range(20):
        stage.turn(BACKOFF_MAX_S)
    assert open_files() == open_before
    assert set(stage.events()) == {"admin_ended"}
    stage.refusal = None
    stage.turn(BACKOFF_MAX_S)
    assert stage.last.heard() == [Hello]


def test_a_hundred_ends_leave_nothing_open(stage: Stage) -> None:
    stage.admin.want(FIRST, stage.now)
    stage.ends(stage.last, 1)
    open_before = open_files() - len(stage.connected)
    for _ in range(100):
        stage.turn(BACKOFF_MAX_S)
        stage.last.say(READY)
        stage.turn()
        stage.ends(stage.last, -9)
    assert open_files() - len(stage.connected) == open_before
    assert len(stage.selector.get_map()) == 0


def test_those_of_the_program_before_end_when_one_of_this_serves(stage: Stage) -> None:
    stage.admin.resume((77, 78))
    stage.admin.want(FIRST, stage.now)
    stage.turn(1.0)
    assert stage.signals == []
    stage.last.say(READY)
    stage.turn()
    assert stage.signals == [(77, signal.SIGTERM), (78, signal.SIGTERM)]
    stage._reaped.pop(77)(0)
    stage.turn(GRACE_S)
    assert stage.signals[2:] == [(78, signal.SIGKILL)]
    stage._reaped.pop(78)(-9)
    assert stage.admin.next_at == float("inf")
    assert stage.admin.snapshot() == (stage.last.pid,)


def test_one_that_cannot_be_watched_is_ended(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(stage.selector, "register", refuse)
        stage.admin.want(FIRST, stage.now)
    assert stage.signals == [(stage.last.pid, signal.SIGKILL)]
    stage.ends(stage.last, -9)
    assert stage.events() == ["admin_killed", "admin_ended"]
    stage.turn(1.0)
    assert begun(stage).heard() == [Hello, Serve]


def test_failures_without_end_are_no_end_of_the_master(stage: Stage) -> None:
    """2.0**1024 is no number: a night of failures would come to that."""
    stage.admin.want(FIRST, stage.now)
    stage.refusal = OSError(11, "Resource temporarily unavailable")
    stage.ends(stage.last, 1)
    for _ in range(1100):
        stage.turn(BACKOFF_MAX_S)
    assert stage.admin.next_at - stage.now <= BACKOFF_MAX_S


def test_one_of_the_program_before_that_hangs_is_killed_although_its_successor_died(stage: Stage) -> None:
    stage.admin.resume((77,))
    first = begun(stage)
    assert stage.signals == [(77, signal.SIGTERM)]
    stage.ends(first, -9)
    stage.refusal = OSError(11, "Resource temporarily unavailable")
    for _ in range(5):
        stage.turn(GRACE_S + 0.1)
        assert stage.admin.next_at > stage.now, "the master sleeps"
    assert (77, signal.SIGKILL) in stage.signals


def test_it_is_ready_once(stage: Stage) -> None:
    forked = begun(stage)
    forked.say(READY, READY)
    stage.turn()
    assert stage.events() == ["admin_ready"]


@pytest.mark.parametrize("beat", [float("inf"), float("nan"), 1e12])
def test_a_heartbeat_of_the_future_is_none(stage: Stage, beat: float) -> None:
    forked = begun(stage)
    forked.record.floats[scoreboard.HEARTBEAT_AT] = beat
    stage.now += SILENT_S + 1
    stage.admin.observe(stage.now)
    assert stage.signals == [(forked.pid, signal.SIGKILL)]


def test_last_words_that_are_nonsense_have_nobody_signalled(stage: Stage) -> None:
    """It is reaped: its pid may be another's by now."""
    forked = begun(stage)
    forked.sock.sendall(b"no message\n")
    stage.ends(forked, 1)
    assert stage.signals == []


@pytest.mark.parametrize("pidfds", [True, False])
def test_the_end_of_a_master_waits_for_it_no_longer_than_it_should(
    monkeypatch: pytest.MonkeyPatch, pidfds: bool
) -> None:
    def refuse(_pid: int) -> int:
        raise OSError(24, "Too many open files")

    if not pidfds:
        monkeypatch.setattr(os, "pidfd_open", refuse)
    with subprocess.Popen(["sleep", "60"]) as child:
        assert not module._has_ended(child.pid, 0.05)
        child.kill()
        assert module._has_ended(child.pid, 30.0)
        assert module._has_ended(child.pid, 30.0), "reaped already"
        child.returncode = -9
