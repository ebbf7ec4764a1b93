"""The event log as JSON: each line is one object, whatever is in it and however long it is."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gwctl.log.event_log import QUEUE_LINES_MAX, Log
from gwctl.log.json_lines import Fault, More, Origin
from gwctl.log.level import Level
from gwctl.log.write_lock import WriteLock
from gwctl.records.base import Process
from gwctl.records.workers import NoPidfd
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder
from tests.support.wait import until

ORIGIN = Origin("shop", "web", 2, 3)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield read, write
    os.close(read)
    os.close(write)


@pytest.fixture
def lock() -> Iterator[WriteLock]:
    made = WriteLock.make()
    yield made
    os.close(made.fd)


def lines(read: int) -> list[dict[str, Any]]:
    data = b""
    while True:
        try:
            block = os.read(read, 1 << 20)
        except BlockingIOError:
            break
        if not block:
            break
        data += block
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def test_a_line_of_a_worker_has_the_names_of_records(pipe: tuple[int, int]) -> None:
    read, write = pipe
    Log(write, subject="web.2 g3", json=True, origin=ORIGIN).warning("a line\n  and more")
    (line,) = lines(read)
    assert dt.datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {
        "level": "warning",
        "severity_number": 13,
        "instance": "shop",
        "kind": "worker",
        "subject": "web.2 g3",
        "pool": "web",
        "slot": 2,
        "generation": 3,
        "pid": os.getpid(),
        "text": "a line\n  and more",
    }


def test_a_record_has_what_events_show(pipe: tuple[int, int]) -> None:
    read, write = pipe
    history = History.of("shop")
    recorder = Recorder(Log(write, json=True), history)
    recorder.write(NoPidfd(process=Process("web", 1, 3, 4134), reason="Too many open files"))
    (line,) = lines(read)
    (event,) = history.since(1)
    assert line == {**json.loads(event.line), "severity_number": 13}
    assert line["kind"] == "no_pidfd"


def test_an_exception_is_fields(pipe: tuple[int, int]) -> None:
    read, write = pipe
    log = Log(write, json=True)
    log.error(
        "GET /: the application raised: KeyError: 'x'",
        fault=Fault("KeyError", "'x'", "  File\nKeyError: 'x'\n"),
    )
    (line,) = lines(read)
    assert line["exception_type"] == "KeyError"
    assert line["exception_stacktrace"] == "  File\nKeyError: 'x'\n"
    assert "\n" not in line["text"]


def test_the_same_exception_as_text_stands_under_its_line(pipe: tuple[int, int]) -> None:
    read, write = pipe
    Log(write).error("raised: KeyError", fault=Fault("KeyError", "'x'", "  File\nKeyError: 'x'\n"))
    assert (
        os.read(read, 1000)
        .decode()
        .split(" ", 2)[2]
        .endswith("raised: KeyError\n    File\n  KeyError: 'x'\n")
    )


@pytest.mark.parametrize(
    "text", ["path \udcff", '"} {"', "\x00\x1b[2J\x7f\x9b\u2028\u2029", "é\n\r\t\\", "\ud800"]
)
def test_nothing_in_a_text_breaks_a_line_or_steers_a_terminal(pipe: tuple[int, int], text: str) -> None:
    read, write = pipe
    log = Log(write, json=True)
    log.error(text, text, Fault(text, text, text))
    data = os.read(read, 10_000)
    assert data.count(b"\n") == 1
    assert not {*range(0x20), 0x7F} & {*data[:-1]}
    assert "\x9b" not in data.decode()
    assert json.loads(data)["text"] == text.encode("utf-8", "backslashreplace").decode().rstrip("\n")


def test_lines_that_are_lost_are_counted_in_a_line_of_json(pipe: tuple[int, int]) -> None:
    read, write = pipe
    log = Log(write, json=True)
    for number in range(QUEUE_LINES_MAX * 3):
        log.info(f"line {number}")
    found = lines(read)
    for _ in range(100):
        log.flush()
        try:
            found += lines(read)
        except AssertionError:
            break
    log.info("after")
    found += lines(read)
    (lost,) = [each for each in found if each["kind"] == "log_lines_lost"]
    kept = [each for each in found if each["text"].startswith("line")]
    assert lost["figures"]["lines"] + len(kept) == QUEUE_LINES_MAX * 3
    assert found[-1]["text"] == "after"


# ---- long lines


def test_a_file_takes_lines_of_any_length(tmp_path: Any) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        Log(file.fileno(), json=True).error("x" * 1_000_000)
    assert len(json.loads(path.read_bytes())["text"]) == 1_000_000


@pytest.mark.parametrize(("locked", "bytes_max"), [(True, 32_768), (False, 4096)])
def test_a_pipe_takes_a_long_line_whole_or_cut(
    pipe: tuple[int, int], lock: WriteLock, locked: bool, bytes_max: int
) -> None:
    read, write = pipe
    log = Log(write, json=True, lock=lock if locked else None)
    log.error("é" * 5000 if locked else "é" * 1000)
    log.error("é" * 500_000, fault=Fault("E", "m", "f" * 100_000))
    whole, cut = lines(read)
    assert "cut" not in whole
    assert cut["cut"] is True
    assert bytes_max // 4 < len(json.dumps(cut, ensure_ascii=False).encode()) <= bytes_max


def test_a_full_pipe_is_waited_for_and_the_line_stays_whole(pipe: tuple[int, int], lock: WriteLock) -> None:
    """There is room for a part of it, which the text log would use."""
    read, write = pipe
    log = Log(write, json=True, lock=lock)
    filled = b"".join(b"%04000d\n" % number for number in range(14))
    os.write(write, filled)
    log.error("x" * 20_000)
    assert os.read(read, 1 << 20) == filled
    log.flush()
    (line,) = lines(read)
    assert len(line["text"]) == 20_000


def test_a_small_pipe_has_its_lines_cut_to_what_it_holds(pipe: tuple[int, int], lock: WriteLock) -> None:
    read, write = pipe
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    Log(write, json=True, lock=lock).error("x" * 20_000)
    (line,) = lines(read)
    assert line["cut"] is True


def test_a_reader_that_is_gone_is_no_error(lock: WriteLock) -> None:
    read, write = os.pipe()
    os.write(write, b"x" * 50_000)
    os.close(read)
    log = Log(write, json=True, lock=lock)
    log.error("x" * 20_000)
    assert log.lost == 1
    os.close(write)


WRITER = """
import select
import sys
from gwctl.log import write_lock
from gwctl.log.event_log import Log
from gwctl.log.write_lock import WriteLock
write_lock.PATIENCE_S = 60.0  # a holder that pauses on a busy machine is no fault
fd, lock, number = map(int, sys.argv[1:])
poll = select.poll()
poll.register(fd, select.POLLOUT)
log = Log(fd, subject=f"web.{number} g1", lock=WriteLock(lock), json=True)
sys.stdin.read(1)   # all begin together
for record in range(60):
    log.error(f"{number}.{record} " + "x" * 15_000 if record % 3 else f"{number}.{record} short")
    while log.waiting():
        poll.poll(1000)
        log.flush()
