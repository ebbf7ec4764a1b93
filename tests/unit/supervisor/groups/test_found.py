"""What the control groups of this process allow and hold, against fake trees of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.supervisor.core.events import GroupMemoryObserved
from gwctl.supervisor.groups.found import GroupLimits, group_limits
from gwctl.supervisor.groups.memory import GroupMemory
from tests.support.fake_machine import Machine

MIB = 1 << 20


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


# ---- what is left of memory


def test_without_limits_it_is_what_the_machine_has(machine: Machine) -> None:
    machine.write("proc/meminfo", "MemTotal: 4000 kB\nMemAvailable: 3000 kB\n")
    assert GroupMemory(machine.root).left() == 3000 * 1024
    machine.write("proc/meminfo", "MemTotal: 4000 kB\n")
    assert GroupMemory(machine.root).left() is None


def test_the_least_that_any_group_has_left(machine: Machine) -> None:
    """Pages of files that nobody has used lately do not count: they make room by themselves."""
    machine.write("proc/meminfo", f"MemAvailable: {4 << 20} kB\n")
    machine.v2("/system.slice/shop")
    own, above = "sys/fs/cgroup/system.slice/shop", "sys/fs/cgroup/system.slice"
    machine.write(f"{own}/memory.max", f"{1000 * MIB}\n")
    machine.write(f"{own}/memory.current", f"{600 * MIB}\n")
    machine.write(f"{own}/memory.stat", f"anon 1\ninactive_file {100 * MIB}\nactive_file {MIB}\n")
    left = GroupMemory(machine.root)
    assert left.left() == 500 * MIB
    machine.write(f"{own}/memory.high", f"{800 * MIB}\n")
    assert left.left() == 300 * MIB, "from there on the kernel slows it down"
    machine.write(f"{above}/memory.max", f"{2000 * MIB}\n")
    machine.write(f"{above}/memory.current", f"{1990 * MIB}\n")
    assert left.left() == 10 * MIB
    machine.write(f"{above}/memory.current", f"{2100 * MIB}\n")
    assert left.left() == 0


def test_what_is_left_by_version_1(machine: Machine) -> None:
    machine.v1("/shop")
    group = "sys/fs/cgroup/memory/shop"
    machine.write(f"{group}/memory.limit_in_bytes", f"{500 * MIB}\n")
    machine.write(f"{group}/memory.usage_in_bytes", f"{400 * MIB}\n")
    machine.write(f"{group}/memory.stat", f"cache 7\ntotal_inactive_file {50 * MIB}\n")
    assert GroupMemory(machine.root).left() == 150 * MIB
    machine.write(f"{group}/memory.limit_in_bytes", f"{(1 << 63) - 4096}\n")
    assert GroupMemory(machine.root).left() is None


# ---- which group is nearest to its limit


def test_what_can_be_given_back_does_not_count(machine: Machine) -> None:
    machine.v2("/shop")
    own = "sys/fs/cgroup/shop"
    machine.write(f"{own}/memory.current", f"{900 * MIB}\n")
    assert GroupMemory(machine.root).nearest() is None, "no limit"
    machine.write(f"{own}/memory.max", f"{1000 * MIB}\n")
    machine.write(f"{own}/memory.high", "max\n")
    machine.write(
        f"{own}/memory.stat",
        f"anon 1\ninactive_file {MIB}\nactive_file {2 * MIB}\nslab_reclaimable {4 * MIB}\nslab 9\n",
    )
    assert GroupMemory(machine.root).nearest() == GroupMemoryObserved(1000 * MIB, 893 * MIB)
    machine.write(f"{own}/memory.high", f"{950 * MIB}\n")
    assert GroupMemory(machine.root).nearest() == GroupMemoryObserved(950 * MIB, 893 * MIB)


def test_of_groups_above_one_another_the_nearest(machine: Machine) -> None:
    machine.v2("/system.slice/shop")
    own, above = "sys/fs/cgroup/system.slice/shop", "sys/fs/cgroup/system.slice"
    for folder, limit, used in ((own, 1000, 500), (above, 2000, 1900)):
        machine.write(f"{folder}/memory.max", f"{limit * MIB}\n")
        machine.write(f"{folder}/memory.current", f"{used * MIB}\n")
    assert GroupMemory(machine.root).nearest() == GroupMemoryObserved(2000 * MIB, 1900 * MIB)


def test_of_version_1(machine: Machine) -> None:
    machine.v1("/shop")
    group = "sys/fs/cgroup/memory/shop"
    machine.write(f"{group}/memory.limit_in_bytes", f"{500 * MIB}\n")
    machine.write(f"{group}/memory.usage_in_bytes", f"{400 * MIB}\n")
    machine.write(
        f"{group}/memory.stat", f"inactive_file 7\ntotal_inactive_file {MIB}\ntotal_active_file {MIB}\n"
    )
    assert GroupMemory(machine.root).nearest() == GroupMemoryObserved(500 * MIB, 398 * MIB)
