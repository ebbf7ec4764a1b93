"""Several processes on one event log: long records stay together, and nobody can hold the others up."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gwctl.log.event_log import Log
from gwctl.log.write_lock import PATIENCE_S, WriteLock
from gwctl.workers.observe.access_log import AccessLog
from tests.support.wait import until

PROCESSES, RECORDS, LINES = 8, 25, 180
LONG = "first\n" + "line\n" * 1000
ENDLESS = "first\n" + "line\n" * 40_000

WRITER = """
import select
import sys
from gwctl.log import stream, write_lock
from gwctl.log.event_log import Log
from gwctl.log.write_lock import WriteLock
# A pause of the reader or a holder, on a busy machine, is no fault.
stream.READER_PATIENCE_S = write_lock.PATIENCE_S = 60.0
fd, lock, number, records, lines = map(int, sys.argv[1:])
poll = select.poll()
poll.register(fd, select.POLLOUT)
log = Log(fd, subject=f"web.{number} g1", lock=WriteLock(lock))
print("ready", flush=True)
sys.stdin.read(1)   # all begin together
for record in range(records):
    text = "\\n".join(f"w{number} r{record} l{line} " + "x" * 60 for line in range(lines))
    log.error(f"record of {lines} lines\\n{text}" if record % 3 else "short")
    while log.waiting():
        poll.poll(1000)
        log.flush()
"""


@pytest.fixture
def lock() -> Iterator[WriteLock]:
    made = WriteLock.make()
    assert made.fd >= 0
    yield made
    os.close(made.fd)


class Sink:
    """What writers write to, and what came of it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "log"
        self.read = -1
        if kind == "file":
            self.write = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        elif kind == "pipe":
            self.read, self.write = os.pipe()
        else:
            reader, writer = socket.socketpair()
            reader.shutdown(socket.SHUT_WR)
            self.read, self.write = reader.detach(), writer.detach()

    def finish(self) -> str:
        """Read until all writers are gone."""
        os.close(self.write)
        blocks = []
        if self.read >= 0:
            while block := os.read(self.read, 1 << 16):
                blocks.append(block)
            os.close(self.read)
            return b"".join(blocks).decode()
        return ""


def writers(
    sink: Sink, lock: WriteLock, count: int = PROCESSES, records: int = RECORDS
) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, *map(str, (sink.write, lock.fd, number, records, LINES))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[sink.write, *([lock.fd] if lock.fd >= 0 else [])],
        )
        for number in range(count)
    ]


def go(started: list[subprocess.Popen[bytes]]) -> None:
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == b"ready\n"
        each.stdout.close()
    for each in started:
        assert each.stdin is not None
        each.stdin.write(b".")
        each.stdin.close()


def torn(text: str) -> tuple[int, int]:
    """Records that something else came into, and all long ones."""
    bad = whole = 0
    records = re.split(r"^(?=\d\d:\d\d:\d\d\.\d{3} )", text, flags=re.MULTILINE)
    for record in filter(None, records):
        head, *lines = record.splitlines()
        if "record of" not in head:
            bad += head.partition("web.")[2] != "" and not re.fullmatch(r"\S+ +error web\.\d g1 +short", head)
            bad += bool(lines)
            continue
        number = re.search(r"web\.(\d)", head)
        assert number
        expected = [
            rf"  (\[web\.{number[1]} g1\] )?w{number[1]} r\d+ l{line} x{{60}}" for line in range(LINES)
        ]
        matches = [re.fullmatch(pattern, line) for pattern, line in zip(expected, lines, strict=False)]
        good = len(lines) == LINES and all(matches)
        bad += not good
        whole += good
    return bad, whole


@pytest.mark.parametrize("kind", ["file", "pipe", "socket"])
def test_long_records_of_eight_processes_do_not_mix(kind: str, lock: WriteLock, tmp_path: Path) -> None:
    """Of 15 KB each, short ones between them; on a file they need no lock."""
    sink = Sink(kind, tmp_path)
    started = writers(sink, lock if kind != "file" else WriteLock())
    go(started)
    text = sink.finish()
    assert [each.wait(60) for each in started] == [0] * PROCESSES
    text = sink.path.read_text() if kind == "file" else text
    bad, whole = torn(text)
    assert bad == 0, f"{bad} torn, {whole} whole"
    assert whole == PROCESSES * sum(bool(record % 3) for record in range(RECORDS))


def test_without_the_lock_they_would() -> None:
    """The test above notices: written in pieces, records on a pipe mix, but each line says whose it is."""
    sink = Sink("pipe", Path())
    started = writers(sink, WriteLock())
    go(started)
    text = sink.finish()
    assert [each.wait(60) for each in started] == [0] * PROCESSES
    assert torn(text)[0] > 0
    for line in text.splitlines():
        if inner := re.search(r"w(\d) r\d+ l\d+ x+$", line):
            assert f"[web.{inner[1]} g1]" in line, line


