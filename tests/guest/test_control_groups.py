"""gwctl in control groups of version 2 that really limit: what it counts, what it does near the end, whom an OOM kill takes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.guest.guest import TIMEOUT_S, Guest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * TIMEOUT_S)]


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_auto_follows_quota_and_memory_of_groups_above_one_another(guest: Guest) -> None:
    """The quota is of the group itself, the memory of one above, and both change."""
    config = guest.config('processes = "auto"', 'log_level = "debug"')
    out = guest.run(f"""
        mkdir -p $GROUPS_/slice/shop
        echo "+cpu +memory" > $GROUPS_/slice/cgroup.subtree_control
        echo "300000 100000" > $GROUPS_/slice/shop/cpu.max
        mib 500 > $GROUPS_/slice/memory.max
        start slice/shop {config}
        auto() {{ for _ in $(seq 100); do gwctl status -c {config} | grep -E "$1" && return; sleep 0.5; done; cat log; }}
        grep "workers (auto" log || grep "worker (auto" log
        auto "quota 3.0, memory allows [0-9]+ of"
        echo "50000 100000" > $GROUPS_/slice/shop/cpu.max
        auto "quota 0.5"
        mib 200 > $GROUPS_/slice/shop/memory.high
        auto "memory allows 1?[0-9] of"
        kill $PID; wait $PID; echo ended $?
    """)
    assert re.search(r"\(auto: 1 CPU by affinity, quota 3.0, memory allows 2\)", out), out
    assert re.search(r"auto: 1 CPU by affinity, quota 0.5, memory allows \d+ of \d+ MiB each", out), out
    before, after = [int(each) for each in re.findall(r"quota 0.5, memory allows (\d+) of", out)]
    assert before > 2 * after
    assert out.endswith("ended 0\n")


def test_workers_that_grow_are_replaced_before_the_kernel_kills_one(guest: Guest) -> None:
    config = guest.config("processes = 2\ncrash = { healthy_after_s = 0.1 }")
    out = guest.run(f"""
        mkdir $GROUPS_/shop; mib 200 > $GROUPS_/shop/memory.max
        start shop {config}
        sleep 7
        until [ $(awk '$1 == "anon" {{ print $2 }}' $GROUPS_/shop/memory.stat) -gt $(mib 150) ]; do ask 4; done
        logged "is recycled: it .* the control group holds"
        grep oom_kill $GROUPS_/shop/memory.events; ask 0
        kill $PID; wait $PID; echo ended $?
    """)
    assert "is recycled: it" in out, out
    assert "oom_kill 0\n" in out
    assert out.endswith("curl 0\nended 0\n")


OOM = """
    mkdir -p $GROUPS_/shop{group}; mib 300 > $GROUPS_/shop/memory.max
    echo {as_a_whole} > $GROUPS_/shop/memory.oom.group
    python3 -c "import os; os.setxattr('$GROUPS_/shop', 'user.delegate', b'1')"
    start shop{group} {config}
    ask 400
"""


def test_an_oom_kill_takes_one_worker(guest: Guest) -> None:
    """Afterwards no group of a worker is left."""
    config = guest.config("processes = 2")
    out = guest.run(
        OOM.format(group="/gwctl-master", as_a_whole=0, config=config)
        + """
        logged "died: killed by the kernel, out of memory .cgroup limit 300 MiB"
        for _ in $(seq 100); do [ $(grep -c "ready in" log) -ge 3 ] && break; sleep 0.2; done
        ask 0
        ls $GROUPS_/shop | grep -c "gwctl-[0-9]"
        kill $PID; wait $PID; echo ended $?
        ls $GROUPS_/shop | grep gwctl
        """
    )
    assert "died: killed by the kernel" in out, out
    assert out.count("died") == 1
    assert out.endswith("curl 0\n2\nended 0\ngwctl-master\n")


def test_a_hard_limit_is_the_kernel_s_too(guest: Guest) -> None:
    """Which acts at once; the master, if it happens to look just then."""
    config = guest.config("processes = 2\nrecycle = { memory_hard_bytes = 100_000_000 }")
    out = guest.run(
        OOM.format(group="/gwctl-master", as_a_whole=0, config=config)
        + """
        cat $GROUPS_/shop/gwctl-[0-9]*/memory.max
        logged "died: .*its own cgroup limit 119 MiB|killed: it holds"
        ask 0
        kill $PID; wait $PID; echo ended $?
        """
    )
    assert re.search("its own cgroup limit 119 MiB|memory_hard_bytes is 95 MiB", out), out
    assert "124997632\n" in out, "a quarter more, in whole pages"
    assert out.endswith("curl 0\nended 0\n")


def test_without_groups_of_their_own_it_takes_them_all(guest: Guest) -> None:
    """What the others are shown against."""
    config = guest.config("processes = 2", 'cgroups = "off"')
    out = guest.run(OOM.format(group="", as_a_whole=1, config=config) + "wait $PID; echo ended $?\n")
    assert out.endswith("ended 137\n"), out


def test_the_first_process_of_a_container_arranges_its_own(guest: Guest) -> None:
    """In a name space of its own, where the topmost group is its to write to."""
    config = guest.config("processes = 2")
    out = guest.run(f"""
        mkdir $GROUPS_/pod; mib 300 > $GROUPS_/pod/memory.max; echo 1 > $GROUPS_/pod/memory.oom.group
        cat > inside <<END
        umount -l /sys/fs/cgroup; mount -t cgroup2 cgroup /sys/fs/cgroup
        exec {sys.executable} -m gwctl start -c {config} > log 2>&1
END
        unshare -m -p -f --kill-child --mount-proc \\
            sh -c "echo \\$\\$ > $GROUPS_/pod/cgroup.procs; exec unshare -C sh inside" & PID=$!
        serves
        ls $GROUPS_/pod | grep -c gwctl-1-
        ask 400
        logged "pid [0-9]+ died: killed by the kernel"
        ask 0
        kill $(cat $GROUPS_/pod/gwctl-master/cgroup.procs); wait $PID; echo ended $?
    """)
    assert out.startswith("2\n"), out
    assert out.endswith("curl 0\nended 0\n")
