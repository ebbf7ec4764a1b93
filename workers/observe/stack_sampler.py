"""Where the threads of this process are, looked at about a hundred times a second from one of its own.

Theory of operation
    The sampler holds the interpreter while it looks, so no other thread runs Python meanwhile. It has to be
    let in soon: Python makes a thread that runs on give way after 5 ms only, and one that waits for a
    socket gives way at once. Who waits for its turn so long finds all threads at sockets, and none at what
    keeps the CPU busy. So the interpreter is asked to give way sooner while a profile is taken
    (`switch_s`); less so where threads contend for it, as each turn costs them.

    A sample has two halves. At the first the threads' clocks of CPU time are read, half a millisecond later
    again, with the stacks: who has used the CPU for most of that time runs, and others wait, for a socket,
    a lock, the interpreter or a CPU. The time since the sample before is put down to what is seen.

    A thread whose clock has not moved since then has not run, so its stack is still the same, and is not
    walked again: whoever waits costs two system calls.

    A thread that waits and serves no request is idle if there is hardly anything on its stack but the loop
    in which it waits for work.

The clock of a thread is asked by the kernel's number of the thread (clock_gettime(2), Linux's
``CPUCLOCK_PERTHREAD``): that of a thread that has ended is refused, where pthread_getcpuclockid(3) would
crash. Threads that Python's threading does not know, and other systems, have none: they run or they wait,
as the module of their innermost frame has it.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from _thread import get_ident
from collections.abc import Callable, Collection
from time import clock_gettime_ns, monotonic_ns
from types import CodeType, FrameType
from typing import Final

from gwctl.profile.lines import DEPTH_MAX, Counts, Frame, Kind, Samples
from gwctl.workers.observe.sample_table import OTHER, SampleTable, parts, shown

REQUESTS: Final = "requests"
SHALLOW: Final = 2
"""So many frames on top of its machinery has the loop in which a thread waits for work."""
LEARNT_MAX: Final = 50_000
"""Places in code, and stacks, that are remembered as such."""
_WAITING: Final = (
    "threading.py",
    "queue.py",
    "selectors.py",
    "socket.py",
    "ssl.py",
    "subprocess.py",
    "asyncio/",
)
_NUMBERS: Final = re.compile(r"[-_ ]?\d+\b")
_UNKNOWN: Final = -1
_ENDED: Final = -1
_RUNS: Final = 0.5
"""Who used the CPU for such a share of the time between the halves of a sample."""
_CONTENDS: Final = 0.2
"""Two threads that have each used it for such a share of the time are in each other's way."""
SWITCH_S: Final = 0.0001
SWITCH_CONTENDED_S: Final = 0.001


class Whereabouts:
    """What the sampler has to know of the worker it is in. Asked in the sampler's thread."""

    def __init__(
        self,
        serving: Callable[[], Collection[int]],
        loop_thread: int,
        task: Callable[[], str],
        base: CodeType,
    ) -> None:
        self.serving = serving
        """The threads that are at a request."""
        self.loop_thread = loop_thread
        self.task = task
        """What that thread's loop is at: `REQUESTS`, a task, or nothing."""
        self.base = base
        """The code at which a stack begins: below it all of them are alike."""


class _Thread:
    """What is remembered of one."""

    __slots__ = ("clock", "cpu_ns", "label", "read_ns", "stack")

    def __init__(self, native_id: int | None, name: str) -> None:
        self.clock = 0 if native_id is None or sys.platform != "linux" else (~native_id << 3) | 6
        self.cpu_ns = self.read_ns = 0
        """What its clock said when it was last seen, and in the first half of this sample."""
        self.label = "gwctl" if name.startswith("gwctl-") else f"thread {name}"
        self.stack = _UNKNOWN

    def read(self) -> int:
        """CPU time that it has used, in ns; -1: it has ended."""
        try:
            return clock_gettime_ns(self.clock)
        except OSError:
            return _ENDED


