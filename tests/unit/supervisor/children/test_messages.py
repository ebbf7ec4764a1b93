"""What workers say, and what the master makes of it: also of what no worker of ours would say."""

from __future__ import annotations

import os
import random
from pathlib import Path
from socket import socketpair

import msgspec
import pytest

from gwctl.config.model.lifecycle import Reload
from gwctl.config.model.settings import PoolSettings
from gwctl.ipc import channel as wire
from gwctl.ipc import scoreboard
from gwctl.ipc.channel import (
    PROTOCOL,
    Channel,
    ChannelError,
    Forked,
    GaveUp,
    Hello,
    Message,
    Raised,
    RequestReport,
    RequestUnderWay,
    Serve,
    Stage,
    TaskStack,
    WorkerDrained,
    WorkerFailed,
    WorkerReady,
)
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.records.base import Process
from gwctl.records.sentences import sentence
from gwctl.records.workers import WorkerKilled
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.incident_report import DumpFile, IncidentReport
from gwctl.supervisor.children.messages import handle_message
from gwctl.supervisor.children.peer_limits import MESSAGES_MAX, MESSAGES_PER_S
from gwctl.supervisor.core import events
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder

READY = WorkerReady("sync", 0.1, 0.2, 1 << 20, "C", "uvloop 1")


