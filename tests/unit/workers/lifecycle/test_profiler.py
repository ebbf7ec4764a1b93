"""A profile from the order to the last line, over a socket pair, in this process."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import tracemalloc
from collections.abc import Iterator

import pytest

from gwctl.log.event_log import Log
from gwctl.profile.collected import Choice, Part, folded
from gwctl.workers.lifecycle import profiler as module
from gwctl.workers.lifecycle.profiler import Profiler
from gwctl.workers.observe import allocation_sampler
from gwctl.workers.observe.stack_sampler import Whereabouts
from tests.support.wait import DEADLINE_S, until

LONG_S = 300.0


class Asking:
    """One who has asked."""

    def __init__(self, profiler: Profiler, seconds: float = LONG_S, *, memory: bool = False) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(DEADLINE_S)
        self.part = Part("web.0", os.getpid())
        where = Whereabouts(list, threading.main_thread().ident or 0, lambda: "", pytest.main.__code__)
        profiler.begin(theirs.detach(), seconds, None if memory else where)

    def read(self) -> Part:
        """All of it."""
        while data := self.sock.recv(65536):
            self.part.feed(data)
        self.part.feed(b"")
        return self.part

    def begun(self) -> None:
        while not self.part.began:
            self.part.feed(self.sock.recv(65536))


@pytest.fixture
def profiler() -> Iterator[Profiler]:
    one = Profiler(Log())
    before = sys.getswitchinterval()
    yield one
    one.end("the test is over")
    until(lambda: not one.descriptors(), "the end of the thread")
    assert sys.getswitchinterval() == pytest.approx(before)
    assert not tracemalloc.is_tracing()


def test_a_profile_is_told_and_ends_by_itself(profiler: Profiler) -> None:
    part = Asking(profiler, 0.3).read()
    assert (part.failure, part.began) == ("", True)
    assert part.ended is not None
    assert part.ended.samples > 1
    assert part.ended.why == ""
    assert part.ended.seconds >= 0.3


def test_who_has_enough_is_told_what_there_is(profiler: Profiler) -> None:
    asking = Asking(profiler)
    asking.begun()
    asking.sock.shutdown(socket.SHUT_WR)
    part = asking.read()
    assert part.ended is not None
    assert part.ended.why == "who asked had enough"


def test_who_goes_away_ends_it(profiler: Profiler) -> None:
    Asking(profiler).sock.close()
    until(lambda: not profiler.descriptors(), "its end")


def test_one_at_a_time(profiler: Profiler) -> None:
    first = Asking(profiler)
    first.begun()
    assert Asking(profiler).read().failure == "a profile of it is being taken already"
    first.sock.close()
    until(lambda: not profiler.descriptors(), "its end")
    assert Asking(profiler, 0.05).read().ended is not None


def test_the_end_of_the_worker_ends_it_and_waits_a_moment_for_it(profiler: Profiler) -> None:
    asking = Asking(profiler)
    asking.begun()
    profiler.end("the worker has ended")
    part = asking.read()
    assert part.ended is not None
    assert part.ended.why == "the worker has ended"


def test_one_who_does_not_read_is_given_up(profiler: Profiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_UNSENT_MAX", 100)
    monkeypatch.setattr(module, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(module, "TELL_S", 0.01)
    asking = Asking(profiler)
    full = asking.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert full
    until(lambda: select.select([asking.sock], [], [], 0)[0], "something to read")
    monkeypatch.setattr(module, "encode", lambda _line: b"x" * 1_000_000)
    until(lambda: not profiler.descriptors(), "its end")


def test_a_number_that_is_another_s_by_now_is_not_written_to(profiler: Profiler) -> None:
    """Applications close what is not theirs, and open something else."""
    asking = Asking(profiler)
    asking.begun()
    (fd,) = profiler.descriptors()
    mine = os.memfd_create("the application's")
    os.dup2(mine, fd)
    profiler.end("the worker has ended")
    until(lambda: not profiler.descriptors(), "its end")
    assert os.fstat(mine).st_size == 0
    os.close(mine)


def test_a_child_of_the_application_switches_as_before(profiler: Profiler) -> None:
    asking = Asking(profiler)
    asking.begun()
    until(lambda: sys.getswitchinterval() < 0.005, "a sample")
    pid = os.fork()
    if not pid:
        os._exit(0 if sys.getswitchinterval() == 0.005 else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_memory_profile_that_fails_leaves_nothing_on(
    profiler: Profiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What notes every allocation would slow the worker down for good."""
    monkeypatch.setattr(tracemalloc, "take_snapshot", lambda: 1 / 0)
    asking = Asking(profiler, memory=True)
    asking.begun()
    assert tracemalloc.is_tracing()
    asking.sock.shutdown(socket.SHUT_WR)
    assert asking.read().ended is None
    until(lambda: not profiler.descriptors(), "its end")
    assert not tracemalloc.is_tracing()


def test_a_child_of_the_application_notes_no_allocations(profiler: Profiler) -> None:
    asking = Asking(profiler, memory=True)
    asking.begun()
    pid = os.fork()
    if not pid:
        os._exit(tracemalloc.is_tracing())
    assert os.waitpid(pid, 0)[1] == 0
    assert tracemalloc.is_tracing()


def test_threads_that_are_patched_are_not_profiled(
    profiler: Profiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "patched_by", lambda: "gevent")
    assert Asking(profiler).read().failure == "its threads are patched by gevent"


def kept_for_the_test() -> list[bytes]:
    return [bytes(1000) for _ in range(1000)]


def test_of_the_memory_what_is_still_in_use_is_told(profiler: Profiler) -> None:
    asking = Asking(profiler, memory=True)
    asking.begun()
    kept = kept_for_the_test()
    asking.sock.shutdown(socket.SHUT_WR)
    part = asking.read()
    assert (part.failure, part.memory, len(kept)) == ("", True, 1000)
    stacks = folded([part], Choice())
    assert max(stacks.values()) > 1_000_000
    (largest,) = [stack for stack, size in stacks.items() if size == max(stacks.values())]
    assert largest[-1].file.endswith("test_profiler.py")


def test_more_allocations_than_there_is_room_for_end_it(
    profiler: Profiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation_sampler, "BYTES_MAX", 1)
    part = Asking(profiler, memory=True).read()
    assert part.ended is not None
    assert part.ended.why == "there was no room for more allocations"


def test_an_application_that_uses_tracemalloc_keeps_it(profiler: Profiler) -> None:
    tracemalloc.start()
    try:
        assert "tracemalloc is on already" in Asking(profiler, memory=True).read().failure
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
