"""What systemd receives; and that its silence or absence never holds the master up."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwctl.log.event_log import Log
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service.sd_notify import Notifier, failure_lines, send_once
from tests.support.service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(str(tmp_path / "notify"))
    yield manager
    manager.close()


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def recorder(log_file: Path) -> Iterator[Recorder]:
    with log_file.open("wb") as file:
        yield Recorder(Log(file.fileno()), History.of("shop"))


def test_the_messages(manager: ServiceManager, recorder: Recorder) -> None:
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


def test_reloading_has_the_monotonic_time(manager: ServiceManager, recorder: Recorder) -> None:
    notifier = Notifier(manager.environ, recorder)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.send(*notifier.reloading(), "STATUS=boot")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    flag, clock, status = manager.received()[0].split("\n")
    assert (flag, status) == ("RELOADING=1", "STATUS=boot")
    assert before <= int(clock.removeprefix("MONOTONIC_USEC=")) <= after
    notifier.close()


def test_abstract_address(recorder: Recorder) -> None:
    manager = ServiceManager(f"@gwctl-test-{os.getpid()}")
    notifier = Notifier(manager.environ, recorder)
    notifier.send("READY=1")
    assert manager.received() == ["READY=1"]
    notifier.close()
    manager.close()


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
    manager: ServiceManager, recorder: Recorder, log_file: Path
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


def test_what_waits_is_the_last_of_each(manager: ServiceManager, recorder: Recorder) -> None:
    """Status lines and requests for time become one message; nothing else is lost for them."""
    notifier = Notifier(manager.environ, recorder)
    while not notifier.pending:
        notifier.send("RELOADING=1")
    notifier.send("READY=1")
    for number in range(100):
        notifier.send(f"STATUS={number}")
        notifier.send("EXTEND_TIMEOUT_USEC=1")
    heard: list[str] = []
    while notifier.pending:
        heard += manager.received()
        notifier.flush()
    heard += manager.received()
    assert heard[-2:] == ["READY=1", "STATUS=99\nEXTEND_TIMEOUT_USEC=1"]
    notifier.close()


def test_watchdog_only_when_asked_for(manager: ServiceManager, recorder: Recorder) -> None:
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


def test_why_a_service_failed(manager: ServiceManager) -> None:
    """Also before there is a master, and where nobody listens."""
    lines = failure_lines("cannot listen on 0.0.0.0:80: taken\nby nginx", 1, 98)
    send_once(manager.environ, *lines)
    assert manager.received() == [
        "STATUS=failed: cannot listen on 0.0.0.0:80: taken\nEXIT_STATUS=1\nERRNO=98"
    ]
    assert failure_lines("gw.toml:3: no", 2) == ["STATUS=failed: gw.toml:3: no", "EXIT_STATUS=2"]
    send_once({"NOTIFY_SOCKET": "/nowhere/at/all"}, *lines)
    send_once({}, *lines)


class VsockPeer:
    """Stands in for the host of a virtual machine: connections of a kind, from this process to itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *known: int) -> None:
        self.asked: list[tuple[int, int]] = []
        self.connected: list[object] = []
        self.got: list[bytes] = []
        outer = self

        class Sock:
            def __init__(self, family: int, kind: int) -> None:
                outer.asked.append((family, kind))
                if kind not in known:
                    raise OSError(errno.ENODEV, "No such device")
                self._under_way = False

            def setblocking(self, flag: bool) -> None:
                assert not flag

            def connect_ex(self, address: object) -> int:
                outer.connected.append(address)
                self._under_way = True
                return errno.EINPROGRESS

            def send(self, message: bytes) -> int:
                if self._under_way:
                    self._under_way = False
                    raise OSError(errno.ENOTCONN, "not connected")
                outer.got.append(message)
                return len(message)

            def close(self) -> None:
                pass

        monkeypatch.setattr(socket, "socket", Sock)


@pytest.mark.skipif(not hasattr(socket, "AF_VSOCK"), reason="this system has no vsock")
def test_vsock_takes_the_first_kind_there_is(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection for each message, which may be under way when the message is tried first."""
    peer = VsockPeer(monkeypatch, socket.SOCK_STREAM)
    notifier = Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}, recorder)
    assert notifier.enabled
    notifier.send("READY=1")
    assert notifier.pending
    notifier.flush()
    notifier.send("STOPPING=1")
    notifier.flush()
    assert peer.got == [b"READY=1", b"STOPPING=1"]
    assert peer.connected == [(2, 1234), (2, 1234)]
    kinds = [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM]
    assert [kind for _, kind in peer.asked] == 2 * kinds


@pytest.mark.skipif(not hasattr(socket, "AF_VSOCK"), reason="this system has no vsock")
@pytest.mark.parametrize(
    ("address", "kind"), [("vsock-stream:2:7", "SOCK_STREAM"), ("vsock-seqpacket::7", "SOCK_SEQPACKET")]
)
def test_vsock_of_a_kind_that_is_said(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, address: str, kind: str
) -> None:
    peer = VsockPeer(monkeypatch, getattr(socket, kind))
    notifier = Notifier({"NOTIFY_SOCKET": address}, recorder)
    notifier.send("READY=1")
    notifier.flush()
    assert peer.got == [b"READY=1"]
    assert peer.connected == [(2, 7)]


@pytest.mark.parametrize(
    "address", ["", "relative", "vsock:", "vsock:2", "vsock-raw:2:7", "vsock:2:7x", "tcp:1"]
)
def test_an_address_that_is_none(recorder: Recorder, address: str) -> None:
    assert not Notifier({"NOTIFY_SOCKET": address}, recorder).enabled