"""


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("locked", [True, False])
def test_long_lines_of_several_processes_are_all_objects(kind: str, lock: WriteLock, locked: bool) -> None:
    """Without the lock too: then they are short."""
    if kind == "pipe":
        read, write = os.pipe()
    else:
        reader, writer = socket.socketpair()
        read, write = reader.detach(), writer.detach()
    number = lock.fd if locked else -1
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(write), str(number), str(each)],
            stdin=subprocess.PIPE,
            pass_fds=[write, lock.fd],
        )
        for each in range(4)
    ]
    blocks: list[bytes] = []

    def take() -> None:
        while block := os.read(read, 1 << 16):
            blocks.append(block)

    taking = threading.Thread(target=take)
    taking.start()
    os.close(write)
    for each in started:
        assert each.stdin is not None
        each.stdin.write(b".")
        each.stdin.close()
    assert [each.wait(60) for each in started] == [0] * 4
    taking.join(60)
    os.close(read)
    found = [json.loads(line) for line in b"".join(blocks).split(b"\n")[:-1]]
    assert {each["text"].split()[0] for each in found} == {f"{a}.{b}" for a in range(4) for b in range(60)}
    assert any(each.get("cut", False) for each in found) is not locked


def test_what_another_program_left_is_written_first_as_it_is(pipe: tuple[int, int]) -> None:
    read, write = pipe
    log = Log(write, json=True)
    log.resume([b"10:00:00.000 info  master     text\n", b'{"text":"json"}\n'], "stderr")
    log.info("new")
    first, second, third = os.read(read, 10_000).split(b"\n")[:-1]
    assert first.endswith(b"text")
    assert json.loads(second) == {"text": "json"}
    assert json.loads(third)["text"] == "new"


def test_the_format_may_change_while_it_is_written(pipe: tuple[int, int]) -> None:
    read, write = pipe
    log = Log(write)
    log.info("text")
    log.json = True
    log.write(Level.ERROR, "json", more=More(kind="application", level="critical", logger="shop"))
    text, line = os.read(read, 10_000).splitlines()
    assert text.endswith(b"text")
    assert {"level": "critical", "severity_number": 21, "logger": "shop"}.items() <= json.loads(line).items()


def test_waits_for_a_reader_are_bounded(pipe: tuple[int, int], lock: WriteLock) -> None:
    """A pipe that nobody reads costs one wait, not one for each line."""
    read, write = pipe
    log = Log(write, json=True, lock=lock)

    def many() -> None:
        for _ in range(50):
            log.error("x" * 20_000)

    waiting = threading.Thread(target=many)
    waiting.start()
    waiting.join(20)
    assert not waiting.is_alive()
    found = lines(read)

    def emptied() -> bool:
        log.flush()
        try:
            found.extend(lines(read))
        except AssertionError:
            return True
        return False

    until(emptied, "all to be written")
    assert len(found) == 50
