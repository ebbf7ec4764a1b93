"""Where threads spend their time, as seen from another thread of the same process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gwctl.profile.collected import WAITS, Choice, Folded, Part, folded
from gwctl.profile.lines import DEPTH_MAX, Begun, Kind, encode
from gwctl.workers.observe import sample_table, stack_sampler
from gwctl.workers.observe.stack_sampler import REQUESTS, StackSampler, Whereabouts
from tests.support.wait import until


class Sampled:
    """This process, sampled in the thread of the test."""

    def __init__(self, task: str = "") -> None:
        self.serving: list[int] = []
        where = Whereabouts(
            lambda: self.serving, threading.main_thread().ident or 0, lambda: task, pytest.main.__code__
        )
        self.sampler = StackSampler(where)
        self.part = Part("web.0", 1)
        self.part.feed(encode(Begun()))

    def sample(self) -> None:
        self.sampler.read_clocks()
        threading.Event().wait(0.002)  # so long is what the halves of a sample compare
        self.sampler.sample()

    def stacks(self, *, idle: bool = False, samples: int = 5) -> Folded:
        for _ in range(samples):
            self.sample()
        for line in self.sampler.take():
            self.part.feed(encode(line))
        assert not self.part.failure
        return folded([self.part], Choice(idle=idle, by_function=True))

    def of(self, root: str, **more: Any) -> dict[tuple[str, ...], int]:
        found = self.stacks(**more)
        return {
            tuple(frame.function for frame in stack): weight
            for stack, weight in found.items()
            if stack[0].function == root
        }


@contextmanager
def thread(target: Callable[[threading.Event], None], name: str = "worker-7") -> Iterator[threading.Thread]:
    over = threading.Event()
    one = threading.Thread(target=target, args=(over,), name=name, daemon=True)
    one.start()
    try:
        yield one
    finally:
        over.set()
        one.join()


def busy(over: threading.Event) -> None:
    def inside() -> None:
        while not over.is_set():
            sum(range(100))

    inside()


def call_waiting(over: threading.Event) -> None:
    def first() -> None:
        second()

    def second() -> None:
        third()

    def third() -> None:
        over.wait()

    first()


def work_loop(over: threading.Event) -> None:
    over.wait()


def test_who_uses_a_cpu_runs_and_its_thread_is_named_without_its_number() -> None:
    sampled = Sampled()
    with thread(busy):
        found: dict[tuple[str, ...], int] = {}

        def seen() -> bool:
            found.update(sampled.of("thread worker"))
            return sum(weight for stack, weight in found.items() if "(waits)" not in stack) > 0

        until(seen, lambda: f"it runs: {found}")
        assert any("busy.inside" in stack for stack in found)


def test_the_main_thread_of_a_forked_process_is_seen() -> None:
    """Its threading module may have the parent's number for it, as CPython 3.11's has."""
    over = threading.Event()
    seen: list[Folded] = []

    def sample() -> None:
        try:
            sampled = Sampled()
            sampled.serving = [threading.main_thread().ident or 0]
            seen.append(sampled.stacks())
        finally:
            over.set()

    pid = os.fork()
    if not pid:
        threading.Thread(target=sample, daemon=True).start()
        busy(over)
        os._exit(0 if seen and any(stack[0].function == REQUESTS for stack in seen[0]) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_who_waits_in_the_midst_of_something_waits() -> None:
    sampled = Sampled()
    with thread(call_waiting):
        found = sampled.of("thread worker")
    (stack,) = [each for each in found if each[-1] == "(waits)"]
    assert stack[:5] == (
        "thread worker",
        "call_waiting",
        *(f"call_waiting.{n}" for n in ("first", "second", "third")),
    )


def test_who_waits_for_work_is_idle_unless_it_serves() -> None:
    sampled = Sampled()
    with thread(work_loop) as waiting:
        until(lambda: sampled.of("thread worker", idle=True), "it")
        assert sampled.of("thread worker") == {}
    sampled = Sampled()
    with thread(work_loop) as waiting:
        sampled.serving = [waiting.ident or 0]
        found = sampled.of(REQUESTS)
    assert all(stack[1] == "work_loop" and stack[-1] == "(waits)" for stack in found)
    assert found


def test_one_s_own_thread_is_left_out_and_the_loop_s_is_named_by_its_task() -> None:
    own = Sampled().stacks(idle=True)
    assert not any(frame.function.endswith("Sampled.sample") for stack in own for frame in stack)
    found: list[Folded] = []
    other = threading.Thread(target=lambda: found.append(Sampled("task poll").stacks(idle=True)))
    other.start()
    other.join()
    assert {stack[0].function for stack in found[0]} >= {"task poll"}


def test_of_a_stack_without_end_the_inner_frames_are_kept() -> None:
    def deep(over: threading.Event, left: int = DEPTH_MAX + 50) -> None:
        if left:
            deep(over, left - 1)
        else:
            over.wait()

    sampled = Sampled()
    with thread(deep):
        until(lambda: sampled.stacks() and sampled.sampler.depth_cut, "a cut")
    cut = [stack for stack in sampled.stacks() if stack[1].function.startswith("(deeper than")]
    assert cut
    assert all(len(stack) <= DEPTH_MAX + 2 for stack in cut)


def test_more_stacks_than_there_is_room_for_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_table, "STACKS_MAX", 1)
    sampled = Sampled()
    with thread(call_waiting):
        found = sampled.stacks()
    assert {stack[0].function for stack in found} == {"(other stacks)"}
    assert sampled.sampler.stacks_cut > 0


def test_what_is_remembered_of_code_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that makes code for each request has it freed."""
    monkeypatch.setattr(stack_sampler, "LEARNT_MAX", 20)
    sampled = Sampled()
    for number in range(30):
        space: dict[str, Any] = {}
        exec(f"def made{number}(over):\n    over.wait()", space)
        with thread(space[f"made{number}"]):
            sampled.sample()
    assert len(sampled.sampler._codes) <= 20
    assert len(sampled.sampler._frame_at) <= 20


