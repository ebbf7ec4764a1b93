"""The thread that waits for the master's end believes nothing but that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from gwctl.workers.lifecycle.parent_death import DeathWatch
from tests.support.wait import until


class Watch(DeathWatch):
    """Of a child of this process, as if it were the parent. ``looks``: at what came of the descriptor."""

    looks = 0

    def __init__(self, master: subprocess.Popen[bytes]) -> None:
        super().__init__(master.pid, 30.0)
        self.master = master
        self.told: list[bool] = []
        self.over = threading.Event()
        self.unheard = self.over.set

    def master_is_gone(self) -> bool:
        self.looks += 1
        return self.master.poll() is not None

    def finish_or_die(self) -> None:
        self.told.append(self.master_is_gone())


@pytest.fixture
def master() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def closed() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    return reading


def another() -> int:
    """A number that is something else by now, and readable."""
    return os.open(os.devnull, os.O_RDONLY)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no pidfds here")
@pytest.mark.parametrize("taken", [closed, another])
def test_a_descriptor_that_the_application_took_is_no_death(master, taken) -> None:
    """os.closerange(), as code does that makes a daemon of itself, before the thread has begun to sleep."""
    watch = Watch(master)
    thread = threading.Thread(target=watch._wait_for_death, args=(taken(),))
    thread.start()
    until(lambda: watch.looks, "what came of the descriptor to be looked at")
    assert not watch.told
    master.send_signal(signal.SIGKILL)
    assert watch.over.wait(20)
    thread.join()
    assert watch.told == [True]
