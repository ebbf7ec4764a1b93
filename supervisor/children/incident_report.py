"""Why a worker was killed: one record of the log, with all that can be known of it.

It begins with the order to dump. The worker's part comes two ways: the stacks of its threads
through a memory file that faulthandler writes (in a signal's handler, so also while C code
holds the interpreter), its requests and asyncio tasks over the channel, if its loop still
turns. What the kernel says of the process (state, wait channel, memory) is read at the end,
and is all there is of one that is stopped.

The memory file cannot fill up or block, and costs nothing until it is written.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gwctl.ipc import scoreboard
from gwctl.ipc.channel import RequestUnderWay, TaskStack, Told
from gwctl.supervisor.children.peer_limits import cut
from gwctl.supervisor.children.procfs import resident_bytes
from gwctl.supervisor.children.stacks import ThreadStack, fatal_frames, read_current, read_stacks
from gwctl.wording import age, seconds

NAMED_MAX: Final = 10
"""Requests that are named one by one."""
_FAULTS: Final = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT})
"""Signals at which faulthandler writes the stacks."""
_TEXT_BYTES_MAX: Final = 1 << 18
_RECORD_CHARS_MAX: Final = 60_000
_LINE_CHARS_MAX: Final = 1000
"""A worker writes its stacks itself, and may write anything."""
_STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "in the kernel, not to be interrupted (D)",
    "T": "stopped (T)",
    "t": "stopped by a tracer (t)",
    "Z": "dead, not reaped (Z)",
}


class DumpFile:
    """Where a worker's stacks are written. ``fd`` is 2 where there are no memory files: to stderr then."""

    def __init__(self, fd: int = 2) -> None:
        self.fd = fd

    @staticmethod
    def make() -> DumpFile:
        """Make one.

        Raises:
            OSError: Out of descriptors.
        """
        if not hasattr(os, "memfd_create"):
            return DumpFile()
        return DumpFile(os.memfd_create("gwctl-dump", os.MFD_CLOEXEC))

    def empty(self) -> None:
        if self.fd > 2:
            os.ftruncate(self.fd, 0)
            os.lseek(self.fd, 0, os.SEEK_SET)  # the worker writes through the same open file

    def read(self) -> str:
        if self.fd <= 2:
            return ""
        return os.pread(self.fd, _TEXT_BYTES_MAX, 0).decode("utf-8", "replace")

    def close(self) -> None:
        if self.fd > 2:
            os.close(self.fd)
            self.fd = 2


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """What /proc says of a process; empty and 0 where it says nothing."""

    state: str = ""
    """One letter, as in /proc/PID/stat."""
    waits_in: str = ""
    memory_bytes: int = 0


def look(pid: int) -> KernelFacts:
    """Ask the kernel about ``pid``."""
    folder = Path("/proc") / str(pid)
    try:
        state = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError, ValueError):
        return KernelFacts()
    try:
        waits_in = (folder / "wchan").read_text("ascii", "replace").strip("0\n ")
    except OSError:
        waits_in = ""
    return KernelFacts(state, waits_in, resident_bytes(pid))


@dataclass(slots=True)
class IncidentReport:
    """What is known so far. ``request``: that which the scoreboard names, else that which has the loop."""

    pid: int
    reason: str
    request: str = ""
    request_s: float = 0.0
    told: Told | None = None

    def record(
        self, ending: str, board: scoreboard.Record, up_s: float, stacks: str, facts: KernelFacts
    ) -> str:
        """Write all of it as one text; ``ending`` says what became of the process."""
        if not self.request:
            self.request, self.request_s = read_current(stacks)
        first = f"pid {self.pid} {ending}: {self.reason}"
        if self.request and self.request not in self.reason:
            first += f", serving {self.request} for {seconds(self.request_s)}"
        lines = [first, self._worker(board, up_s, facts)]
        threads = read_stacks(stacks)
        lines += self._threads(threads)
        lines += self._tasks()
        if not threads:
            lines.append(_no_stacks(facts))
        text = cut("\n".join(lines), _RECORD_CHARS_MAX)
        return "\n".join(cut(line, _LINE_CHARS_MAX) for line in text.split("\n"))

    def _worker(self, board: scoreboard.Record, up_s: float, facts: KernelFacts) -> str:
        requests = board.words[scoreboard.REQUESTS]
        memory = facts.memory_bytes or board.words[scoreboard.MEMORY_BYTES]
        parts = [
            f"up {age(up_s)}",
            "1 request" if requests == 1 else f"{requests:,} requests",
            f"{memory / (1 << 20):.0f} MiB",
        ]
        active = self._under_way() or board.words[scoreboard.ACTIVE]
        if active > bool(self.request):
            parts.append(f"{active} under way")
        if facts.state:
            parts.append(_STATES.get(facts.state, facts.state))
        if facts.waits_in:
            parts.append(f"wait channel {facts.waits_in}")
        return f"worker: {', '.join(parts)}"

    def _under_way(self) -> int:
        return len(self.told.requests) + self.told.more_requests if self.told is not None else 0

    def _threads(self, threads: list[ThreadStack]) -> list[str]:
        requests = {each.thread: each for each in self.told.requests} if self.told is not None else {}
        lines, idle, unseen = [], 0, dict(requests)
        for thread in threads:
            request = unseen.pop(thread.ident, None)
            if not (thread.frames or request):
                idle += 1
                continue
            name = "main thread" if thread.main else f"thread {thread.name or hex(thread.ident)}"
            if request is not None:
                name += f" ({_named(request)})"
            elif thread.main and self.request and not requests:
                name += f" ({self.request})"
            lines += [f"{name}:", *(f"  {frame}" for frame in thread.frames)]
        if idle:
            lines.append(f"{'1 thread' if idle == 1 else f'{idle} threads'} without the application's code")
        return lines

    def _tasks(self) -> list[str]:
        if self.told is None:
            return []
        ages = {each.what: each.age_s for each in reversed(self.told.requests)}
        lines = []
        for task in self.told.tasks:
            lines += [f"{_task_name(task, ages)}:", *(f"  {frame}" for frame in task.frames)]
        if self.told.more_tasks:
            lines.append(f"{self.told.more_tasks} more tasks")
        return lines


def fault_frames(status: int, stacks: str) -> str:
    """Where a process stood that died of a fault of its own; empty if it did not, or nothing is known."""
    if -status not in _FAULTS:
        return ""
    return cut("\n".join(f"  {frame}" for frame in fatal_frames(stacks)), _RECORD_CHARS_MAX)


def _named(request: RequestUnderWay) -> str:
    return f"{request.what}, {seconds(request.age_s)}"


def _task_name(task: TaskStack, ages: dict[str, float]) -> str:
    if not task.request:
        return f"task {task.name}"
    return f"task {task.name} ({task.request}, {seconds(ages.get(task.request, 0.0))})"


def _no_stacks(facts: KernelFacts) -> str:
    if facts.state in {"T", "t"}:
        return "no stacks: a stopped process cannot write them"
    if facts.state == "D":
        return "no stacks: it does not leave the kernel to write them"
    return "no stacks: it did not write them"
