"""What /proc says about processes, for asserting that none is left behind."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.wait import until

STAT_BYTES_MAX = 4096


@dataclass(frozen=True)
class Process:
    """One process as it was when looked at. ``started`` tells a reused pid apart."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    started: int

    @property
    def is_zombie(self) -> bool:
        return self.state == "Z"

    def __str__(self) -> str:
        return f"{self.pid} ({self.name}, state {self.state}, parent {self.parent})"


def look(pid: int) -> Process | None:
    """None when there is no such process."""
    try:
        file = os.open(
            f"/proc/{pid}/stat", os.O_RDONLY
        )  # all are looked at often: a Path costs twice as much
    except FileNotFoundError:
        return None
    try:
        text = os.read(file, STAT_BYTES_MAX)
    except ProcessLookupError:
        return None
    finally:
        os.close(file)
    end = text.rindex(b")")
    name = text[text.index(b"(") + 1 : end].decode("utf-8", "replace")
    fields = text[end + 2 :].split(maxsplit=20)
    return Process(pid, name, fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]))


def all_processes() -> list[Process]:
    return [process for pid in _pids() if (process := look(pid))]


def _pids() -> list[int]:
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def session_of(leader: int) -> list[Process]:
    """All processes of the session that ``leader`` began, also those whose parents are gone."""
    return [process for pid in _pids() if _session(pid) == leader and (process := look(pid))]


def _session(pid: int) -> int:
    """-1: it is gone. Fifty times cheaper than a look."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def children(parent: int) -> list[int]:
    """Pids of the children, zombies included, in ascending order."""
    return sorted(process.pid for process in all_processes() if process.parent == parent)


def has_ended(pid: int) -> bool:
    """It is gone, or a zombie that nobody has reaped yet."""
    process = look(pid)
    return process is None or process.is_zombie


def wait_until_stopped(pid: int) -> None:
    """Wait until SIGSTOP has come about in each thread, or the process has ended.

    Until the last one has stopped the process is not stopped to the kernel, whatever its first thread shows.

    Raises:
        AssertionError: It runs on.
    """
    until(lambda: set(thread_states(pid)) <= {"T", "Z", "X"}, f"pid {pid} to stop")


def thread_states(pid: int) -> list[str]:
    """Of each thread, as /proc has it; empty when the process is gone."""
    states = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                states.append((task / "stat").read_bytes().rpartition(b") ")[2][:1].decode())
    return states


def title(pid: int) -> str:
    """As `ps` shows it; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def status_field(pid: int, name: str) -> str:
    """The first word of a field of /proc/PID/status.

    Raises:
        AssertionError: There is no such field.
        OSError: There is no such process.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split()[1]
    raise AssertionError(f"no {name} in /proc/{pid}/status")


def signals(pid: int, field: str) -> set[int]:
    """The signals in SigBlk, SigIgn or SigCgt of /proc/PID/status: blocked, ignored or handled. Raises as it does."""
    mask = int(status_field(pid, field), 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def descriptors(pid: int) -> dict[int, str]:
    """Open descriptors and what they point to."""
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(path.name)] = str(path.readlink())
        except FileNotFoundError:
            continue  # the one that lists the folder, or closed meanwhile
    return found


def pidfd_target(pid: int, fd: int) -> int:
    """Of which process a descriptor is the pidfd; -1 when that is gone. Raises AssertionError if it is no pidfd."""
    found = re.search(r"^Pid:\s+(\d+)$", Path(f"/proc/{pid}/fdinfo/{fd}").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def listening_sockets(pid: int) -> set[str]:
    """``socket:[inode]`` of the TCP sockets that the process listens on."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            inodes.add(f"socket:[{fields[9]}]")
    return inodes & set(descriptors(pid).values())
