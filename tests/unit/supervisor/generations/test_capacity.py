""" "auto" against fake control groups of both versions: the least of affinity, quota and memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.generations.capacity import (
    Capacity,
    CapacityWatch,
    GroupLimits,
    MemoryLeft,
    group_limits,
    measure,
)
from tests.support.core_story import POLICY, CoreStory

MIB = 1 << 20


class Machine:
    """A fake /proc and /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", f"MemTotal:       {64 << 20} kB\nMemFree: 12 kB\n")

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def v2(self, group: str, top: str = "/") -> None:
        self.write("proc/self/cgroup", f"0::{group}\n")
        self.write(
            "proc/self/mountinfo",
            f"30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
        )

    def v1(self, group: str) -> None:
        self.write("proc/self/cgroup", f"5:cpu,cpuacct:{group}\n4:memory:{group}\n1:name=systemd:{group}\n")
        self.write(
            "proc/self/mountinfo",
            "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
            "32 23 0:28 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n"
            "33 23 0:29 / /proc rw - proc proc rw\n",
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_limits_of_groups_are_the_least_up_to_the_root(machine: Machine) -> None:
    assert group_limits(machine.root) == GroupLimits(None, None, None)
    machine.v2("/system.slice/shop")
    machine.write("sys/fs/cgroup/system.slice/shop/pids.max", "max\n")
    machine.write("sys/fs/cgroup/system.slice/pids.max", "300\n")
    machine.write("sys/fs/cgroup/system.slice/shop/cpu.max", "150000 100000\n")
    machine.write("sys/fs/cgroup/system.slice/shop/memory.high", f"{64 * MIB}\n")
    assert group_limits(machine.root) == GroupLimits(1.5, 64 * MIB, 300)


def test_affinity_alone(machine: Machine) -> None:
    found = measure(machine.root, cpus=4)
    assert found.processes == 4
    assert found.why == "4 CPUs by affinity, memory allows 511"


def test_the_explanation_of_the_start_line(machine: Machine) -> None:
    """Affinity, quota and memory in the words that the start line shows."""
    machine.v2("/shop")
    machine.write("sys/fs/cgroup/shop/cpu.max", "400000 100000\n")
    machine.write("sys/fs/cgroup/shop/memory.max", f"{32 * 128 * MIB}\n")
    found = measure(machine.root, cpus=4)
    assert (found.processes, found.why) == (4, "4 CPUs by affinity, quota 4.0, memory allows 31")


@pytest.mark.parametrize(
    ("quota", "processes"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("5000 100000", 1)]
)
def test_quota_is_rounded_up(machine: Machine, quota: str, processes: int) -> None:
    machine.v2("/shop")
    machine.write("sys/fs/cgroup/shop/cpu.max", quota)
    assert measure(machine.root, cpus=8).processes == processes


def test_a_parent_group_limits_too(machine: Machine) -> None:
    machine.v2("/system.slice/shop.service")
    machine.write("sys/fs/cgroup/system.slice/shop.service/cpu.max", "max 100000")
    machine.write("sys/fs/cgroup/system.slice/cpu.max", "200000 100000")
    assert measure(machine.root, cpus=8).processes == 2


def test_memory_high_limits(machine: Machine) -> None:
    machine.v2("/shop")
    machine.write("sys/fs/cgroup/shop/memory.max", "max")
    machine.write("sys/fs/cgroup/shop/memory.high", str(4 * 128 * MIB))
    assert measure(machine.root, cpus=8).processes == 3


def test_version_1(machine: Machine) -> None:
    machine.v1("/docker/abc")
    machine.write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "300000")
    machine.write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000")
    machine.write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", str(1024 * MIB))
    found = measure(machine.root, cpus=16)
    assert (found.processes, found.why) == (3, "16 CPUs by affinity, quota 3.0, memory allows 7")


def test_version_1_without_limits(machine: Machine) -> None:
    """-1 and the huge number are version 1's way to say: no limit."""
    machine.v1("/")
    machine.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1")
    machine.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    assert measure(machine.root, cpus=2).why == "2 CPUs by affinity, memory allows 511"


def test_group_outside_the_mount(machine: Machine) -> None:
    """A container without a cgroup namespace names a group that is not in its mount: the mount is ours."""
    machine.v2("/docker/abc")
    machine.write("sys/fs/cgroup/cpu.max", "100000 100000")
    assert measure(machine.root, cpus=8).processes == 1


