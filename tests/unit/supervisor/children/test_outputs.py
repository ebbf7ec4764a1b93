"""What workers print is taken from their pipes: real pipes and selectors, and a clock that is set by hand."""

from __future__ import annotations

import json
import os
import selectors
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any, Final

import pytest

from gwctl.ipc.output_pipes import WorkerEnds
from gwctl.log.event_log import Log
from gwctl.records.base import TEMPLATE, Process
from gwctl.supervisor.children import outputs as module
from gwctl.supervisor.children.output_allowance import (
    BURST_S,
    POOL_UNITS_PER_S,
    UNIT_BYTES,
    WORKER_UNITS_PER_S,
    Bucket,
)
from gwctl.supervisor.children.outputs import (
    HELD_TOLD_S,
    LAST_UNITS_MAX,
    LEFT_PIPES_MAX,
    PATIENCE_S,
    TICK_S,
    TURN_UNITS_MAX,
    Outputs,
)
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder

PIPE_BYTES: Final = 65_536
LINE: Final = b"0123456789abcde\n"


class Master:
    """A loop with nothing but outputs in it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "log"
        self._file = self._path.open("ab")
        self._reading = self._path.open("rb")
        self.selector = selectors.DefaultSelector()
        self.now = 1000.0
        self.recorder = Recorder(Log(self._file.fileno(), json=True), History.of("shop"))
        self.outputs = self.successor()

    def successor(self) -> Outputs:
        return Outputs(self.selector, self.recorder, lambda: self.now)

    def begin(self, worker: int, pool: str = "web") -> WorkerEnds:
        ends = self.outputs.make(worker)
        self.outputs.begin(worker, Process(pool, worker, 3, 4000 + worker))
        os.set_blocking(ends.stdout, False)
        return ends

    @property
    def waits(self) -> bool:
        """Nothing wakes it but time."""
        return not self.selector.select(0)

    def turn(self, later_s: float = 0.0) -> None:
        self.now += later_s
        for key, mask in self.selector.select(0):
            key.data(mask)
        self.outputs.turn(self.now)

    def run(self, for_s: float) -> None:
        """Turn whenever somebody prints or something is due."""
        until = self.now + for_s
        while True:
            self.turn()
            if self.waits:
                step = max(0.0, min(self.outputs.next_at, until) - self.now)
                if self.now + step >= until:
                    return
                self.now += step

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    @property
    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines]

    def written(self) -> int:
        """How many lines there are since this was asked last."""
        return len(self._reading.readlines())

    def close(self) -> None:
        self.outputs.close()
        self.selector.close()
        self._file.close()
        self._reading.close()


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    made = Master(tmp_path)
    yield made
    made.close()


def fill(fd: int, line: bytes = LINE, lines_max: int = 1 << 30) -> int:
    """Print until the pipe is full; return how many lines were."""
    count = 0
    try:
        while count < lines_max:
            os.write(fd, line)
            count += 1
    except BlockingIOError:
        pass
    return count


def test_lines_name_the_process_and_the_stream(master: Master) -> None:
    ends = master.begin(2)
    os.write(ends.stdout, b"tea\n")
    os.write(ends.stderr, b"milk\n")
    master.run(1.0)
    found = {line["stream"]: line for line in master.lines}
    assert {name: line["text"] for name, line in found.items()} == {"stdout": "tea", "stderr": "milk"}
    line = found["stdout"]
    assert (line["kind"], line["instance"], line["pool"], line["slot"]) == ("output", "shop", "web", 2)
    assert (line["generation"], line["pid"], line["subject"]) == (3, 4002, "web.2 g3")
    ends.close()


def test_a_template_has_no_slot(master: Master) -> None:
    ends = master.outputs.make(7)
    master.outputs.begin(7, Process("web", TEMPLATE, 3, 4007))
    os.write(ends.stdout, b"imported\n")
    master.run(1.0)
    (line,) = master.lines
    assert "slot" not in line
    assert line["subject"] == "web g3"
    ends.close()


def test_where_nobody_prints_nothing_is_done(master: Master) -> None:
    ends = master.begin(0)
    assert master.waits
    assert master.outputs.next_at == inf
    os.write(ends.stdout, b"tea\n")
    master.run(1.0)
    assert master.waits
    assert master.outputs.next_at == inf
    ends.close()


def test_who_prints_often_wakes_the_master_seldom(master: Master) -> None:
    """What comes within a tick is read together, from everybody."""
    all_ends = [master.begin(number) for number in range(4)]
    os.write(all_ends[0].stdout, b"first\n")
    master.turn()
    assert master.texts == ["first"]
    for ends in all_ends:
        os.write(ends.stdout, b"more\n")
        os.write(ends.stderr, b"more\n")
        assert master.waits
    master.turn(TICK_S / 2)
    assert master.texts == ["first"]
    master.turn(TICK_S / 2)
    master.turn()
    assert master.texts == ["first"] + ["more"] * 8
    for ends in all_ends:
        ends.close()


def test_a_line_without_end_is_waited_for_a_moment(master: Master) -> None:
    ends = master.begin(0)
    os.write(ends.stdout, b"Password: ")
    master.run(PATIENCE_S / 2)
    assert master.texts == []
    master.run(PATIENCE_S)
    os.write(ends.stdout, b"secret\n")
    master.run(PATIENCE_S)
    assert master.texts == ["Password: ", "secret"]
    assert [line.get("continued", False) for line in master.lines] == [False, True]
    assert master.outputs.next_at == inf
    ends.close()


def test_a_traceback_in_many_writes_is_one_line(master: Master) -> None:
    ends = master.begin(0)
    pieces = [b"Traceback (most recent call last):\n", b'  File "a.py", line 1\n', b"KeyError: 1\n"]
    for piece in pieces:
        os.write(ends.stderr, piece)
        master.run(TICK_S * 2)
    master.run(PATIENCE_S)
    assert master.texts == [b"".join(pieces).decode().rstrip("\n")]
    assert master.lines[0]["level"] == "error"
    ends.close()


def test_who_prints_without_end_is_read_by_an_allowance(master: Master) -> None:
    """It waits then; a sibling, and another pool, are read as ever. It is said once in a while."""
    flooding, sibling, other = master.begin(0), master.begin(1), master.begin(2, "live")
    printed, seconds = 0, 8
    for _ in range(seconds * 10):
        printed += fill(flooding.stdout)
        os.write(sibling.stdout, b"sibling\n")
        os.write(other.stdout, b"other\n")
        master.run(0.1)
    texts = master.texts
    flood = texts.count(LINE.decode().rstrip("\n"))
    assert flood <= (seconds + BURST_S) * WORKER_UNITS_PER_S + TURN_UNITS_MAX
    assert flood >= seconds * WORKER_UNITS_PER_S / 2
    assert printed <= flood + PIPE_BYTES * 2 // len(LINE)
    assert texts.count("sibling") == texts.count("other") == seconds * 10
    held = [line for line in master.lines if line["kind"] == "output_held"]
    assert len(held) == 1
    assert held[0]["subject"] == "web.0 g3"
    master.now += HELD_TOLD_S
    for _ in range(seconds * 10):
        fill(flooding.stdout)
        master.run(0.1)
    assert len([line for line in master.lines if line["kind"] == "output_held"]) == 2
    for ends in (flooding, sibling, other):
        ends.close()


def test_a_pool_that_prints_without_end_does_not_hold_up_another(master: Master) -> None:
    """All its workers together have one allowance, and each turn is bounded."""
    flooding = [master.begin(number) for number in range(16)]
    other = master.begin(99, "live")
    longest = total = 0
    for _ in range(300):
        for ends in flooding:
            fill(ends.stdout)
        os.write(other.stdout, b"other\n")
        total += master.written()
        master.turn()
        lines = master.written()
        longest, total = max(longest, lines), total + lines
        master.turn(TICK_S)
    assert longest <= 2 * TURN_UNITS_MAX + 1
    assert master.texts.count("other") >= 290
    assert total <= (300 * TICK_S + BURST_S) * POOL_UNITS_PER_S + 1000
    for ends in (*flooding, other):
        ends.close()


@pytest.mark.parametrize(
    "line", [b"\n", b"x" * 4095 + b"\n", b"\xff" * 4096], ids=["empty", "long", "endless"]
)
def test_what_is_read_is_bounded_in_memory(master: Master, line: bytes) -> None:
    ends = master.begin(0)
    for _ in range(300):
        fill(ends.stdout, line)
        master.turn(TICK_S)
        (kept, _) = (len(each.left) for each in master.outputs.snapshot())
        assert kept <= 2 * module.READ_BYTES
    ends.close()


def test_last_words_come_before_the_death(master: Master) -> None:
    ends = master.begin(0)
    os.write(ends.stdout, b"dying\nwithout an end")
    ends.close()
    master.outputs.end(0)
    assert master.texts == ["dying", "without an end"]
    assert not master.outputs.snapshot()
    assert master.outputs.next_at == inf


def test_the_rest_of_a_full_pipe_is_read_at_the_death(master: Master) -> None:
    ends = master.begin(0)
    line = b"x" * 127 + b"\n"
    printed = fill(ends.stdout, line)
    ends.close()
    master.outputs.end(0)
    assert len(master.texts) == printed == PIPE_BYTES // len(line)


def test_a_death_does_not_hold_the_master_up(master: Master) -> None:
    """So many lines at most, of all that die in a turn; the rest comes later, by the allowance."""
    printed = 0
    for worker in range(3):
        ends = master.begin(worker)
        printed += fill(ends.stdout, b"\n")
        ends.close()
    for worker in range(3):
        master.outputs.end(worker)
    assert LAST_UNITS_MAX / 2 < len(master.texts) <= LAST_UNITS_MAX
    master.run(300.0)
    texts = master.texts
    assert texts.count("") == printed
    assert len(texts) - printed <= 3  # that it prints faster than is taken
    assert not master.outputs.snapshot()


def test_nothing_is_lost_of_many_that_die_in_one_turn(master: Master) -> None:
    """Their pipes are not taken for such that others have open."""
    deaths = LEFT_PIPES_MAX * 2
    for worker in range(deaths):
        ends = master.begin(worker)
        fill(ends.stdout, LINE, 200)
        fill(ends.stderr, LINE, 200)
        ends.close()
    for worker in range(deaths):
        master.outputs.end(worker)
    assert len(master.texts) <= LAST_UNITS_MAX
    master.run(60.0)
    texts = master.texts
    assert texts.count(LINE.decode().rstrip("\n")) == deaths * 400
    assert not [line for line in master.lines if line["kind"] == "output_given_up"]
    assert not master.outputs.snapshot()


def test_each_turn_has_last_words_of_its_own(master: Master) -> None:
    for worker in range(4):
        ends = master.begin(worker)
        printed = fill(ends.stdout, b"x" * 127 + b"\n")
        ends.close()
        master.outputs.end(worker)
        assert master.written() == printed
        master.turn()


@pytest.mark.parametrize("line", [b"x" * 4096, b"Traceback (most recent call last):\n" + b" x\n" * 1300])
def test_bytes_count_also_without_lines(master: Master, line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read in a turn is bounded, whatever becomes of it."""
    read = 0

    def counting(fd: int, size: int) -> bytes:
        nonlocal read
        data = os_read(fd, size)
        read += len(data)
        return data

    os_read = os.read
    all_ends = [master.begin(number) for number in range(40)]
    for ends in all_ends:
        fill(ends.stdout, line)
    monkeypatch.setattr(os, "read", counting)
    most = TURN_UNITS_MAX * UNIT_BYTES + module.READ_BYTES
    for _ in range(200):
        read = 0
        master.turn(TICK_S)
        assert read <= 2 * most
    for ends in all_ends:
        ends.close()