class StackSampler:
    """Counts in which stacks threads spend their time. It runs in one thread, which leaves itself out."""

    def __init__(self, where: Whereabouts) -> None:
        self._where = where
        self._table = SampleTable()
        self._deeper = self._table.frame(Frame(f"(deeper than {DEPTH_MAX})", kind=Kind.NOTE))
        self._own = get_ident()
        self._threads: dict[int, _Thread] = {}
        self._labels: dict[str, int] = {}
        self._codes: list[CodeType] = []
        """Kept, so that no other has their id."""
        self._frame_at: dict[tuple[int, int], int] = {}
        self._stack_of: dict[tuple[int, ...], int] = {}
        self._shallow: set[int] = set()
        self._waits: set[int] = set()
        """Stacks of those that have no clock, and wait."""
        self._times: dict[int, list[int]] = {}
        self._sampled_at = self._read_at = 0
        self._busy = 0
        """Threads that have used a CPU a good deal lately."""
        self.samples = 0
        self.stacks_cut = 0
        self.depth_cut = 0

    @property
    def switch_s(self) -> float:
        """How soon the interpreter is to be had: for sys.setswitchinterval()."""
        return SWITCH_CONTENDED_S if self._busy > 1 else SWITCH_S

    def read_clocks(self) -> None:
        """The first half of a sample."""
        self._read_at = monotonic_ns()
        for thread in self._threads.values():
            if thread.clock:
                thread.read_ns = thread.read()

    def sample(self) -> None:
        """The second half. The very first sample only begins the time."""
        frames = sys._current_frames()  # noqa: SLF001 - documented
        now = monotonic_ns()
        passed, self._sampled_at = now - self._sampled_at, now
        enough = (now - self._read_at) * _RUNS
        del frames[self._own]
        serving = self._where.serving()
        self._busy = 0
        for ident, frame in frames.items():
            thread = self._threads.get(ident) or self._meet(ident)
            self._see(thread, ident, frame, passed, enough, serves=ident in serving)
        if self.samples == 0:
            self._times.clear()
        self.samples += 1

    def take(self) -> list[Samples]:
        """What was found since the last time. Threads are asked for their names again."""
        times, self._times = self._times, {}
        known = {thread.ident for thread in threading.enumerate()}
        self._threads = {ident: each for ident, each in self._threads.items() if ident in known}
        found = [Samples(frames, stacks) for frames, stacks in self._table.news()]
        counts: list[Counts] = [
            (stack, running // 1000, waiting // 1000, idle // 1000)
            for stack, (running, waiting, idle) in times.items()
        ]
        return found + [Samples(times=tuple(part)) for part in parts(counts)]

    def _meet(self, ident: int) -> _Thread:
        found = next((each for each in threading.enumerate() if each.ident == ident), None)
        if found is None:
            thread = _Thread(None, "of no name")
        else:
            # After a fork the main thread's is still the parent's (CPython before 3.12).
            native_id = os.getpid() if found is threading.main_thread() else found.native_id
            thread = _Thread(native_id, shown(_NUMBERS.sub("", found.name)))
        self._threads[ident] = thread
        return thread

    def _see(
        self, thread: _Thread, ident: int, frame: FrameType, passed: int, enough: float, *, serves: bool
    ) -> None:
        used = thread.read() if thread.clock else 0
        if used == _ENDED:  # another has its ident
            del self._threads[ident]
            return
        if used != thread.cpu_ns or not thread.clock or thread.stack == _UNKNOWN:
            thread.stack = self._walk(frame, self._label(thread, ident, serves=serves))
        stack = thread.stack
        if thread.clock:
            runs = used - thread.read_ns >= enough
            self._busy += thread.cpu_ns > 0 and used - thread.cpu_ns > passed * _CONTENDS
            thread.cpu_ns = used
        else:
            runs = stack not in self._waits
        spent = self._times.get(stack)
        if spent is None:
            spent = self._times[stack] = [0, 0, 0]
        spent[0 if runs else 2 if stack in self._shallow and not serves else 1] += passed

    def _label(self, thread: _Thread, ident: int, *, serves: bool) -> int:
        if serves:
            label = REQUESTS
        elif ident == self._where.loop_thread:
            label = self._where.task() or "event loop"
        else:
            label = thread.label
        number = self._labels.get(label)
        if number is None:
            number = self._table.frame(Frame(shown(label), kind=Kind.ROOT))
            if number != OTHER:
                self._labels[label] = number
        return number

    def _walk(self, innermost: FrameType, label: int) -> int:
        """The number of the stack whose end ``innermost`` is."""
        frame: FrameType | None = innermost
        base, known, found = self._where.base, self._frame_at, [label]
        while frame is not None:
            code = frame.f_code
            if code is base:
                break
            if len(found) >= DEPTH_MAX:
                found.append(self._deeper)
                self.depth_cut += 1
                break
            number = known.get((id(code), frame.f_lasti))
            if number is None:
                number = self._learn(code, frame)
            found.append(number)
            frame = frame.f_back
        key = tuple(found)
        stack = self._stack_of.get(key)
        return self._keep(key) if stack is None else stack

    def _learn(self, code: CodeType, frame: FrameType) -> int:
        number = self._table.code(code.co_qualname, code.co_filename, frame.f_lineno or 0)
        if len(self._codes) >= LEARNT_MAX:  # code is made anew for each request, say
            self._codes.clear()
            self._frame_at.clear()
        if number != OTHER:
            self._codes.append(code)
            self._frame_at[id(code), frame.f_lasti] = number
        return number

    def _keep(self, key: tuple[int, ...]) -> int:
        """Number a stack that was not seen before: root first, without the machinery that leads to it."""
        label, *frames = key
        frames.reverse()
        is_machinery = self._table.is_machinery
        start = next((at for at, number in enumerate(frames) if not is_machinery(number)), None)
        if start is None:
            kinds = [self._table.frames[number].kind for number in frames]
            start = kinds.index(Kind.GWCTL) if Kind.GWCTL in kinds else 0
        stack = self._table.stack((label, *frames[start:]))
        if stack == OTHER:
            self.stacks_cut += 1
            return stack
        if len(self._stack_of) >= LEARNT_MAX:
            self._stack_of.clear()
        self._stack_of[key] = stack
        root = self._table.frames[label].function
        others = sum(not is_machinery(number) for number in frames)
        if others <= SHALLOW and root != REQUESTS:
            self._shallow.add(stack)
        if stack in self._shallow or (frames and self._table.frames[frames[-1]].file.startswith(_WAITING)):
            self._waits.add(stack)
        return stack
