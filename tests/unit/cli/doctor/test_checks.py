"""Findings about invented machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gwctl.cli.doctor.checks import (
    CHECKS,
    backlog,
    clock,
    cpus,
    ephemeral_ports,
    folders,
    kernel,
    memory,
    of_machine,
    open_files,
    processes,
)
from gwctl.cli.doctor.finding import Finding, Verdict, fail, ok, render, warn
from gwctl.cli.doctor.machine import Folder, Machine, port_ranges, read_machine
from gwctl.config.load import load
from gwctl.config.model.settings import Settings

GIB = 1 << 30


def settings(folder: Path, **pool: Any) -> Settings:
    lines = [
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}"
        for key, value in pool.items()
    ]
    (folder / "gw.toml").write_text("\n".join(["[pool.web]", 'app = "shop:app"', *lines]))
    return load(Path("gw.toml"), environ={}, cwd=folder).settings


def told(found: Any) -> list[tuple[str, str]]:
    return [(each.verdict.value, each.text) for each in found]


@pytest.mark.parametrize(
    ("check", "machine", "pool", "verdicts", "part"),
    [
        (
            backlog,
            {"somaxconn": 128, "syn_backlog": 128},
            {},
            "warn warn",
            "net.core.somaxconn = 128 is under",
        ),
        (backlog, {"somaxconn": 4096, "syn_backlog": 4096}, {}, "ok ok", "net.core.somaxconn = 4,096"),
        (backlog, {"somaxconn": 4096, "syn_backlog": 1}, {"bind": ["unix:x.sock"]}, "ok", ""),
        (backlog, {}, {}, "", ""),
        (open_files, {"files_soft": 1024}, {}, "ok", "1,024 open files for a worker of web"),
        (open_files, {"files_soft": 1024}, {"connections_max": 4000}, "warn", "needs about 4,064"),
        (open_files, {"files_soft": 256}, {}, "warn", "one for each client"),
        (open_files, {"files_soft": None}, {"connections_max": 9000}, "ok", "no limit"),
        (open_files, {"files_soft": 1024}, {"connections_max": 900, "nofile": 4096}, "ok", "4,096"),
        (open_files, {"files_soft": 9, "files_hard": 1000}, {"nofile": 4096}, "fail", "hard limit 1,000"),
        (open_files, {"files_soft": 9, "files_hard": 1000, "is_root": True}, {"nofile": 4096}, "ok", ""),
        (ephemeral_ports, {"ports": (32768, 60999)}, {}, "ok", "28,232 ports"),
        (
            ephemeral_ports,
            {"ports": (32768, 60999)},
            {"bind": ["127.0.0.1:40000"]},
            "warn",
            "port 40000 of web",
        ),
        (ephemeral_ports, {"ports": (1, 60999), "ports_reserved": ((7999, 8001),)}, {}, "ok", ""),
        (
            ephemeral_ports,
            {"ports": (60000, 60999)},
            {"connections_max": 600, "processes": 2},
            "warn",
            "1,000 ports",
        ),
        (ephemeral_ports, {}, {}, "", ""),
        (memory, {"overcommit": 2}, {}, "warn", "vm.overcommit_memory = 2"),
        (memory, {"overcommit": 1}, {}, "ok", ""),
        (memory, {"swap_bytes": 0, "swap_free_bytes": 0}, {}, "ok", "no swap"),
        (memory, {"swap_bytes": GIB, "swap_free_bytes": GIB}, {}, "ok", "0 MiB of 1 GiB swap in use"),
        (
            memory,
            {"swap_bytes": GIB, "swap_free_bytes": GIB // 2},
            {},
            "warn",
            "512 MiB of 1 GiB swap in use",
        ),
        (memory, {"memory_bytes": 8 * GIB}, {"processes": 7}, "ok", "for 7 workers: 1 GiB each"),
        (
            memory,
            {"memory_bytes": 8 * GIB, "group_memory_bytes": GIB},
            {"processes": 15},
            "warn",
            "memory.max",
        ),
        (memory, {"group_memory_bytes": GIB}, {"processes": 63}, "fail", "16 MiB each"),
        (clock, {"clock_synchronized": True, "clock_source": "tsc"}, {}, "ok", ""),
        (clock, {"clock_synchronized": False}, {}, "warn", "not synchronized"),
        (clock, {"clock_source": "hpet"}, {}, "warn", "clock source hpet"),
        (cpus, {"cpus": 4}, {"processes": 4}, "ok", "4 workers for 4 CPUs (4 by affinity)"),
        (
            cpus,
            {"cpus": 8, "quota_cpus": 1.0},
            {"processes": 16, "threads": 4, "worker": "threads"},
            "warn",
            "quota 1",
        ),
        (cpus, {"cpus": 2}, {"processes": 16, "worker": "sync"}, "ok", "16 workers"),
        (cpus, {"cpus": 2, "processes_auto": 2}, {}, "ok", "2 workers for 2 CPUs"),
        (processes, {"group_pids": 32.0}, {"processes": 8}, "fail", "pids.max = 32 is under"),
        (processes, {"group_pids": 4096.0}, {"processes": 8}, "ok", "pids.max = 4,096"),
        (processes, {}, {}, "", ""),
        (kernel, {"kernel": "Linux 6.1"}, {}, "ok", "Linux 6.1: pidfd, memfd"),
        (kernel, {"kernel": "Linux 4.4", "has_pidfd": False}, {}, "warn", "without pidfd_open (Linux 5.3)"),
    ],
)
def test_one_check(
    check: Any, machine: dict[str, Any], pool: dict[str, Any], verdicts: str, part: str, tmp_path: Path
) -> None:
    found = list(check(Machine(**machine), settings(tmp_path, **pool)))
    assert " ".join(each.verdict.value for each in found) == verdicts, found
    assert not part or any(part in each.text for each in found), found
    assert all(bool(each.mend) is (each.verdict is not Verdict.OK) for each in found)


@pytest.mark.parametrize(
    ("folder", "verdict", "part"),
    [
        (Folder("master.pidfile", "/run/x"), "ok", "can be written"),
        (Folder("master.pidfile", "/run/x", exists=False), "fail", "there is no folder /run/x"),
        (Folder("master.control", "/run/gwctl", exists=False), "ok", "can be written"),
        (Folder("pool.web.access_log", "/var/log", writable=False), "fail", "may not write in /var/log"),
        (Folder("pool.web TMPDIR", "/tmp", free_bytes=80 * GIB), "ok", "80 GiB free in /tmp"),
        (Folder("pool.web TMPDIR", "/tmp", free_bytes=80 * GIB, in_memory=True), "warn", "is a tmpfs"),
        (
            Folder("pool.web TMPDIR", "/tmp", free_bytes=1 << 20),
            "warn",
            "less than the largest that is taken",
        ),
        (Folder("pool.web TMPDIR", "/tmp", writable=False), "", ""),
    ],
)
def test_folders(folder: Folder, verdict: str, part: str, tmp_path: Path) -> None:
    found = list(folders(Machine(folders=(folder,)), settings(tmp_path, processes=2)))
    assert " ".join(each.verdict.value for each in found) == verdict
    assert not part or part in found[0].text


def test_this_machine(tmp_path: Path) -> None:
    """Whatever it is, it can be read, and every finding is one line."""
    given = settings(tmp_path, access_log=str(tmp_path / "access.log"))
    machine = read_machine(given, {"TMPDIR": str(tmp_path)})
    assert machine.cpus >= 1
    assert {each.setting for each in machine.folders} >= {"pool.web.access_log", "pool.web TMPDIR"}
    assert all(each.exists and each.writable for each in machine.folders if each.path == str(tmp_path))
    found = of_machine(machine, given)
    assert len(found) >= len(CHECKS) - 2
    assert all("\n" not in each.text + each.mend for each in found)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    machine = read_machine(settings(tmp_path, access_log=str(tmp_path / "no" / "access.log")), {})
    (log,) = [each for each in machine.folders if each.setting == "pool.web.access_log"]
    assert (log.exists, log.path) == (False, str(tmp_path / "no"))


def test_port_ranges() -> None:
    assert port_ranges("8000,9000-9010\n") == ((8000, 8000), (9000, 9010))
    assert port_ranges("\n") == port_ranges("x-y") == ()


def test_text() -> None:
    found: list[Finding] = [ok("a", "fine"), warn("b", "not so", "mend it"), fail("c", "broken", "do that")]
    assert render(found).splitlines() == [
        "ok    fine",
        "warn  not so",
        "        mend it",
        "fail  broken",
        "        do that",
        "",
        "1 failure, 1 warning",
    ]
    assert render(found[:1]).splitlines()[-1] == "all 1 are well"
