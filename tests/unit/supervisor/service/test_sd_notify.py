"""What systemd receives; and that its silence or absence never holds the master up."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwctl.log.event_log import Log
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service.sd_notify import Notifier


class Manager:
    """The receiving end, as systemd has it."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": address}

    def received(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.sock.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.sock.close()


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def recorder(log_file: Path) -> Iterator[Recorder]:
    with log_file.open("wb") as file:
        yield Recorder(Log(file.fileno()), History.of("shop"))


def test_the_messages(manager: Manager, recorder: Recorder) -> None:
    notifier = Notifier(manager.environ, recorder)
    assert notifier.enabled
    notifier.send("READY=1", "STATUS=web 4/4 ready")
    notifier.send("STATUS=a\nREADY=0")
    notifier.send()
    notifier.watchdog()
    notifier.send("STOPPING=1")
    assert manager.received() == [
        "READY=1\nSTATUS=web 4/4 ready",
        "STATUS=a READY=0",
        "STOPPING=1",
    ]
    notifier.close()


def test_reloading_has_the_monotonic_time(manager: Manager, recorder: Recorder) -> None:
    notifier = Notifier(manager.environ, recorder)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.send(*notifier.reloading(), "STATUS=boot")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    flag, clock, status = manager.received()[0].split("\n")
    assert (flag, status) == ("RELOADING=1", "STATUS=boot")
    assert before <= int(clock.removeprefix("MONOTONIC_USEC=")) <= after
    notifier.close()


def test_abstract_address(recorder: Recorder) -> None:
    manager = Manager(f"@gwctl-test-{os.getpid()}")
    notifier = Notifier(manager.environ, recorder)
    notifier.send("READY=1")
    assert manager.received() == ["READY=1"]
    notifier.close()
    manager.sock.close()


def test_without_a_manager(recorder: Recorder, log_file: Path) -> None:
    notifier = Notifier({}, recorder)
    notifier.send("READY=1")
    notifier.watchdog()
    assert not notifier.enabled
    assert not notifier.pending
    assert log_file.read_text() == ""


def test_a_failure_is_said_once(tmp_path: Path, recorder: Recorder, log_file: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, recorder)
    for _ in range(3):
        notifier.send("READY=1")
    assert log_file.read_text().count("\n") == 1
    assert "systemd cannot be notified" in log_file.read_text()
    notifier.close()


def test_a_full_queue_keeps_the_order_and_never_blocks(
    manager: Manager, recorder: Recorder, log_file: Path
) -> None:
    """The manager does not read: what does not fit waits for `flush`, watchdog ticks do not pile up."""
    notifier = Notifier(manager.environ | {"WATCHDOG_USEC": "3000000"}, recorder)
    sent = 0
    while not notifier.pending:
        notifier.send(f"STATUS={sent}")
        sent += 1
    notifier.watchdog()
    notifier.send("READY=1")
    received = manager.received()
    assert notifier.pending
    notifier.flush()
    assert not notifier.pending
    received += manager.received()
    assert received == [*(f"STATUS={i}" for i in range(sent)), "READY=1"]
    assert log_file.read_text() == ""
    notifier.close()


def test_watchdog_only_when_asked_for(manager: Manager, recorder: Recorder) -> None:
    Notifier(manager.environ, recorder).watchdog()
    assert manager.received() == []
    notifier = Notifier(manager.environ | {"WATCHDOG_USEC": "3000000"}, recorder)
    notifier.watchdog()
    assert manager.received() == ["WATCHDOG=1"]
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], interval: float | None, recorder: Recorder) -> None:
    assert Notifier(environ, recorder).watchdog_interval_s == interval
