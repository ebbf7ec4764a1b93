"""The frames and stacks of a profile, numbered: each is told once, and then called by its number."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from gwctl import json_text
from gwctl.profile.lines import FRAMES_MAX, STACKS_MAX, TEXT_MAX, Frame, Kind, Stack
from gwctl.workers.observe.tracebacks import is_machinery

T = TypeVar("T")

PART: Final = 200
"""Frames, stacks or counts in one line: with names as long as they may be it is under `LINE_BYTES_MAX`."""
OTHER: Final = 0
"""The stack that stands for all those which there is no room for; and the frame in it."""
_PYTHON: Final = str(Path(os.__file__).parent) + os.sep
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_MACHINERY: Final = ("asyncio/", "threading.py", "selectors.py", "concurrent/futures/")


class SampleTable:
    """What is known of one profile, and what of it has not yet been told."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._stacks: list[Stack] = []
        self._number_of_frame: dict[Frame, int] = {}
        self._number_of_stack: dict[Stack, int] = {}
        self._frames_told = self._stacks_told = 0
        self._files: dict[str, tuple[str, Kind]] = {}
        self._roots = sorted({os.path.abspath(each) + os.sep for each in sys.path}, key=len, reverse=True)  # noqa: PTH100 - a Path a file is slow
        self.stack((self.frame(Frame("(other stacks)", kind=Kind.ROOT)),))

    def frame(self, frame: Frame) -> int:
        """Its number; `OTHER` when there are too many."""
        number = self._number_of_frame.get(frame)
        if number is None:
            if len(self.frames) >= FRAMES_MAX:
                return OTHER
            number = self._number_of_frame[frame] = len(self.frames)
            self.frames.append(frame)
        return number

    def code(self, function: str, filename: str, line: int) -> int:
        """The number of a line of code."""
        file, kind = self._files.get(filename) or self._name(filename)
        return self.frame(Frame(shown(function.replace("<locals>.", "")), file, max(0, line), kind))

    def stack(self, stack: Stack) -> int:
        """The number of a stack, root first; `OTHER` when there are too many."""
        number = self._number_of_stack.get(stack)
        if number is None:
            if len(self._stacks) >= STACKS_MAX:
                return OTHER
            number = self._number_of_stack[stack] = len(self._stacks)
            self._stacks.append(stack)
        return number

    def is_machinery(self, number: int) -> bool:
        """Tell whether a frame is of what leads to everybody's code."""
        frame = self.frames[number]
        return frame.kind is Kind.GWCTL or (frame.kind is Kind.PYTHON and frame.file.startswith(_MACHINERY))

    def news(self) -> Iterator[tuple[tuple[Frame, ...], tuple[Stack, ...]]]:
        """Frames and stacks that have not yet been told, in parts. They are from now on."""
        frames, stacks = self.frames[self._frames_told :], self._stacks[self._stacks_told :]
        self._frames_told, self._stacks_told = len(self.frames), len(self._stacks)
        for part in parts(frames):
            yield tuple(part), ()
        for more in parts(stacks):
            yield (), tuple(more)

    def _name(self, filename: str) -> tuple[str, Kind]:
        kind, short = Kind.APPLICATION, filename
        installed = next((mark for mark in _INSTALLED if mark in filename), None)
        if is_machinery(filename):
            kind = Kind.PYTHON if filename.startswith("<frozen") else Kind.GWCTL
            short = filename if kind is Kind.PYTHON else f"gwctl/{filename.rpartition('/gwctl/')[2]}"
        elif installed is not None:
            kind, short = Kind.LIBRARY, filename.rpartition(installed)[2]
        elif filename.startswith((_PYTHON, "<frozen")):
            kind, short = Kind.PYTHON, filename.removeprefix(_PYTHON)
        else:
            root = next((root for root in self._roots if filename.startswith(root)), "")
            short = filename.removeprefix(root)
        found = self._files[filename] = (shown(short), kind)
        return found


def parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), PART):
        yield items[start : start + PART]


def shown(text: str) -> str:
    """``text`` as it can be told: the end of a long one, which says more than its beginning."""
    return json_text.readable(text)[-TEXT_MAX:]
