"""What a process was at that has to be killed: all that can be known of it, for one record.

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
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from gwctl.ipc import scoreboard
from gwctl.ipc.channel import RequestReport
from gwctl.records.report import ProcessReport, TaskReport, ThreadReport
from gwctl.supervisor.children.peer_limits import count, cut
from gwctl.supervisor.children.procfs import resident_bytes
from gwctl.supervisor.children.stacks import ThreadStack, fatal_frames, read_current, read_stacks

_FAULTS: Final = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT})
"""Signals at which faulthandler writes the stacks."""
_TEXT_BYTES_MAX: Final = 1 << 18
_REPORT_CHARS_MAX: Final = 60_000
_BESIDES: Final = 20
"""What a line has besides such a text, at most."""
_LINE_CHARS_MAX: Final = 1000
"""A worker writes its stacks itself, and may write anything."""


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


class KernelReport(Struct, frozen=True):
    """What /proc says of a process; empty and 0 where it says nothing."""

    state: str = ""
    """One letter, as in /proc/PID/stat."""
    waits_in: str = ""
    memory_bytes: int = 0


def kernel_report(pid: int) -> KernelReport:
    """Ask the kernel about ``pid``."""
    folder = Path("/proc") / str(pid)
    try:
        state = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError, ValueError):
        return KernelReport()
    try:
        waits_in = (folder / "wchan").read_text("ascii", "replace").strip("0\n ")
    except OSError:
        waits_in = ""
    return KernelReport(state, waits_in, resident_bytes(pid))


class IncidentReport(Struct):
    """What is known so far. ``request``: that which the scoreboard names, else that which has the loop."""

    pid: int
    reason: str
    request: str = ""
    request_s: float = 0.0
    told: RequestReport | None = None

    def report(
        self, board: scoreboard.Record, up_s: float, stacks: str, kernel: KernelReport
    ) -> ProcessReport:
        """All that is known, in bounds that a log can bear."""
        if not self.request:
            self.request, self.request_s = read_current(stacks)
        room = _Room()
        threads, idle = self._threads(read_stacks(stacks), room)
        return ProcessReport(
            up_s=up_s,
            requests=board.words[scoreboard.REQUESTS],
            memory_bytes=kernel.memory_bytes or board.words[scoreboard.MEMORY_BYTES],
            under_way=self._under_way() or board.words[scoreboard.ACTIVE],
            request=cut(self.request, _LINE_CHARS_MAX),
            request_s=self.request_s,
            kernel_state=kernel.state,
            waits_in=kernel.waits_in,
            threads=threads,
            idle_threads=idle,
            tasks=self._tasks(room),
            more_tasks=self.told.more_tasks if self.told is not None else 0,
            truncated=not room.left,
        )

    def _under_way(self) -> int:
        return len(self.told.requests) + self.told.more_requests if self.told is not None else 0

    def _threads(self, stacks: list[ThreadStack], room: _Room) -> tuple[tuple[ThreadReport, ...], int]:
        """Those that are at something, and how many are not."""
        requests = {each.thread: each for each in self.told.requests} if self.told is not None else {}
        threads, idle, unseen = [], 0, dict(requests)
        for stack in stacks:
            request = unseen.pop(stack.ident, None)
            if not (stack.frames or request):
                idle += 1
                continue
            if not room.left:
                continue
            what, age_s = "", None
            if request is not None:
                what, age_s = request.what, request.age_s
            elif stack.main and not requests:
                what = self.request
            name, what, frames = room.take(stack.name), room.take(what), room.take_all(stack.frames)
            threads.append(ThreadReport(count(stack.ident, 1 << 63), name, stack.main, what, age_s, frames))
        return tuple(threads), idle

    def _tasks(self, room: _Room) -> tuple[TaskReport, ...]:
        if self.told is None:
            return ()
        ages = {each.what: each.age_s for each in reversed(self.told.requests)}
        tasks = []
        for each in self.told.tasks:
            if room.left:
                age_s = ages.get(each.request, 0.0)
                name, request, frames = (
                    room.take(each.name),
                    room.take(each.request),
                    room.take_all(each.frames),
                )
                tasks.append(TaskReport(name, request, age_s, frames))
        return tuple(tasks)


class Inspection(Struct):
    """What a person wants to know of a process that lives on, and what it has said."""

    known: IncidentReport
    stacks: bool
    """Where its threads are, too."""
    began_at: float
    signalled: bool = False
    """Its loop does not turn: it was asked by a signal."""

    @property
    def has_said(self) -> bool:
        told = self.known.told
        return told is not None and (bool(told.stacks) or not self.stacks)


class _Room:
    """For the lines of one report."""

    def __init__(self) -> None:
        self.left = _REPORT_CHARS_MAX

    def take(self, text: str) -> str:
        """A line of this text, or the beginning of it."""
        line = cut(text, _LINE_CHARS_MAX)
        self.left = max(0, self.left - len(line) - _BESIDES)
        return line

    def take_all(self, frames: Iterable[str]) -> tuple[str, ...]:
        """As many of them as there is room for."""
        return tuple(self.take(frame) for frame in frames if self.left)


def fault_frames(status: int, stacks: str) -> str:
    """Where a process stood that died of a fault of its own; empty if it did not, or nothing is known."""
    if -status not in _FAULTS:
        return ""
    return cut("\n".join(f"  {frame}" for frame in fatal_frames(stacks)), _REPORT_CHARS_MAX)