class Stage1:
    """One worker, and the master that hears it."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socketpair()
        theirs.close()
        record = scoreboard.Scoreboard(1).allocate()
        assert record is not None
        settings = PoolSettings(app="shop:app")
        self.child = Child(
            1,
            "web",
            0,
            1,
            settings,
            Channel(ours, takes_fds=False),
            record,
            spawned_at=100.0,
            pid=os.getpid(),
        )
        self.path = folder / "log"
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._recorder = Recorder(Log(self._fd, Level.INFO), History.of("shop"))
        self.events: list[events.Event] = []

    def hear(self, *messages: Message, now: float = 100.0) -> None:
        for message in messages:
            handle_message(
                self.child, message, now, self._recorder, self.events.append, lambda _child, _answer: None
            )

    @property
    def log(self) -> str:
        return self.path.read_text()

    def close(self) -> None:
        self.child.channel.close()
        os.close(self._fd)


@pytest.fixture
def stage(tmp_path: Path):
    one = Stage1(tmp_path)
    yield one
    one.close()


def test_a_worker_may_say_what_it_has_to_say_for_ever(stage: Stage1) -> None:
    stage.hear(Hello(PROTOCOL, scoreboard.LAYOUT, "1"), Stage("import"), READY)
    for second in range(1000):
        stage.hear(WorkerDrained(second), now=200.0 + second)
    assert stage.child.cut == 999


def test_what_it_was_asked_for_costs_it_nothing_and_what_it_was_not_does(stage: Stage1) -> None:
    for _ in range(3 * MESSAGES_MAX):
        stage.child.tell_out = True
        stage.hear(RequestReport((), ()))
        stage.child.tell_out, stage.child.signals_out = True, 1
        stage.hear(RequestReport((), ()), RequestReport((), ()))
    assert (stage.child.tell_out, stage.child.signals_out) == (False, 0)
    with pytest.raises(ChannelError, match=f"over {MESSAGES_MAX} messages at once"):
        stage.hear(*[RequestReport((), ())] * (MESSAGES_MAX + 1))


def watched(stage: Stage1) -> Stage1:
    stage.child.settings = PoolSettings(app="shop:app", reload=Reload(watch_s=30.0))
    return stage


def test_an_exception_is_for_the_reload_that_watches(stage: Stage1) -> None:
    said = Raised("KeyError", "/srv/shop/views.py:12", "  File ...\nKeyError: 'x'\n")
    with pytest.raises(ChannelError, match="Raised, which is not for it to say"):
        stage.hear(said)
    watched(stage).hear(said)
    assert stage.events == [events.Raised(1, said.kind, said.where, said.traceback)]


def test_an_exception_of_a_hostile_worker_is_short_and_on_one_line(stage: Stage1) -> None:
    said = Raised("\x1b[2J\nMAINPID=1 " * 1000, "\u2028/a\r\n\x9b" * 1000, "\x00" * 100_000)
    watched(stage).hear(said)
    (event,) = stage.events
    assert isinstance(event, events.Raised)
    for text in (event.kind, event.where):
        assert text.isprintable()
        assert len(text) < 2000
    assert len(event.traceback) < 5000


def test_exceptions_without_end_cost_it_its_channel(stage: Stage1) -> None:
    with pytest.raises(ChannelError, match=f"over {MESSAGES_MAX} messages at once"):
        watched(stage).hear(*[Raised("KeyError", "a:1", "x")] * (MESSAGES_MAX + 1))


def test_an_answer_is_for_who_asked(stage: Stage1) -> None:
    stage.child.begin_inspection(100.0, stacks=True)
    inspected = stage.child.inspected
    assert inspected is not None
    stage.hear(RequestReport((), ()))
    assert not inspected.has_said, "it was asked for its stacks, too"
    stage.hear(
        RequestReport(
            (), (), stacks='Thread 0x1 [a] (most recent call first):\n  File "/srv/a.py", line 3 in f'
        )
    )
    assert inspected.has_said
    stage.hear(RequestReport((), (), stacks="later"))
    report = stage.child.inspection_report(101.0)
    assert report is not None
    assert [each.frames for each in report.threads] == [('File "/srv/a.py", line 3 in f',)]
    assert report.kernel_state == "", "it has answered: how it is now says nothing"
    stage.child.end_inspection()
    assert stage.child.inspection_report(101.0) is None


@pytest.mark.parametrize("message", [Stage("import"), WorkerDrained(1), GaveUp("GET /", 1.0)], ids=str)
def test_a_worker_that_says_more_than_it_ever_has_to_is_heard_no_more(
    stage: Stage1, message: Message
) -> None:
    with pytest.raises(ChannelError, match=f"over {MESSAGES_MAX} messages at once"):
        stage.hear(*[message] * (MESSAGES_MAX + 1))
    assert len(stage.events) <= MESSAGES_MAX


def test_the_allowance_comes_back(stage: Stage1) -> None:
    stage.hear(*[Stage("x")] * MESSAGES_MAX)
    stage.hear(*[Stage("x")] * int(MESSAGES_PER_S), now=101.0)
    with pytest.raises(ChannelError):
        stage.hear(Stage("x"), now=101.0)


@pytest.mark.parametrize("message", [Hello(PROTOCOL, scoreboard.LAYOUT, "1"), READY], ids=["hello", "ready"])
def test_what_is_said_once_is_not_said_twice(stage: Stage1, message: Message) -> None:
    """Each time would be a line of the log."""
    stage.hear(message)
    with pytest.raises(ChannelError, match="a second time"):
        stage.hear(message)


@pytest.mark.parametrize(
    "message",
    [Serve(), Forked(2, 1), wire.Tell(), wire.Drain(1.0), wire.SlowEnded("GET /", 200, 9.0)],
    ids=str,
)
def test_what_is_not_a_workers_to_say(stage: Stage1, message: Message) -> None:
    with pytest.raises(ChannelError, match="not for it to say"):
        stage.hear(message)


def test_texts_and_numbers_are_cut_to_what_can_be_borne(stage: Stage1) -> None:
    long = "x" * 900_000
    stage.hear(
        WorkerFailed(long, long, long),
        GaveUp(long, 1e308),
        WorkerDrained(int("9" * 4000)),
        WorkerReady("asgi", 1e308, -1e308, -5, long, long),
        Stage(long),
    )
    assert sum(len(str(event)) for event in stage.events) < 60_000
    assert stage.child.cut == 1 << 32
    assert stage.child.ready is not None
    assert len(str(stage.child.ready)) < 1000
    assert len(stage.log) < 1000


def test_a_worker_class_that_there_is_not(stage: Stage1) -> None:
    with pytest.raises(ChannelError, match="a worker class that there is not"):
        stage.hear(WorkerReady("\x1b[31m" * 1000, 0.1, 0.1, 1, "C", "uvloop"))


def test_the_record_of_a_kill_is_bounded_whatever_the_worker_says_and_dumps(stage: Stage1) -> None:
    child, long = stage.child, "y" * 5000
    child.dump = DumpFile.make()
    child.begin_report("a test", 101.0)
    os.write(
        child.dump.fd,
        b'Thread 0x01 (most recent call first):\n  File "/srv/a.py", line 1 in ' + b"z" * 200_000 + b"\n",
    )
    os.write(
        child.dump.fd, b'Thread 0x02 (most recent call first):\n  File "/srv/a.py", line 1 in f\n' * 9000
    )
    requests = tuple(RequestUnderWay(long, 1.0, int("9" * 4000)) for _ in range(90))
    stage.hear(
        RequestReport(
            requests, tuple(TaskStack(long, long, (long,) * 50) for _ in range(50)), 10**400, 10**400
        )
    )
    assert isinstance(child.incident, IncidentReport)
    known = child.end_report(102.0)
    assert known is not None
    record = WorkerKilled(process=Process("web", 0, 1, 12), reason=known[0], report=known[1])
    text = sentence(record)
    assert known[1].truncated
    assert len(text) < 70_000
    assert max(map(len, text.split("\n"))) < 1100
    assert msgspec.json.decode(msgspec.json.encode(record), type=WorkerKilled) == record
    child.dump.close()


def test_any_mixture_of_messages_is_heard_or_refused(stage: Stage1) -> None:
    dice = random.Random(5)
    messages: list[Message] = [
        Hello(int("9" * 3000), -5, "x"), READY, Stage(""), WorkerFailed("", "", ""), RequestReport((), ()), GaveUp("", -1.0),
        WorkerDrained(-7), wire.WorkerDraining(-1, int("9" * 4000)), wire.Obeyed(True), Forked(-1, -1), Serve(),
    ]  # fmt: skip
    for _ in range(400):
        try:
            stage.hear(dice.choice(messages), now=100.0 + dice.random())
        except ChannelError:
            continue
    assert (stage.child.cut or 0) >= 0
    assert len(stage.log) < 100_000
