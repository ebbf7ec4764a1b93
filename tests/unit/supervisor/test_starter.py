"""Who has started a master is told where its events are, and holds it up in no way."""

from __future__ import annotations

import os

import pytest

from gwctl.records.master import MasterGaveUp, PoolsServe
from gwctl.supervisor import starter as module
from gwctl.supervisor.starter import Starter


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch):
    """In the place of stderr."""
    read, write = os.pipe()
    monkeypatch.setattr(module, "_STDERR", write)
    yield read, write
    os.close(read)
    os.close(write)


def test_a_start_that_fails_is_told_and_then_nothing(pipe) -> None:
    read, _ = pipe
    starter = Starter("/var/log/shop/events.log")
    assert starter.hears(MasterGaveUp(exit_status=4, reason="no", traceback=""), "cannot import shop")
    starter.tell("more")
    assert os.read(read, 1000) == b"gwctl: cannot import shop\n"


def test_it_is_let_go_of_when_it_serves(pipe) -> None:
    read, _ = pipe
    starter = Starter("journal")
    assert starter.hears(PoolsServe(pools=(), took_s=0.1), "serving")
    starter.tell("more")
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):
        os.read(read, 1)


def test_nobody_is_told_where_the_events_are_on_stderr(pipe) -> None:
    read, _ = pipe
    starter = Starter("stderr")
    starter.begin()
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):
        os.read(read, 1)


@pytest.mark.timeout(20)
def test_a_pipe_that_is_full_is_not_waited_for(pipe) -> None:
    """As a terminal that was stopped by Ctrl-S."""
    _, write = pipe
    starter = Starter("journal")
    os.set_blocking(write, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    starter.tell("x" * 100_000)
    starter.close()
