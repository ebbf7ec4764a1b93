"""What workers have told of a profile, put together; nothing of it is believed.

- What is no line of `gwctl.profile.lines`, or speaks of what was not told, ends that worker's part. What
  it had told before stays.
- Lines, and all of them together, are bounded; so is what is kept of them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from gwctl.errors import ControlError
from gwctl.profile import lines
from gwctl.profile.lines import Allocations, Begun, Counts, Ended, Frame, Kind, Refused, Samples, Stack

_HEARS_NOTHING: Final = (
    "it does not answer. C code that holds the interpreter keeps it, or it is stopped: gwctl dump {name} "
    "says what the kernel knows, and py-spy sees into C"
)
_LINE_BLOCK: Final = b"\n"


@dataclass(slots=True)
class Spent:
    """Of a stack: microseconds on a CPU, waiting, idle. Or of the memory: bytes, blocks."""

    first: int = 0
    second: int = 0
    third: int = 0

    def add(self, counts: Counts | tuple[int, int, int, int]) -> None:
        self.first += counts[1]
        self.second += counts[2]
        self.third += counts[3]


@dataclass(slots=True)
class Part:
    """What one worker tells over its socket."""

    name: str
    """As in ``web.2``."""
    pid: int
    answers: bool = True
    """It had heard of the profile when the master answered."""
    began: bool = False
    ended: Ended | None = None
    failure: str = ""
    """Why nothing, or nothing more, can be had of it."""
    memory: bool = False
    frames: list[Frame] = field(default_factory=list)
    stacks: list[array[int]] = field(default_factory=list)
    """Numbers of frames, in two bytes each: they may be two millions."""
    spent: dict[int, Spent] = field(default_factory=dict)
    _received: bytearray = field(default_factory=bytearray)
    _bytes: int = 0

    @property
    def is_over(self) -> bool:
        return self.ended is not None or bool(self.failure)

    def feed(self, data: bytes) -> None:
        """Take what was read; empty: nothing more will come."""
        if not data:
            self._close()
            return
        self._bytes += len(data)
        self._received += data
        *found, rest = self._received.split(_LINE_BLOCK)
        self._received = bytearray(rest)
        try:
            for line in found:
                if not self.is_over:
                    self._take(lines.decode(bytes(line)))
        except ValueError as error:  # a DecodeError among others
            self._fail(str(error)[:200])
        if len(rest) > lines.LINE_BYTES_MAX or self._bytes > 2 * lines.BYTES_MAX:
            self._fail("it does not come to an end")

    def give_up(self) -> None:
        """Nobody waits for more of it."""
        if self.is_over:
            return
        told = "it has not told the last of it"
        self.failure = told if self.began else _HEARS_NOTHING.format(name=self.name)

    def _fail(self, why: str) -> None:
        self.failure = f"what it tells is no profile: {why}"

    def _close(self) -> None:
        if self.is_over:
            return
        if self.began:
            self.failure = "it ended in the midst of it: what it had not yet told, a second or more, is lost"
        else:
            self.failure = "it ended, or was asked by a signal that never came, before it could begin"

    def _take(self, line: lines.Line) -> None:
        """Raises ValueError: It speaks of what there is not."""
        match line:
            case Begun(memory=memory):
                self.began, self.memory = True, memory
            case Refused(reason=reason):
                self.failure = reason
            case Samples(frames=frames, stacks=stacks, times=counts) if not self.memory:
                self._add(frames, stacks, counts)
            case Allocations(frames=frames, stacks=stacks, sizes=counts) if self.memory:
                self._add(frames, stacks, counts)
            case Ended():
                self.ended = line
            case _:
                raise ValueError("samples of what was not asked for")

    def _add(self, frames: Iterable[Frame], stacks: Iterable[Stack], counts: Iterable[Counts]) -> None:
        self.frames.extend(frames)
        self.stacks.extend(array("H", stack) for stack in stacks)
        known = len(self.frames)
        if known > lines.FRAMES_MAX or len(self.stacks) > lines.STACKS_MAX:
            raise ValueError("it has more stacks than are told of")
        if any(number >= known for stack in stacks for number in stack):
            raise ValueError("a stack of frames that were not told")
        for each in counts:
            if each[0] >= len(self.stacks):
                raise ValueError("a stack that was not told")
            self.spent.setdefault(each[0], Spent()).add(each)


def parts_of(answer: dict[str, Any], sockets: int) -> list[Part]:
    """Of the workers that a master's answer names, in the order of the ``sockets`` that came with it.

    Raises:
        ControlError: They do not go together.
    """
    try:
        parts = [
            Part(f"{each['pool']}.{each['slot']}", int(each["pid"]), bool(each["answers"]))
            for each in answer["workers"]
        ]
    except (KeyError, TypeError, ValueError):
        raise ControlError("the master's answer names no workers") from None
    if len(parts) != sockets:
        raise ControlError("the master answered without the connections to its workers: ask again")
    return parts


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a profile is shown."""

    idle: bool = False
    """Also threads that wait for work."""
    by_function: bool = False
    """The lines of a function are one frame."""


WAITS: Final = Frame("(waits)", kind=Kind.NOTE)
IDLE: Final = Frame("(idle)", kind=Kind.NOTE)

OTHERS: Final = Frame("(other stacks)", kind=Kind.NOTE)
"""Where there are too many to keep them apart."""
PLACES_MAX: Final = 4_000_000
"""Frames of all stacks together, of all workers: some 50 MB."""

Folded = dict[tuple[Frame, ...], int]
"""Stacks, root first, with microseconds or bytes."""


def folded(parts: Iterable[Part], choice: Choice) -> Folded:
    """Put the stacks of ``parts`` together: what several have is one."""
    found: Folded = {}
    left = PLACES_MAX
    for part in parts:
        frames = [_shown(frame, choice) for frame in part.frames]
        for number, spent in part.spent.items():
            stack = tuple(frames[each] for each in part.stacks[number])
            ends: tuple[tuple[tuple[Frame, ...], int], ...] = ((stack, spent.first),)
            if not part.memory:
                ends += ((*stack, WAITS), spent.second), ((*stack, IDLE), spent.third if choice.idle else 0)
            for end, weight in ends:
                if not weight:
                    continue
                if end not in found:
                    left -= len(end)
                kept = end if end in found or left > 0 else (OTHERS,)
                found[kept] = found.get(kept, 0) + weight
    return found


def _shown(frame: Frame, choice: Choice) -> Frame:
    if not choice.by_function or not frame.function:
        return frame
    return Frame(frame.function, frame.file, 0, frame.kind)


def totals(parts: Iterable[Part]) -> Spent:
    """Of all stacks: on a CPU, waiting, idle; or bytes and blocks."""
    total = Spent()
    for part in parts:
        for spent in part.spent.values():
            total.add((0, spent.first, spent.second, spent.third))
    return total


def label(frame: Frame) -> str:
    """``Cart.total (shop/cart.py:31)``."""
    if not frame.file:
        return frame.function
    place = f"{frame.file}:{frame.line}" if frame.line else frame.file
    return f"{frame.function} ({place})" if frame.function else place
