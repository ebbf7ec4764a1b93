"""The count of kills for want of memory, as both versions of cgroups write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.supervisor.children.oom import OomWatch

MIB = 1 << 20


def make(tmp_path: Path, version: int) -> tuple[Path, Path, Path, Path]:
    """Return /proc/self/cgroup, the mount, and the files of the count and the limit."""
    this, mount = tmp_path / "cgroup", tmp_path / "mount"
    top = mount if version == 2 else mount / "memory"
    folder = top / "shop"
    folder.mkdir(parents=True)
    this.write_text("0::/shop\n" if version == 2 else "8:pids:/\n4:memory:/shop\n0::/\n")
    names = (
        ("memory.events", "memory.max") if version == 2 else ("memory.oom_control", "memory.limit_in_bytes")
    )
    return this, mount, folder / names[0], folder / names[1]


def write(count: Path, kills: int) -> None:
    count.write_text(f"under_oom 0\noom_kill {kills}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_each_kill_that_was_counted_explains_one_death(tmp_path: Path, version: int) -> None:
    this, mount, count, limit = make(tmp_path, version)
    write(count, 3)
    limit.write_text(str(256 * MIB))
    watch = OomWatch(this, mount)
    assert watch.cause(240 * MIB) == ""
    write(count, 5)
    said = "killed by the kernel, out of memory (cgroup limit 256 MiB; it had 240 MiB when last measured)"
    assert [watch.cause(240 * MIB) for _ in range(3)] == [said, said, ""]


@pytest.mark.parametrize(("version", "none"), [(1, str((1 << 63) - 4096)), (2, "max")])
def test_without_a_limit_it_is_the_machine(tmp_path: Path, version: int, none: str) -> None:
    this, mount, count, limit = make(tmp_path, version)
    write(count, 0)
    limit.write_text(none)
    watch = OomWatch(this, mount)
    write(count, 1)
    assert watch.cause(0) == "killed by the kernel, out of memory (the machine has none left)"


def test_where_nothing_is_counted_nothing_is_said(tmp_path: Path) -> None:
    assert OomWatch(tmp_path / "no", tmp_path).cause(1) == ""
    this, mount, count, _limit = make(tmp_path, 2)
    count.write_text("low 0\n")
    assert OomWatch(this, mount).cause(1) == ""


def test_a_kill_that_no_worker_died_of_explains_no_later_death(tmp_path: Path) -> None:
    """A child of the application was killed for memory; minutes later somebody kills a worker by hand."""
    this, mount, count, limit = make(tmp_path, 2)
    write(count, 0)
    limit.write_text("max")
    watch = OomWatch(this, mount)
    watch.sample()
    write(count, 1)
    watch.sample()
    watch.sample()
    assert watch.cause(0) == ""
    write(count, 2)
    assert watch.cause(0) != "", "the next kill explains again"


def test_a_kill_is_still_known_when_a_look_came_before_the_exit_was_read(tmp_path: Path) -> None:
    this, mount, count, limit = make(tmp_path, 2)
    write(count, 0)
    limit.write_text("max")
    watch = OomWatch(this, mount)
    write(count, 2)
    watch.sample()
    assert [bool(watch.cause(0)) for _ in range(3)] == [True, True, False]
    write(count, 1)  # another cgroup by now
    watch.sample()
    assert watch.cause(0) == ""


def test_a_group_of_its_own_decides_and_takes_no_explanation_of_others(tmp_path: Path) -> None:
    """Two are killed for memory, one in a group of its own; meanwhile somebody kills a third by hand."""
    this, mount, count, limit = make(tmp_path, 2)
    write(count, 0)
    limit.write_text("max")
    watch = OomWatch(this, mount)
    write(count, 2)
    assert watch.cause(0, own=False) == ""
    assert watch.cause(0, own=True, own_limit=64 * MIB) == (
        "killed by the kernel, out of memory (its own cgroup limit 64 MiB)"
    )
    assert watch.cause(0, own=False) == ""
    assert [bool(watch.cause(0)) for _ in range(2)] == [True, False]
