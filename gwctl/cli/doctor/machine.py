"""What is to be known of the machine, read in one place. Of what cannot be read, no check is made."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from gwctl.config.model.settings import Settings
from gwctl.control import paths
from gwctl.supervisor.generations import capacity
from gwctl.supervisor.groups.found import group_limits

_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronized
_TIMEX_BYTES: Final = 512
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


class Folder(msgspec.Struct, frozen=True):
    """A folder in which something is to be written, and by whose setting."""

    setting: str
    path: str
    exists: bool = True
    writable: bool = True
    free_bytes: int | None = None
    in_memory: bool = False
    """What is written there takes memory, not a disk."""


class Machine(msgspec.Struct, frozen=True):
    """This machine, as this user sees it."""

    somaxconn: int | None = None
    syn_backlog: int | None = None
    files_soft: int | None = None
    files_hard: int | None = None
    """None: no limit."""
    ports: tuple[int, int] | None = None
    """The first and the last that the kernel gives to outgoing connections."""
    ports_reserved: tuple[tuple[int, int], ...] = ()
    """Of those, what it does not give."""
    overcommit: int | None = None
    memory_bytes: int | None = None
    swap_bytes: int | None = None
    swap_free_bytes: int | None = None
    clock_synchronized: bool | None = None
    clock_source: str = ""
    cpus: int = 1
    """By affinity."""
    quota_cpus: float | None = None
    group_memory_bytes: float | None = None
    group_pids: float | None = None
    processes_auto: int = 1
    """What ``processes = "auto"`` means here."""
    kernel: str = ""
    has_pidfd: bool = True
    has_memfd: bool = True
    is_root: bool = False
    folders: tuple[Folder, ...] = ()


def read_machine(settings: Settings, environ: Mapping[str, str]) -> Machine:
    """Look at the machine. Nothing is changed."""
    limits = group_limits()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ports = _text("/proc/sys/net/ipv4/ip_local_port_range").split()
    memory = _memory()
    return Machine(
        somaxconn=_number("/proc/sys/net/core/somaxconn"),
        syn_backlog=_number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
        files_soft=None if soft == resource.RLIM_INFINITY else soft,
        files_hard=None if hard == resource.RLIM_INFINITY else hard,
        ports=(int(ports[0]), int(ports[1])) if len(ports) == 2 else None,
        ports_reserved=port_ranges(_text("/proc/sys/net/ipv4/ip_local_reserved_ports")),
        overcommit=_number("/proc/sys/vm/overcommit_memory"),
        memory_bytes=memory.get("MemTotal"),
        swap_bytes=memory.get("SwapTotal"),
        swap_free_bytes=memory.get("SwapFree"),
        clock_synchronized=_is_synchronized(),
        clock_source=_text("/sys/devices/system/clocksource/clocksource0/current_clocksource").strip(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        quota_cpus=limits.cpus,
        group_memory_bytes=limits.memory_bytes,
        group_pids=limits.pids,
        processes_auto=capacity.measure().processes,
        kernel=f"{platform.system()} {platform.release()}",
        has_pidfd=_has_pidfd(),
        has_memfd=hasattr(os, "memfd_create"),
        is_root=os.geteuid() == 0,
        folders=_folders(settings, environ),
    )


def port_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """``8000,9000-9010`` as the kernel writes it."""
    found = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found.append((int(first), int(last or first)))
    return tuple(found)


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _memory() -> dict[str, int]:
    lines = (line.split() for line in _text("/proc/meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3}


def _is_synchronized() -> bool | None:
    """Whether something keeps the clock right; None: the kernel does not tell."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))  # of zeros: it only reads
    return None if state < 0 else state != _TIME_ERROR


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError):
        return False
    return True


def _folders(settings: Settings, environ: Mapping[str, str]) -> tuple[Folder, ...]:
    wanted: dict[str, Path] = {}
    master = settings.master
    if master.pidfile:
        wanted["master.pidfile"] = Path(master.pidfile).parent
    if master.control not in {"auto", "off"}:
        wanted["master.control"] = Path(master.control).parent
    elif master.control == "auto":
        with suppress(paths.NoRuntimeDirectoryError):  # the master goes on without
            wanted["master.control"] = paths.control_path(master.name, environ, os.geteuid()).parent
    for name, pool in settings.pool.items():
        if pool.access_log not in {"off", "stdout"}:
            wanted[f"pool.{name}.access_log"] = Path(pool.access_log).parent
        variables = {**environ, **pool.env}
        named = next((variables[each] for each in ("TMPDIR", "TEMP", "TMP") if variables.get(each)), "")
        wanted[f"pool.{name} TMPDIR"] = Path(pool.chdir, named or tempfile.gettempdir())
    return tuple(_folder(setting, path) for setting, path in wanted.items())


def _folder(setting: str, path: Path) -> Folder:
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent  # a folder for the control socket is made; where others would be is told
    exists = there == path
    try:
        free = os.statvfs(there)
    except OSError:
        return Folder(setting, str(path), exists, False)
    return Folder(
        setting,
        str(path),
        exists,
        os.access(there, os.W_OK | os.X_OK),
        free.f_bavail * free.f_frsize,
        _kind_of(there) in _IN_MEMORY,
    )


def _kind_of(path: Path) -> str:
    """The file system that ``path`` is on."""
    whole, kind, longest = str(path.resolve()), "", -1
    for line in _text("/proc/self/mounts").splitlines():
        words = line.split()
        if len(words) > 2:
            point = words[1].rstrip("/")
            if (whole == point or whole.startswith(f"{point}/")) and len(point) > longest:
                kind, longest = words[2], len(point)
    return kind