def test_mount_of_a_part_of_the_tree(machine: Machine) -> None:
    machine.v2("/docker/abc/inner", top="/docker/abc")
    machine.write("sys/fs/cgroup/inner/cpu.max", "200000 100000")
    assert measure(machine.root, cpus=8).processes == 2


def test_at_least_one(machine: Machine) -> None:
    machine.v2("/tiny")
    machine.write("sys/fs/cgroup/tiny/memory.max", str(64 * MIB))
    found = measure(machine.root, cpus=1)
    assert (found.processes, found.why) == (1, "1 CPU by affinity, memory allows 1")


def test_no_proc_at_all(tmp_path: Path) -> None:
    assert measure(tmp_path, cpus=3).processes == 3


def test_this_machine() -> None:
    found = measure()
    assert found.processes >= 1
    assert "by affinity" in found.why


# ---- what is left of memory


def test_without_limits_it_is_what_the_machine_has(machine: Machine) -> None:
    machine.write("proc/meminfo", "MemTotal: 4000 kB\nMemAvailable: 3000 kB\n")
    assert MemoryLeft(machine.root).read() == 3000 * 1024
    machine.write("proc/meminfo", "MemTotal: 4000 kB\n")
    assert MemoryLeft(machine.root).read() is None


def test_the_least_that_any_group_has_left(machine: Machine) -> None:
    """Pages of files that nobody has used lately do not count: they make room by themselves."""
    machine.write("proc/meminfo", f"MemAvailable: {4 << 20} kB\n")
    machine.v2("/system.slice/shop")
    own, above = "sys/fs/cgroup/system.slice/shop", "sys/fs/cgroup/system.slice"
    machine.write(f"{own}/memory.max", f"{1000 * MIB}\n")
    machine.write(f"{own}/memory.current", f"{600 * MIB}\n")
    machine.write(f"{own}/memory.stat", f"anon 1\ninactive_file {100 * MIB}\nactive_file {MIB}\n")
    left = MemoryLeft(machine.root)
    assert left.read() == 500 * MIB
    machine.write(f"{own}/memory.high", f"{800 * MIB}\n")
    assert left.read() == 300 * MIB, "from there on the kernel slows it down"
    machine.write(f"{above}/memory.max", f"{2000 * MIB}\n")
    machine.write(f"{above}/memory.current", f"{1990 * MIB}\n")
    assert left.read() == 10 * MIB
    machine.write(f"{above}/memory.current", f"{2100 * MIB}\n")
    assert left.read() == 0


def test_what_is_left_by_version_1(machine: Machine) -> None:
    machine.v1("/shop")
    group = "sys/fs/cgroup/memory/shop"
    machine.write(f"{group}/memory.limit_in_bytes", f"{500 * MIB}\n")
    machine.write(f"{group}/memory.usage_in_bytes", f"{400 * MIB}\n")
    machine.write(f"{group}/memory.stat", f"cache 7\ntotal_inactive_file {50 * MIB}\n")
    assert MemoryLeft(machine.root).read() == 150 * MIB
    machine.write(f"{group}/memory.limit_in_bytes", f"{(1 << 63) - 4096}\n")
    assert MemoryLeft(machine.root).read() is None


def test_how_many_processors_there_are(machine: Machine) -> None:
    assert measure(machine.root, cpus=4).cpus == 4.0
    machine.v2("/shop")
    machine.write("sys/fs/cgroup/shop/cpu.max", "150000 100000\n")
    assert measure(machine.root, cpus=4).cpus == 1.5


def test_what_is_allowed_is_told_until_the_pools_go_by_it() -> None:
    story = CoreStory(policy=replace(POLICY, size=2, by_capacity=True), web=2).serves()
    told: list[ev.CapacityMeasured] = []
    found = [Capacity(2, "as it was")]
    watch = CapacityWatch(told.append, lambda: found[0])
    watch.turn(100.0, story.fleet.state)
    assert told == []
    found[0] = Capacity(3, "quota 3.0", 3.0)
    watch.turn(103.9, story.fleet.state)
    assert told == [], "not at each turn of the loop"
    for now in (104.0, 108.0):
        watch.turn(now, story.fleet.state)
    assert told == [ev.CapacityMeasured(3, 3.0, "quota 3.0")] * 2
    story.happens(told[0])
    watch.turn(112.0, story.fleet.state)
    assert len(told) == 2


def test_nothing_is_measured_for_pools_of_a_fixed_size() -> None:
    story = CoreStory(web=2).serves()
    CapacityWatch(pytest.fail, lambda: pytest.fail("measured")).turn(100.0, story.fleet.state)