def test_child_processes_that_live_on_are_read(master: Master) -> None:
    ends = master.begin(0)
    os.write(ends.stdout, b"worker\n")
    master.outputs.end(0)
    assert master.texts == ["worker"]
    os.write(ends.stdout, b"child\n")
    master.run(1.0)
    assert master.texts == ["worker", "child"]
    ends.close()
    master.run(1.0)
    assert not master.outputs.snapshot()


def test_they_cannot_hold_pipes_without_end(master: Master) -> None:
    """The oldest is closed: who writes to it is told by the kernel, and the log says so."""
    lives = LEFT_PIPES_MAX + 3
    all_ends = []
    for worker in range(lives):
        all_ends.append(master.begin(worker))
        master.outputs.end(worker)
    assert len(master.outputs.snapshot()) == LEFT_PIPES_MAX
    given_up = [line for line in master.lines if line["kind"] == "output_given_up"]
    assert len(given_up) == 2 * lives - LEFT_PIPES_MAX
    assert given_up[0]["subject"] == "web.0 g3"
    os.write(all_ends[-1].stdout, b"still read\n")
    master.run(1.0)
    assert master.texts[-1] == "still read"
    for ends in all_ends:
        ends.close()


def test_pipes_of_a_worker_that_never_came_are_closed(master: Master) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    master.outputs.make(0).close()
    master.outputs.forget(0)
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 1  # the selector of all


