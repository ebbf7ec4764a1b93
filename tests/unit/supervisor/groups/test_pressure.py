"""The kernel's pressure figures: of the control group, else of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.control.status import PressureStatus
from gwctl.supervisor.groups.pressure import read_pressure
from tests.support.fake_machine import Machine

TEXT = "some avg10={} avg60=9.00 avg300=9.00 total=1\nfull avg10=7.00 avg60=7.00 avg300=7.00 total=1\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_none_where_the_kernel_counts_none(machine: Machine) -> None:
    assert read_pressure(machine.root) is None
    machine.v2("/shop")
    assert read_pressure(machine.root) is None


def test_of_the_machine(machine: Machine) -> None:
    machine.write("proc/pressure/cpu", TEXT.format("12.50"))
    machine.write("proc/pressure/io", TEXT.format("0.00"))
    assert read_pressure(machine.root) == PressureStatus("machine", cpu=0.125, io=0.0)


def test_of_the_group_if_it_is_not_the_topmost(machine: Machine) -> None:
    machine.write("proc/pressure/cpu", TEXT.format("12.50"))
    machine.v2("/system.slice/shop")
    machine.write("sys/fs/cgroup/system.slice/shop/memory.pressure", TEXT.format("3.00"))
    assert read_pressure(machine.root) == PressureStatus("group", memory=0.03)
    machine.v2("/")
    assert read_pressure(machine.root) == PressureStatus("machine", cpu=0.125)


@pytest.mark.parametrize("text", ["", "some\n", "some avg10=much\n", "full avg10=1.00\n"])
def test_what_cannot_be_understood_is_nothing(machine: Machine, text: str) -> None:
    machine.write("proc/pressure/cpu", text)
    assert read_pressure(machine.root) is None
