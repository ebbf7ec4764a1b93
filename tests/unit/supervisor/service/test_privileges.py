"""Giving up privileges, in a child: what is left, and that it can be done twice and without being root."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gwctl.supervisor.service import privileges
from tests.support import child


def left(uid: int, *, raises_limits: bool = False) -> tuple[list[str], str, set[int]]:
    """What a process of ``uid`` says that it keeps, its no_new_privs, and its capabilities in force."""

    def gives_up() -> str:
        privileges.give_up(raises_limits=raises_limits)
        names = privileges.give_up(raises_limits=raises_limits)
        fields = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
        sets = int(fields["CapEff"], 16)
        in_force = [number for number in range(64) if sets >> number & 1]
        return json.dumps([names, fields["NoNewPrivs"], in_force])

    names, no_new_privs, in_force = json.loads(child.result(*child.start(gives_up, uid)))
    return names, no_new_privs, set(in_force)


def test_who_is_not_root_can_do_it_and_has_nothing() -> None:
    uid = 65534 if os.geteuid() == 0 else os.geteuid()
    names, no_new_privs, in_force = left(uid)
    assert (names, no_new_privs, in_force) == ([], "1", set())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
@pytest.mark.parametrize("raises_limits", [False, True])
def test_root_keeps_what_a_reload_may_need_as_far_as_it_has_it(raises_limits: bool) -> None:
    wanted = privileges.wanted(raises_limits=raises_limits)
    names, no_new_privs, in_force = left(0, raises_limits=raises_limits)
    assert in_force == set(wanted.values()) & own()
    assert (names, no_new_privs) == ([name for name in wanted if wanted[name] in in_force], "1")


def own() -> set[int]:
    """What this process has."""
    text = Path("/proc/self/status").read_text("ascii").partition("\nCapPrm:")[2].split()[0]
    return {number for number in range(64) if int(text, 16) >> number & 1}


def test_limits_can_be_raised_where_that_is_set() -> None:
    assert "sys_resource" in privileges.wanted(raises_limits=True)
    assert "sys_resource" not in privileges.wanted(raises_limits=False)
