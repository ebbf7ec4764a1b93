"""The scoreboard: records from a free list, shared through a fork, cleared before they are given out."""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

import pytest

from gwctl.ipc import scoreboard
from gwctl.ipc.scoreboard import Scoreboard, note_request
from gwctl.supervisor.children.totals import Totals
from tests.support import child
from tests.support.processes import descriptors


def make(records: int) -> Scoreboard:
    board = Scoreboard(records)
    board.close_descriptor()
    return board


def test_records_are_given_out_once_and_taken_back():
    board = make(3)
    records = [board.allocate() for _ in range(3)]
    assert sorted(record.index for record in records if record) == [0, 1, 2]
    assert board.allocate() is None
    assert records[1] is not None
    board.release(records[1])
    again = board.allocate()
    assert again is not None
    assert again.index == records[1].index


def test_a_record_given_out_again_is_clear_and_its_neighbours_are_not():
    board = make(2)
    one, other = board.allocate(), board.allocate()
    assert one is not None
    assert other is not None
    for record in (one, other):
        for word in range(scoreboard.RECORD_BYTES // 8):
            record.words[word] = 7
        note_request(record.request, 0, 1.0, b"GET /")
    board.release(one)
    again = board.allocate()
    assert again is not None
    assert set(again.words) == {0, 1}  # the number of its pool
    assert again.request_line == ""
    assert other.request_line == "GET /"
    assert other.words[scoreboard.REQUESTS] == 7


def test_what_a_child_writes_the_parent_reads():
    board = make(1)
    record = board.allocate()
    assert record is not None

    def write() -> str:
        record.words[scoreboard.REQUESTS] = 12
        note_request(record.request, 0, 3.25, b"POST /checkout HTTP/1.1\r\nHost: shop\r\n\r\n")
        return "done"

    pid, read = child.start(write)
    assert child.result(pid, read) == "done"
    assert record.words[scoreboard.REQUESTS] == 12
    assert record.floats[scoreboard.BUSY_SINCE] == 3.25
    assert record.request_line == "POST /checkout"
    assert pid != os.getpid()


def test_a_long_request_line_is_cut_and_a_short_one_leaves_nothing_of_it():
    record = make(1).allocate()
    assert record is not None
    note_request(record.request, 0, 1.0, b"x" * 5000)
    assert len(record.request_line) == scoreboard.REQUEST_BYTES_MAX
    assert set(record.request_line) == {"x"}
    note_request(record.request, 0, 1.0, "GET /ü HTTP/1.0\r\n".encode())
    assert record.request_line == "GET /ü"
    note_request(record.request, 0, 1.0, b"\r\nGET /after-an-empty-line HTTP/1.1\r\n")
    assert record.request_line == "GET /after-an-empty-line"
    assert record.words[scoreboard.LATENCY + scoreboard.LATENCY_BUCKETS - 1] == 0


def test_totals_are_the_sum_of_the_records_folded_in():
    board = make(2)
    one, other = board.allocate(), board.allocate()
    assert one is not None
    assert other is not None
    one.words[scoreboard.REQUESTS], other.words[scoreboard.REQUESTS] = 3, 4
    one.words[scoreboard.LATENCY + 2], other.words[scoreboard.LATENCY + 2] = 1, 5
    totals = Totals()
    totals.fold(one)
    both = totals.plus(totals)
    totals.fold(other)
    assert totals.requests == 7
    assert totals.latency[2] == 6
    assert both.requests == 6


def test_no_holder_of_the_descriptor_can_change_its_size_or_who_may_map_it():
    """Neither by the descriptor nor by opening it again, as a child of the application could."""
    board = Scoreboard(4)
    record = board.allocate()
    assert record is not None
    size = os.fstat(board.fd).st_size
    again = os.open(f"/proc/self/fd/{board.fd}", os.O_RDWR)
    try:
        for fd in (board.fd, again):
            for other in (0, 1, size - 1, size + 1, 1 << 40):
                with pytest.raises(PermissionError):
                    os.ftruncate(fd, other)
            with pytest.raises(PermissionError):
                os.pwrite(fd, b"x", size)
            for seal in (fcntl.F_SEAL_WRITE, 0x10):  # 0x10: F_SEAL_FUTURE_WRITE
                with pytest.raises(PermissionError):
                    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seal)
        with pytest.raises(PermissionError):
            os.open(f"/proc/self/fd/{board.fd}", os.O_RDWR | os.O_TRUNC)
        assert os.fstat(board.fd).st_size == size
        record.words[scoreboard.REQUESTS] = 5
        assert mmap.mmap(board.fd, size)[8 * scoreboard.REQUESTS] == 5
    finally:
        os.close(again)
        board.close()


def test_of_a_closed_board_nothing_is_left():
    """Neither the descriptor nor the copy that the mapping has of it, nor the mapping itself."""

    def kept() -> int:
        return Path("/proc/self/maps").read_text().count("gwctl-scoreboard")

    before, mapped = descriptors(os.getpid()), kept()
    board = Scoreboard(4)
    first = board.allocate()
    assert first is not None
    board.release(first)
    second = board.allocate()  # the same place, given out twice
    assert second is not None
    assert board.is_used
    assert kept() == mapped + 1
    board.close()
    assert kept() == mapped
    assert not descriptors(os.getpid()).items() - before.items()
    with pytest.raises(ValueError, match="released"):
        second.words[0]


def test_a_copy_does_not_change_with_the_record():
    record = make(1).allocate()
    assert record is not None
    record.words[scoreboard.REQUESTS] = 3
    copy = record.copy()
    record.words[scoreboard.REQUESTS] = 4
    assert copy.words[scoreboard.REQUESTS] == 3
