"""Memory by share: measured seldom, and the more seldom the longer it takes."""

from __future__ import annotations

import os

from gwctl.admin.memory import EVERY_S, PART_MAX, ProportionalMemory, proportional_bytes


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_kernel_says_it_of_this_process() -> None:
    found = proportional_bytes(os.getpid())
    assert found is not None
    assert 1 << 20 < found < 1 << 34
    assert proportional_bytes(2**22 + 1) is None


def test_at_most_every_so_often() -> None:
    clock = Clock()
    memory = ProportionalMemory(clock, {7: 100, 8: None}.get)
    assert memory.due
    memory.put_off()
    assert not memory.due
    memory.measure([7, 8])
    assert memory.measured == {7: 100}
    clock.now += EVERY_S - 0.1
    assert not memory.due
    clock.now += 0.1
    assert memory.due


def test_what_takes_long_is_done_less_often() -> None:
    clock = Clock()

    def slow(_pid: int) -> int:
        clock.now += 3.0
        return 1

    memory = ProportionalMemory(clock, slow)
    memory.measure([7])
    clock.now += 3.0 / PART_MAX - 0.1
    assert not memory.due
    clock.now += 0.1
    assert memory.due
