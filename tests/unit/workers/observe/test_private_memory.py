"""What a worker has written itself: added up seldom, and followed by its resident size in between."""

from __future__ import annotations

import mmap

from gwctl.workers.observe.private_memory import AGAIN_MAX_S, FIRST_S, PrivateMemory, private_bytes

MIB = 1 << 20


class Kernel:
    def __init__(self, found: int) -> None:
        self.found = found
        self.asked = 0

    def read(self) -> int:
        self.asked += 1
        return self.found


def test_it_goes_up_and_down_with_the_resident_size_and_is_not_added_up_each_time() -> None:
    kernel = Kernel(60 * MIB)
    memory = PrivateMemory(kernel.read)
    assert memory.measure(100 * MIB, 0.0) == 60 * MIB
    assert memory.measure(110 * MIB, 5.0) == 70 * MIB
    assert memory.measure(90 * MIB, 10.0) == 50 * MIB
    assert kernel.asked == 1


def test_growth_has_it_added_up_anew() -> None:
    kernel = Kernel(60 * MIB)
    memory = PrivateMemory(kernel.read)
    memory.measure(100 * MIB, 0.0)
    kernel.found = 65 * MIB
    assert memory.measure(126 * MIB, 5.0) == 65 * MIB
    assert kernel.asked == 2


def test_so_does_time_ever_less_often() -> None:
    kernel = Kernel(60 * MIB)
    memory = PrivateMemory(kernel.read)
    times = []
    for second in range(0, 20_000, 5):
        before = kernel.asked
        memory.measure(100 * MIB, float(second))
        times += [second] if kernel.asked > before else []
    assert times[:4] == [0, FIRST_S, 3 * FIRST_S, 7 * FIRST_S]
    assert times[-1] - times[-2] == AGAIN_MAX_S


def test_never_more_than_it_holds_and_nothing_where_the_kernel_is_silent() -> None:
    assert PrivateMemory(Kernel(300 * MIB).read).measure(100 * MIB, 0.0) == 100 * MIB
    assert PrivateMemory(Kernel(0).read).measure(100 * MIB, 0.0) == 0


def test_this_process() -> None:
    before = private_bytes()
    with mmap.mmap(-1, 8 * MIB) as memory:
        memory.write(b"x" * (8 * MIB))
        assert private_bytes() >= before + 7 * MIB