def test_all_goes_over_in_an_upgrade(master: Master) -> None:
    """Also half a line, and that it is the second half."""
    ends = master.begin(0)
    os.write(ends.stdout, b"begun ")
    master.run(1.0)
    os.write(ends.stdout, b"and ")
    master.turn()
    master.turn(TICK_S)
    snapshot = master.outputs.snapshot()
    assert [each.left for each in snapshot] == [b"and ", b""]
    master.selector.close()
    master.selector = selectors.DefaultSelector()
    master.outputs = master.successor()
    master.outputs.resume(snapshot)
    os.write(ends.stdout, b"ended\nnext\n")
    master.run(1.0)
    assert master.texts == ["begun ", "and ended", "next"]
    assert [line.get("continued", False) for line in master.lines] == [False, True, False]
    master.outputs.end(0)
    ends.close()


def test_a_bucket_fills_with_time_and_its_debt_is_bounded() -> None:
    bucket = Bucket(100.0)
    assert bucket.left(0.0) == 100.0 * BURST_S
    bucket.spend(1e9, 0.0)
    assert bucket.left(0.0) == -100.0 * BURST_S
    assert bucket.wait_s(0.0) > BURST_S
    assert bucket.left(BURST_S * 10) == 100.0 * BURST_S
    assert bucket.wait_s(BURST_S * 10) == 0.0
