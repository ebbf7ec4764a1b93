"""Open files of stdout and stderr: whose flags are whose."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gwctl.supervisor.children import stdio
from tests.support import child


def pipe(_folder: Path) -> tuple[int, int]:
    return os.pipe()


def terminal(_folder: Path) -> tuple[int, int]:
    return pty.openpty()


def appended(folder: Path) -> tuple[int, int]:
    return os.open(os.devnull, os.O_RDONLY), os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def journal(_folder: Path) -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def written(folder: Path) -> tuple[int, int]:
    return os.open(os.devnull, os.O_RDONLY), os.open(folder / "log", os.O_WRONLY | os.O_CREAT)


def in_a_worker(fd: int, function: Callable[[], str]) -> str:
    def run() -> str:
        for number in (1, 2):
            os.dup2(fd, number)
        return function()

    return child.result(*child.start(run))


@pytest.mark.parametrize("make", [pipe, terminal, appended], ids=lambda make: make.__name__)
def test_flags_that_a_worker_sets_are_its_own(
    tmp_path: Path, make: Callable[[Path], tuple[int, int]]
) -> None:
    """Of a pipe, a terminal and a file that is appended to; what it writes still arrives."""
    reads, writes = make(tmp_path)
    before = fcntl.fcntl(writes, fcntl.F_GETFL)

    def work() -> str:
        stdio.own_streams()
        kept = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK
        if make is not terminal:  # which was opened for reading, too
            assert fcntl.fcntl(1, fcntl.F_GETFL) & kept == before & kept
        os.set_blocking(1, False)
        fcntl.fcntl(2, fcntl.F_SETFL, 0)
        os.write(1, b"from ")
        os.write(2, b"a worker")
        return f"{os.get_inheritable(1)} {os.get_inheritable(2)}"

    assert in_a_worker(writes, work) == "True True"
    assert fcntl.fcntl(writes, fcntl.F_GETFL) == before
    came = (tmp_path / "log").read_bytes() if make is appended else os.read(reads, 100)
    assert b"a worker" in came
    os.close(reads)
    os.close(writes)


@pytest.mark.parametrize("make", [journal, written], ids=lambda make: make.__name__)
def test_what_cannot_be_opened_anew_is_used_as_it_is(
    tmp_path: Path, make: Callable[[Path], tuple[int, int]]
) -> None:
    """A file without O_APPEND has one position for all who write to it."""
    reads, writes = make(tmp_path)

    def work() -> str:
        stdio.own_streams()
        os.write(2, b"x")
        return str(stdio.own_log())

    assert in_a_worker(writes, work) == "2"
    os.close(reads)
    os.close(writes)


def test_the_log_of_the_master_never_blocks_whatever_a_pipe_is_set_to() -> None:
    reads, writes = os.pipe()

    def work() -> str:
        own = stdio.own_log()
        filled = 0
        while True:
            try:
                filled += os.write(own, b"x" * 4096)
            except BlockingIOError:
                break
        return f"{own > 2} {os.get_blocking(2)} {os.get_inheritable(own)}"

    assert in_a_worker(writes, work) == "True True False"
    os.close(reads)
    os.close(writes)