HOLDER = """
import os, signal, sys
from gwctl.log.write_lock import WriteLock
assert WriteLock(int(sys.argv[1])).take()
print("taken", flush=True)
{then}
"""


def holding(lock: WriteLock, then: str) -> subprocess.Popen[bytes]:
    held = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(then=then), str(lock.fd)],
        stdout=subprocess.PIPE,
        pass_fds=[lock.fd],
    )
    assert held.stdout is not None
    assert held.stdout.readline() == b"taken\n"
    return held


def took(function: Callable[[], object]) -> float:
    begin = time.monotonic()
    function()
    return time.monotonic() - begin


def test_a_holder_that_is_stopped_holds_nobody_up(lock: WriteLock) -> None:
    """One short wait, then each line says whose it is; when it goes on, all is as before."""
    read, write = os.pipe()
    log = Log(write, subject="web.1 g1", lock=lock)
    held = holding(lock, "os.kill(os.getpid(), signal.SIGSTOP); sys.exit()")
    try:
        until(
            lambda: Path(f"/proc/{held.pid}/stat").read_text().rsplit(")")[1].split()[0] == "T",
            "it to be stopped",
        )
        assert took(lambda: log.error(LONG)) < PATIENCE_S + 5
        lines = os.read(read, 1 << 16).decode().splitlines()
        assert lines[1:] == ["  [web.1 g1] line"] * 1000
        fast = [took(lambda: log.error("again")) for _ in range(20)]
        assert sorted(fast)[10] < PATIENCE_S / 2, "each waited again"
    finally:
        held.send_signal(signal.SIGCONT)
        held.wait(20)
        assert held.stdout is not None
        held.stdout.close()
    os.read(read, 1 << 16)
    log.error(LONG)
    assert os.read(read, 1 << 16).decode().splitlines()[1:] == ["  line"] * 1000
    assert lock.take()
    lock.give_back()
    os.close(read)
    os.close(write)


def test_a_holder_that_is_killed_gives_it_back(lock: WriteLock) -> None:
    held = holding(lock, "signal.pause()")
    assert not lock.take()
    held.kill()
    held.wait(20)
    assert held.stdout is not None
    held.stdout.close()
    assert lock.take()
    lock.give_back()


def test_a_reader_that_stops_in_the_midst_of_a_record(lock: WriteLock) -> None:
    """The writer goes on after a moment, gives the lock back, and says whose the rest is."""
    read, write = os.pipe()
    log = Log(write, subject="web.1 g1", lock=lock)
    assert took(lambda: log.error(ENDLESS)) < 5
    assert lock.take()
    lock.give_back()
    first = os.read(read, 1 << 20).decode()
    assert first.endswith("line\n")
    os.set_blocking(read, False)
    rest = ""
    for _ in range(100):
        log.flush()
        try:
            rest += os.read(read, 1 << 20).decode()
        except BlockingIOError:
            break
    lines = first.splitlines()[1:] + rest.splitlines()
    assert len(lines) == 40_000
    assert set(lines) == {"  line", "  [web.1 g1] line"}
    assert set(rest.splitlines()) == {"  [web.1 g1] line"}
    os.close(read)
    os.close(write)


def test_a_file_of_the_applications_under_that_number_is_left_alone(lock: WriteLock, tmp_path: Path) -> None:
    """It has closed all descriptors, and its database got the number: a lock of its own on it stays."""
    path = tmp_path / "data"
    path.write_text("")
    number = os.dup(lock.fd)
    mine = WriteLock(number)
    fd = os.open(path, os.O_RDWR)
    os.dup2(fd, number)
    os.close(fd)
    os.lockf(number, os.F_LOCK, 0)
    assert not mine.take()
    mine.give_back()
    probe = f"import os; fd = os.open({str(path)!r}, os.O_RDWR); os.lockf(fd, os.F_TEST, 0)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 1
    os.close(number)
    assert not mine.take()


def test_no_lock_where_there_are_no_memory_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> int:
        raise OSError(24, "no")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert not WriteLock.make().take()


def test_lines_of_the_access_log_on_the_same_pipe_wait_for_the_end_of_a_record(lock: WriteLock) -> None:
    """As with ``2>&1``. A pipe of its own is nobody else's concern."""
    read, write = os.pipe()
    other_read, other_write = os.pipe()
    events = Log(write, subject="web.1 g1", lock=lock)
    assert events.writes_to(write)
    assert not events.writes_to(other_write)
    taken = []
    lock_taken = lock.take
    events.lock.take = lambda: taken.append(1) or lock_taken()  # type: ignore[method-assign,func-returns-value]
    for fd in (other_write, write):
        log = AccessLog(fd, "web.1", events)
        log._waiting = b"line\n"
        log.flush()
    assert len(taken) == 1
    assert os.read(read, 100) == os.read(other_read, 100) == b"line\n"
    assert lock_taken()
    lock.give_back()
    for fd in (read, write, other_read, other_write):
        os.close(fd)