def test_threads_that_come_and_go_do_no_harm() -> None:
    sampled = Sampled()
    over = threading.Event()

    def short() -> None:
        threading.Event().wait(0.001)

    def begin() -> None:
        while not over.is_set():
            threading.Thread(target=short).start()

    with thread(lambda _over: begin()):
        try:
            found = sampled.stacks(idle=True, samples=50)
        finally:
            over.set()
    assert found
    assert sampled.sampler.samples == 50


def test_files_are_named_as_they_are_imported() -> None:
    table = sample_table.SampleTable()
    frames = [
        table.frames[table.code("f", name, 3)]
        for name in (
            f"{sys.path[0] or '.'}/shop/views.py",
            "/usr/lib/python3/site-packages/flask/app.py",
            threading.__file__,
            sample_table.__file__,
            "<string>",
            "<frozen importlib._bootstrap>",
            "/elsewhere/x.py",
        )
    ]
    kinds = [frame.kind for frame in frames]
    assert kinds == [
        Kind.APPLICATION,
        Kind.LIBRARY,
        Kind.PYTHON,
        Kind.GWCTL,
        Kind.APPLICATION,
        Kind.PYTHON,
        Kind.APPLICATION,
    ]
    assert [frame.file for frame in frames][1:] == [
        "flask/app.py",
        "threading.py",
        "gwctl/workers/observe/sample_table.py",
        "<string>",
        "<frozen importlib._bootstrap>",
        "/elsewhere/x.py",
    ]


def test_each_is_told_once() -> None:
    table = sample_table.SampleTable()
    numbers = [table.code("f", "/x.py", line) for line in range(450)]
    for number in numbers:
        table.stack((number,))
    news = list(table.news())
    assert [(len(frames), len(stacks)) for frames, stacks in news] == [
        (200, 0),
        (200, 0),
        (51, 0),
        (0, 200),
        (0, 200),
        (0, 51),
    ]
    assert list(table.news()) == []
    assert WAITS.kind is Kind.NOTE
