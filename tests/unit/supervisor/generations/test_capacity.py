""" "auto" against fake control groups of both versions: the least of affinity, quota and memory."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from msgspec.structs import replace

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.generations.capacity import CapacityWatch, measure, read_machine
from tests.support.core_story import POLICY, CoreStory
from tests.support.fake_machine import Machine

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


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


def test_how_many_processors_there_are(machine: Machine) -> None:
    assert measure(machine.root, cpus=4).cpus == 4.0
    machine.v2("/shop")
    machine.write("sys/fs/cgroup/shop/cpu.max", "150000 100000\n")
    assert measure(machine.root, cpus=4).cpus == 1.5


def test_what_is_allowed_is_told_until_the_pools_go_by_it() -> None:
    story = CoreStory(policy=replace(POLICY, size=2, by_capacity=True), web=2).serves()
    told: list[ev.CapacityMeasured] = []
    found = [ev.CapacityMeasured(2, 2.0, "as it was")]
    story.happens(found[0])
    watch = CapacityWatch(told.append, lambda: found[0])
    watch.turn(100.0, story.fleet.state)
    assert told == []
    found[0] = ev.CapacityMeasured(3, 3.0, "quota 3.0")
    watch.turn(103.9, story.fleet.state)
    assert told == [], "not at each turn of the loop"
    for now in (104.0, 108.0):
        watch.turn(now, story.fleet.state)
    assert told == [found[0]] * 2
    story.happens(told[0])
    watch.turn(112.0, story.fleet.state)
    assert len(told) == 2


def test_what_the_master_holds_is_measured_with_it(machine: Machine) -> None:
    machine.write("proc/self/statm", "9000 5000 3000 1 0 400 0")
    machine.v2("/shop")
    machine.write("sys/fs/cgroup/shop/memory.max", f"{512 * MIB}\n")
    found = read_machine(machine.root, cpus=2)
    assert (found.memory_bytes, found.master_bytes) == (512 * MIB, 5000 * resource.getpagesize())


def test_nothing_is_measured_for_pools_of_a_fixed_size() -> None:
    story = CoreStory(web=2).serves()
    CapacityWatch(pytest.fail, lambda: pytest.fail("measured")).turn(100.0, story.fleet.state)
