"""What workers and templates print, taken from their pipes into the event log.

Rules
    - Nothing is ever waited for, and nothing is done where nobody prints.
    - The pipes are watched by a selector of their own, which the master's watches: whoever prints, however
      often, wakes the master once in `TICK_S`. What comes in between is read together.
    - A worker has an allowance, and so has its pool (`output_allowance`). Beyond it nothing is read, and
      whoever prints waits in write(2). In one turn so much is read and taken from all that the master is
      back at its loop in milliseconds, first from whom nothing was taken for the longest time.
    - A line or traceback that is not whole is waited for, `PATIENCE_S` at most.
    - What a worker printed before it died is read before its death is told: as much as a pipe usually holds,
      but from all that die in one turn no more than `LAST_UNITS_MAX`. The rest is read later, as of one that
      lives. Its pipes stay open as long as somebody has them, as a child process that lives on:
      `LEFT_PIPES_MAX` of a pool, then the oldest is closed.
    - All of it goes over in an upgrade, what was read and is no whole line included.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Iterable
from math import inf
from typing import Final

import msgspec

from gwctl.ipc import output_pipes
from gwctl.ipc.output_pipes import STREAMS, MasterEnds, WorkerEnds
from gwctl.log.output_lines import OutputLine, OutputLines
from gwctl.records.base import Process
from gwctl.records.workers import OutputGivenUp, OutputHeld
from gwctl.supervisor.children.output_allowance import POOL_UNITS_PER_S, WORKER_UNITS_PER_S, Bucket, cost
from gwctl.supervisor.core.events import WorkerId
from gwctl.supervisor.recorder import Recorder

TICK_S: Final = 0.01
PATIENCE_S: Final = 0.25
READ_BYTES: Final = 16_384
TURN_UNITS_MAX: Final = 250
"""As in `output_allowance`; bytes count when they are read, whether a line comes of them or not."""
LAST_BYTES_MAX: Final = 81_920
"""Read of each pipe of a worker that has died, before it is taken for one that others write to: a pipe holds
64 KiB."""
LAST_UNITS_MAX: Final = 1250
LEFT_PIPES_MAX: Final = 16
OWED_PIPES_MAX: Final = 256
"""Those included that have not been read so far."""
HELD_TOLD_S: Final = 60.0
_RETRY_S: Final = 1.0
_EVERYTHING: Final = 1 << 30


class OutputSnapshot(msgspec.Struct, frozen=True):
    """One pipe. ``left`` was read and not written."""

    worker: WorkerId
    process: Process
    stream: str
    fd: int
    left: bytes = b""
    continued: bool = False
    is_left: bool = False
    owed: int = 0


class _Pipe(msgspec.Struct, eq=False):
    """One stream of one process."""

    worker: WorkerId
    process: Process
    stream: str
    fd: int
    lines: OutputLines
    bucket: Bucket
    watched: bool = False
    resume_at: float = inf
    """When to go on with a pipe that is not watched."""
    hold_until: float = inf
    """Until when what is no whole line is waited for."""
    served_at: float = 0.0
    has_more: bool = False
    """Whole lines are left: nothing is read before these are taken."""
    has_ended: bool = False
    is_left: bool = False
    """Its worker has died."""
    owed: int = 0
    """So many bytes in it may be last words of its worker."""

    @property
    def due_at(self) -> float:
        """When there is something to do although nobody prints."""
        return self.resume_at if self.resume_at < inf else self.hold_until


class Outputs:
    """The pipes of all processes of one master whose output is captured."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        recorder: Recorder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._selector = selector
        self._recorder = recorder
        self._clock = clock
        self._ready: selectors.DefaultSelector | None = None
        self._listen_at = inf
        """When the master's selector is to watch `_ready` again."""
        self._pipes: list[_Pipe] = []
        self._made: dict[WorkerId, MasterEnds] = {}
        """Of workers that are not forked yet."""
        self._pools: dict[str, Bucket] = {}
        """Also of pools that are gone: one that is begun anew has taken what it has."""
        self._told_at: dict[str, float] = {}
        """When it was last said of a pool that it prints too much."""
        self._last_left = float(LAST_UNITS_MAX)
        """Of the last words that are taken in this turn."""
        self.next_at = inf
        """When `turn` has something to do: monotonic seconds, or infinite."""

    # ---- processes come and go

    def make(self, worker: WorkerId) -> WorkerEnds:
        """Make the pipes of a worker that is about to be forked; return what it gets.

        Raises:
            OSError: No descriptor is left.
        """
        self._open()
        self._made[worker], theirs = output_pipes.make()
        return theirs

    def begin(self, worker: WorkerId, process: Process) -> None:
        """Read what it prints, if pipes were made: it was forked."""
        ends = self._made.pop(worker, None)
        if ends is None:
            return
        bucket, now = Bucket(WORKER_UNITS_PER_S), self._clock()
        for stream, fd in zip(STREAMS, ends, strict=True):
            pipe = _Pipe(worker, process, stream, fd, OutputLines(), bucket)
            self._pipes.append(pipe)
            self._watch(pipe, now)
        self._plan()

    def end(self, worker: WorkerId) -> None:
        """It has died, and its death is about to be told: write what it printed until then."""
        now = self._clock()
        for pipe in [each for each in self._pipes if each.worker == worker and not each.is_left]:
            pipe.is_left, pipe.owed = True, LAST_BYTES_MAX
            self._last_left -= self._take_last(pipe, self._last_left, now)
        self._plan()

    def forget(self, worker: WorkerId) -> None:
        """It is gone, or never came."""
        if worker in self._made:
            self._made.pop(worker).close()
        self.end(worker)

    def close(self) -> None:
        """At the master's end: write what is there, and read no more."""
        now = self._clock()
        for pipe in list(self._pipes):
            self._take_last(pipe, LAST_UNITS_MAX, now)
        self.close_in_child()

    def close_in_child(self) -> None:
        """Close all of it; the selectors are the master's, too, so nothing is taken out of them."""
        for pipe in self._pipes:
            os.close(pipe.fd)
        self._pipes.clear()
        for ends in self._made.values():
            ends.close()
        self._made.clear()
        if self._ready is not None:
            self._ready.close()
            self._ready = None
        self.next_at = inf

    # ---- the loop

    def turn(self, now: float) -> None:
        """Go on where somebody waits, or is not waited for any longer. To be called in each turn."""
        self._last_left = LAST_UNITS_MAX
        if now < self.next_at:
            return
        left = float(TURN_UNITS_MAX)
        due = [each for each in self._pipes if each.due_at <= now]
        for pipe in sorted(due, key=lambda pipe: pipe.served_at):
            if pipe.resume_at <= now:
                pipe.resume_at = inf
                left -= self._serve(pipe, left, now)
            elif left > 0:
                pipe.served_at = now
                left -= self._take(pipe, _EVERYTHING, now, all_of_it=True)
        if self._listen_at <= now:
            self._listen()
        self._plan()

    def _readable(self, _mask: int) -> None:
        """Somebody has printed."""
        assert self._ready is not None
        now = self._clock()
        left = float(TURN_UNITS_MAX)
        ready: list[_Pipe] = [key.data for key, _ in self._ready.select(0)]
        for pipe in sorted(ready, key=lambda pipe: pipe.served_at):
            if left <= 0:
                break
            left -= self._serve(pipe, left, now)
        self._selector.unregister(self._ready)
        self._listen_at = now + TICK_S
        self._plan()

    def _serve(self, pipe: _Pipe, most: float, now: float) -> float:
        """Read and take from one pipe, as much as it may have taken; return how many units of work it was."""
        wait_s = self._wait_s(pipe, now)
        if wait_s or most <= 0:
            self._pause(pipe, now + max(wait_s, TICK_S))
            return 0.0
        pipe.served_at = now
        done = 0.0 if pipe.has_more or pipe.has_ended else self._read(pipe)
        allowed = max(1, int(min(most - done, pipe.bucket.left(now), self._pool(pipe).left(now))))
        done += self._take(pipe, allowed, now, all_of_it=pipe.has_ended)
        if pipe.has_more:
            wait_s = self._wait_s(pipe, now)
            if wait_s:
                self._tell_held(pipe, now)
            self._pause(pipe, now + max(wait_s, TICK_S))
        elif pipe.has_ended:
            self._remove(pipe)
        else:
            self._watch(pipe, now)
        return done

    def _wait_s(self, pipe: _Pipe, now: float) -> float:
        return max(pipe.bucket.wait_s(now), self._pool(pipe).wait_s(now))

    def _take(self, pipe: _Pipe, most: int, now: float, *, all_of_it: bool = False) -> int:
        """Write lines of what was read, ``most`` of them at most; return how many."""
        before = len(pipe.lines.left)
        taken = pipe.lines.take(most, all_of_it=all_of_it)
        pipe.has_more = len(taken) == most
        self._write(pipe, taken)
        spent = cost(len(taken), before - len(pipe.lines.left))
        pipe.bucket.spend(spent, now)
        self._pool(pipe).spend(spent, now)
        if pipe.has_more or not pipe.lines.left:
            pipe.hold_until = inf
        elif taken or pipe.hold_until == inf:
            pipe.hold_until = now + PATIENCE_S
        return len(taken)

    def _read(self, pipe: _Pipe) -> float:
        """Read what is there, not much at once; return how many units of work it was, 0: nothing is there."""
        try:
            data = os.read(pipe.fd, READ_BYTES)
        except BlockingIOError:
            self._is_read(pipe, pipe.owed)
            return 0.0
        pipe.has_ended = not data
        pipe.lines.feed(data)
        self._is_read(pipe, len(data))
        return cost(0, len(data))

    def _is_read(self, pipe: _Pipe, size: int) -> None:
        """Of one whose worker has died: what comes after `LAST_BYTES_MAX`, or after nothing, is by others."""
        pipe.owed = max(0, pipe.owed - size)

    def _take_last(self, pipe: _Pipe, most: float, now: float) -> float:
        """Take what its worker printed before it died; return how many units of work it was."""
        left = most
        for _ in range(LAST_BYTES_MAX // READ_BYTES):
            if left < 1 or not (read := self._read(pipe)):
                break
            left -= read
            left -= self._take(pipe, max(1, int(left)), now)
        if left >= 1:
            left -= self._take(pipe, int(left), now, all_of_it=True)
        if pipe.has_ended and not pipe.lines.left:
            self._remove(pipe)
        else:  # somebody has it open, or more is in it: as of one that lives
            self._pause(pipe, now)
        return most - left

    def _write(self, pipe: _Pipe, lines: list[OutputLine]) -> None:
        if lines:
            self._recorder.write_output(pipe.process, pipe.stream, lines)

    def _tell_held(self, pipe: _Pipe, now: float) -> None:
        pool = pipe.process.pool
        if now - self._told_at.get(pool, -inf) >= HELD_TOLD_S:
            self._told_at[pool] = now
            self._recorder.write(
                OutputHeld(
                    process=pipe.process,
                    stream=pipe.stream,
                    lines_per_s=int(WORKER_UNITS_PER_S),
                    pool_lines_per_s=int(POOL_UNITS_PER_S),
                )
            )

    def _bound_left(self) -> None:
        """Close the oldest pipes that others than a worker of the pool have open, if those are too many."""
        by_pool: dict[str, list[_Pipe]] = {}
        for pipe in self._pipes:
            if pipe.is_left:
                by_pool.setdefault(pipe.process.pool, []).append(pipe)
        for left in by_pool.values():
            read = [each for each in left if not each.owed]
            surplus = read[: max(0, len(read) - LEFT_PIPES_MAX)]
            surplus = surplus or left[: max(0, len(left) - OWED_PIPES_MAX)]
            for pipe in surplus:
                self._remove(pipe)
                self._recorder.write(OutputGivenUp(process=pipe.process, stream=pipe.stream))

    # ---- what is watched

    def _open(self) -> None:
        if self._ready is None:
            self._ready = selectors.DefaultSelector()
            self._listen()

    def _remove(self, pipe: _Pipe) -> None:
        self._unwatch(pipe)
        os.close(pipe.fd)
        self._pipes.remove(pipe)

    def _watch(self, pipe: _Pipe, now: float) -> None:
        if pipe.watched:
            return
        assert self._ready is not None
        try:
            self._ready.register(pipe.fd, selectors.EVENT_READ, pipe)
            pipe.watched = True
        except OSError:  # the kernel watches so many for a user: tried again until it has room
            pipe.resume_at = now + _RETRY_S

    def _unwatch(self, pipe: _Pipe) -> None:
        if pipe.watched:
            assert self._ready is not None
            self._ready.unregister(pipe.fd)
            pipe.watched = False

    def _pause(self, pipe: _Pipe, until: float) -> None:
        self._unwatch(pipe)
        pipe.resume_at = until

    def _listen(self) -> None:
        assert self._ready is not None
        try:
            self._selector.register(self._ready, selectors.EVENT_READ, self._readable)
            self._listen_at = inf
        except OSError:  # as above
            self._listen_at = self._clock() + _RETRY_S

    def _plan(self) -> None:
        self._bound_left()
        self.next_at = min(self._listen_at, min((each.due_at for each in self._pipes), default=inf))

    def _pool(self, pipe: _Pipe) -> Bucket:
        return self._pools.setdefault(pipe.process.pool, Bucket(POOL_UNITS_PER_S))

    # ---- upgrade

    def snapshot(self) -> tuple[OutputSnapshot, ...]:
        """Of each pipe; nothing is changed."""
        return tuple(
            OutputSnapshot(
                each.worker,
                each.process,
                each.stream,
                each.fd,
                each.lines.left,
                each.lines.continued,
                each.is_left,
                each.owed,
            )
            for each in self._pipes
        )

    def resume(self, pipes: Iterable[OutputSnapshot]) -> None:
        """Go on with what another program has read.

        Raises:
            OSError: No descriptor is left.
        """
        now = self._clock()
        buckets: dict[WorkerId, Bucket] = {}
        for each in pipes:
            self._open()
            bucket = buckets.setdefault(each.worker, Bucket(WORKER_UNITS_PER_S))
            lines = OutputLines(each.left, continued=each.continued)
            pipe = _Pipe(each.worker, each.process, each.stream, each.fd, lines, bucket)
            pipe.is_left, pipe.owed = each.is_left, each.owed
            self._pipes.append(pipe)
            pipe.resume_at = now
        self._plan()
