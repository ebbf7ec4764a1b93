"""What the machine means for the settings: pure, one function for each thing that is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gwctl.cli.doctor.finding import Finding, fail, ok, warn
from gwctl.cli.doctor.machine import Folder, Machine
from gwctl.config import addresses
from gwctl.config.addresses import TcpAddress
from gwctl.config.model.scaling import Scaling
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.config.model.worker_class import SYNC, THREADS, chosen
from gwctl.supervisor.generations.capacity import USUAL_BYTES
from gwctl.wording import size

FILES_OF_WORKER: Final = 64
"""Descriptors of a worker besides its connections: listeners, channels, modules, an application's own."""
FILES_LEAST: Final = 900
"""For clients, where ``connections_max`` does not say how many."""
_BACKLOG_HEADROOM: Final = 4096
_CPU_TIMES: Final = 4
"""So many processes for each CPU are too many, when each serves one request at a time."""
_MEMORY_LEAST: Final = 48 << 20
"""A worker with less than this cannot hold an application of the usual size."""
_SWAPPED: Final = 0.1
_SLOW_CLOCKS: Final = frozenset({"hpet", "acpi_pm", "jiffies", "refined-jiffies"})


def backlog(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """The kernel takes the least of what is asked for and what it allows, without a word."""
    wanted, name = max((pool.backlog, name) for name, pool in settings.pool.items())
    most = max(_BACKLOG_HEADROOM, 1 << (wanted - 1).bit_length())
    for key, value in (
        ("net.core.somaxconn", machine.somaxconn),
        ("net.ipv4.tcp_max_syn_backlog", machine.syn_backlog),
    ):
        if value is None or (key.startswith("net.ipv4") and not _has_tcp(settings)):
            continue
        if value >= wanted:
            yield ok("backlog", f"{key} = {value:,} (pool.{name}.backlog = {wanted:,})")
        else:
            what = "connections are refused or wait for seconds under a burst"
            yield warn(
                "backlog",
                f"{key} = {value:,} is under pool.{name}.backlog = {wanted:,}: {what}",
                f"sysctl -w {key}={most}",
            )


def _has_tcp(settings: Settings) -> bool:
    return any(_ports(pool) for pool in settings.pool.values())


def _ports(pool: PoolSettings) -> list[int]:
    found = [addresses.parse(addresses.bare(each)) for each in pool.bind]
    return [each.port for each in found if isinstance(each, TcpAddress)]


def open_files(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """Each connection is one; a worker raises its own limit to ``nofile``, up to the hard one."""
    hard = machine.files_hard
    for name, pool in settings.pool.items():
        limit = pool.nofile or machine.files_soft
        needs = (pool.connections_max or max(_at_once(pool), FILES_LEAST)) + FILES_OF_WORKER
        shown = "no limit" if limit is None else f"{limit:,}"
        if pool.nofile and hard is not None and pool.nofile > hard and not machine.is_root:
            yield fail(
                "open files",
                f"pool.{name}.nofile = {pool.nofile:,} is over the hard limit {hard:,}: no worker can start",
                f"LimitNOFILE={pool.nofile} in the service unit",
            )
        elif limit is not None and limit < needs:
            most = pool.connections_max
            why = f"connections_max = {most:,}" if most else "one for each client"
            yield warn(
                "open files",
                f"{shown} open files for a worker of {name}, which needs about {needs:,} ({why})",
                f"set pool.{name}.nofile = {1 << needs.bit_length()}",
            )
        else:
            yield ok("open files", f"{shown} open files for a worker of {name} (needs about {needs:,})")


def _at_once(pool: PoolSettings) -> int:
    return pool.threads if THREADS in chosen(pool.worker) else 1


def ephemeral_ports(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """What an outgoing connection holds cannot be bound; and a proxy needs one for each connection."""
    if machine.ports is None:
        return
    first, last = machine.ports
    inside = [
        (name, port)
        for name, pool in settings.pool.items()
        for port in _ports(pool)
        if first <= port <= last and not any(low <= port <= high for low, high in machine.ports_reserved)
    ]
    for name, port in inside:
        yield warn(
            "ports",
            f"port {port} of {name} is one that the kernel gives to outgoing connections ({first}-{last}): "
            "it may be taken when the master starts",
            f"sysctl -w net.ipv4.ip_local_reserved_ports={port}",
        )
    count = last - first + 1
    for name, pool in settings.pool.items():
        wanted = pool.connections_max * _processes(pool, machine)
        if _ports(pool) and wanted > count:
            yield warn(
                "ports",
                f"{count:,} ports for outgoing connections; a proxy here needs {wanted:,} for all of {name}",
                "sysctl -w net.ipv4.ip_local_port_range='1024 65535', or a Unix socket between them",
            )
            return
    if not inside:
        yield ok("ports", f"{count:,} ports for outgoing connections ({first}-{last})")


def _processes(pool: PoolSettings, machine: Machine) -> int:
    """How many there may be."""
    processes = pool.processes
    if isinstance(processes, Scaling):
        return max(processes.min, machine.processes_auto if processes.max == "auto" else processes.max)
    return machine.processes_auto if processes == "auto" else processes


def memory(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """Overcommit, swap, and what there is for each worker."""
    if machine.overcommit == 2:
        yield warn(
            "memory",
            "vm.overcommit_memory = 2: a fork is refused if its parent could not be copied in full",
            "sysctl -w vm.overcommit_memory=0",
        )
    elif machine.overcommit is not None:
        yield ok(
            "memory", f"vm.overcommit_memory = {machine.overcommit}: workers are forked without a reserve"
        )
    yield from _swap(machine)
    limits = [each for each in (machine.group_memory_bytes, machine.memory_bytes) if each is not None]
    if not limits:
        return
    least = int(min(limits))
    workers = sum(_processes(pool, machine) for pool in settings.pool.values())
    each = least // (workers + 1)
    whose = (
        "memory.max of the control group" if machine.group_memory_bytes == least else "memory of the machine"
    )
    text = f"{size(least)} ({whose}) for {workers} workers: {size(each)} each"
    if each >= USUAL_BYTES:
        yield ok("memory", text)
    elif each >= _MEMORY_LEAST:
        yield warn(
            "memory",
            f"{text}; an application often takes {size(USUAL_BYTES)}",
            "set processes lower, or preload = true",
        )
    else:
        yield fail(
            "memory", f"{text}, which is too little for Python and an application", "set processes lower"
        )


def _swap(machine: Machine) -> Iterator[Finding]:
    if machine.swap_bytes is None or machine.swap_free_bytes is None:
        return
    used = machine.swap_bytes - machine.swap_free_bytes
    if not machine.swap_bytes:
        yield ok("swap", "no swap: what does not fit is ended by the kernel, and the log says so")
    elif used > machine.swap_bytes * _SWAPPED:
        yield warn(
            "swap",
            f"{size(used)} of {size(machine.swap_bytes)} swap in use: who is swapped out answers late",
            "sysctl -w vm.swappiness=10, or fewer processes",
        )
    else:
        yield ok("swap", f"{size(used)} of {size(machine.swap_bytes)} swap in use")


def clock(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """Deadlines go by the monotonic clock. Logs, certificates and tokens go by that of the day."""
    del settings
    if machine.clock_synchronized is False:
        yield warn(
            "clock",
            "the clock is not synchronized: times in logs, tokens and certificates drift (deadlines do not)",
            "timedatectl set-ntp true",
        )
    elif machine.clock_synchronized:
        yield ok("clock", "the clock is synchronized")
    if machine.clock_source in _SLOW_CLOCKS:
        yield warn(
            "clock",
            f"clock source {machine.clock_source}: each look at the clock is a system call",
            "clocksource=tsc on the kernel's command line, if the machine has a stable one",
        )


def cpus(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """Processes against the CPU time that there is."""
    allowed = float(machine.cpus) if machine.quota_cpus is None else min(machine.cpus, machine.quota_cpus)
    workers = sum(_processes(pool, machine) for pool in settings.pool.values())
    why = f"{machine.cpus} by affinity" + (f", quota {machine.quota_cpus:g}" if machine.quota_cpus else "")
    text = f"{workers} worker{'s' * (workers > 1)} for {allowed:g} CPU{'s' * (allowed != 1)} ({why})"
    many = any(pool.worker != SYNC.name for pool in settings.pool.values())
    if workers > max(1.0, allowed) * _CPU_TIMES and many:
        yield warn("cpus", f"{text}: they take turns, and each keeps its memory", 'set processes = "auto"')
    else:
        yield ok("cpus", text)


def processes(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """The control group counts threads, too. A reload has some workers twice."""
    if machine.group_pids is None:
        return
    needs = 2 + sum(2 * _processes(pool, machine) * (2 + _at_once(pool)) for pool in settings.pool.values())
    if machine.group_pids < needs:
        yield fail(
            "pids",
            f"pids.max = {machine.group_pids:g} is under the {needs:,} processes and threads of a reload",
            f"TasksMax={2 * needs} in the service unit, or --pids-limit of the container",
        )
    else:
        yield ok("pids", f"pids.max = {machine.group_pids:,g} (a reload needs about {needs:,})")


def kernel(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """What is used where it is there."""
    del settings
    lacks = [
        name
        for name, there in (
            ("pidfd_open (Linux 5.3)", machine.has_pidfd),
            ("memfd_create", machine.has_memfd),
        )
        if not there
    ]
    if lacks:
        yield warn(
            "kernel",
            f"{machine.kernel} without {' and '.join(lacks)}: gwctl goes on with signals and files instead",
            "a newer kernel, or a container that allows these calls",
        )
    else:
        yield ok("kernel", f"{machine.kernel}: pidfd, memfd")


def folders(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """Whether there is a place for all that is written. Rights are those of who runs this."""
    for each in machine.folders:
        if each.setting.endswith(" TMPDIR"):
            yield from _bodies(each, settings, machine)
        elif not each.exists and each.setting != "master.control":
            yield fail("folders", f"{each.setting}: there is no folder {each.path}", f"mkdir -p {each.path}")
        elif not each.writable:
            yield fail(
                "folders",
                f"{each.setting}: this user may not write in {each.path}",
                "run this as the user of the master, or give that the folder",
            )
        else:
            yield ok("folders", f"{each.setting}: {each.path} can be written")


def _bodies(folder: Folder, settings: Settings, machine: Machine) -> Iterator[Finding]:
    name = folder.setting.removeprefix("pool.").removesuffix(" TMPDIR")
    pool = settings.pool[name]
    largest = pool.limits.body_bytes_max
    if not folder.exists or not folder.writable or folder.free_bytes is None:
        return  # Python takes another folder; the settings' own warnings tell which
    text = f"{name}: {size(folder.free_bytes)} free in {folder.path} for request bodies"
    per_worker = pool.limits.bodies_disk_bytes_max
    if folder.in_memory:
        yield warn(
            "bodies",
            f"{text}, which is memory ({folder.path} is a tmpfs); a worker may put {size(per_worker)} there"
            if per_worker
            else f"{text}, which is memory ({folder.path} is a tmpfs), and there is no limit",
            f"set pool.{name}.env.TMPDIR = /var/tmp, or lower limits.bodies_disk_bytes_max",
        )
    elif largest and folder.free_bytes < largest:
        yield warn(
            "bodies",
            f"{text}, less than the largest that is taken (body_bytes_max = {size(largest)})",
            f"set pool.{name}.limits.body_bytes_max lower, or TMPDIR to a larger disk",
        )
    else:
        all_of_them = per_worker * _processes(pool, machine)
        most = f" (all workers together at most {size(all_of_them)})" if per_worker else ""
        yield ok("bodies", f"{text}{most}")


Check = Callable[[Machine, Settings], Iterator[Finding]]
CHECKS: Final[tuple[Check, ...]] = (
    backlog,
    open_files,
    ephemeral_ports,
    cpus,
    memory,
    processes,
    clock,
    kernel,
    folders,
)


def of_machine(machine: Machine, settings: Settings) -> list[Finding]:
    """All of them, in the order in which they are shown."""
    return [finding for check in CHECKS for finding in check(machine, settings)]
