"""What a worker that is profiled writes, one JSON object a line, to whoever has the other end of its socket.

    {"t": "begun", ...}        or "refused", and nothing after it
    {"t": "samples", ...}      about once a second: what has come to be known since the last one
    {"t": "allocations", ...}  instead of samples, once, of a profile of the memory
    {"t": "ended", ...}        the last

Frames and stacks are numbered from 0 in the order in which they are first told, over all lines. Who asks
ends its sending side when it has enough; the worker then tells what it has, and ends.

Every number and text is bounded here: the process that writes runs the application.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec

from gwctl import json_text

LINE_BYTES_MAX: Final = 1 << 20
BYTES_MAX: Final = 1 << 26
"""Of all lines of one worker."""
FRAMES_MAX: Final = 20_000
STACKS_MAX: Final = 10_000
DEPTH_MAX: Final = 200
TEXT_MAX: Final = 300
"""Characters of a name."""
SECONDS_MAX: Final = 600.0

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
Stack = Annotated[
    tuple[Annotated[int, msgspec.Meta(ge=0, lt=FRAMES_MAX)], ...], msgspec.Meta(max_length=DEPTH_MAX + 2)
]
Counts = tuple[Annotated[int, msgspec.Meta(ge=0, lt=STACKS_MAX)], Count, Count, Count]


class Kind(IntEnum):
    """Whose code a frame is."""

    APPLICATION = 0
    LIBRARY = 1
    """In site-packages."""
    PYTHON = 2
    """The standard library."""
    GWCTL = 3
    ROOT = 4
    """No code: what the stack belongs to, as a thread or the requests."""
    NOTE = 5
    """No code: what the stack's end is at."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One line of code, or what has none: then ``line`` is 0."""

    function: Text
    file: Text = ""
    line: Count = 0
    kind: Kind = Kind.APPLICATION


class Begun(msgspec.Struct, frozen=True, tag="begun", tag_field="t"):
    """It samples from now on."""

    memory: bool = False


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="t"):
    """It does not."""

    reason: Text


class Samples(msgspec.Struct, frozen=True, tag="samples", tag_field="t"):
    """``times``: of a stack the microseconds it was on a CPU, waited in the midst of something, was idle."""

    frames: tuple[Frame, ...] = ()
    stacks: tuple[Stack, ...] = ()
    times: tuple[Counts, ...] = ()


class Allocations(msgspec.Struct, frozen=True, tag="allocations", tag_field="t"):
    """``sizes``: what was allocated and is in use at the end, in bytes and in blocks, and 0."""

    frames: tuple[Frame, ...] = ()
    stacks: tuple[Stack, ...] = ()
    sizes: tuple[Counts, ...] = ()


class Ended(msgspec.Struct, frozen=True, tag="ended", tag_field="t"):
    """``why``: it was earlier than asked for; empty if not."""

    seconds: Seconds
    samples: Count = 0
    cpu_s: Seconds = 0.0
    """Of CPU time, that sampling took."""
    stacks_cut: Count = 0
    """Samples whose stack was one too many to keep apart."""
    depth_cut: Count = 0
    """Stacks deeper than `DEPTH_MAX`."""
    why: Text = ""


Line = Begun | Refused | Samples | Allocations | Ended

_decode: Final = msgspec.json.Decoder(Line).decode


def encode(line: Line) -> bytes:
    return json_text.encode(line) + b"\n"


def decode(line: bytes) -> Line:
    """Understand one line.

    Raises:
        ValueError: It is none of these.
    """
    try:
        found: Line = _decode(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found
