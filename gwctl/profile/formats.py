"""The forms of a profile: the picture, and what other tools take, folded stacks and speedscope's JSON."""

from __future__ import annotations

import re
from typing import Any, Final

from gwctl import __version__, json_text
from gwctl.profile.collected import Folded, label
from gwctl.profile.flame_graph import flame_graph
from gwctl.profile.lines import Frame

_SPEEDSCOPE: Final = "https://www.speedscope.app/file-format-schema.json"
_BETWEEN: Final = re.compile(r"[;\s]+")


def rendered(form: str, stacks: Folded, title: str, text: str, *, memory: bool) -> bytes:
    """``stacks`` as ``svg``, ``speedscope`` or ``folded``; ``text`` is a sentence about them."""
    match form:
        case "speedscope":
            return speedscope(stacks, title, memory=memory)
        case "folded":
            return folded_text(stacks).encode("utf-8", "backslashreplace")
    return flame_graph(stacks, title, text, memory=memory).encode("utf-8", "backslashreplace")


def folded_text(stacks: Folded) -> str:
    """A line for each stack: its frames, root first, between semicolons; a space; microseconds or bytes."""
    lines = [
        f"{';'.join(_BETWEEN.sub(' ', label(frame)) for frame in stack)} {weight}"
        for stack, weight in stacks.items()
    ]
    return "\n".join(sorted(lines)) + "\n" if lines else ""


def speedscope(stacks: Folded, name: str, *, memory: bool) -> bytes:
    """What https://www.speedscope.app opens, as do the editors that know its files."""
    numbers: dict[Frame, int] = {}
    samples = [[numbers.setdefault(frame, len(numbers)) for frame in stack] for stack in stacks]
    weights = list(stacks.values())
    document: dict[str, Any] = {
        "$schema": _SPEEDSCOPE,
        "exporter": f"gwctl {__version__}",
        "name": name,
        "activeProfileIndex": 0,
        "shared": {"frames": [_frame(frame) for frame in numbers]},
        "profiles": [
            {
                "type": "sampled",
                "name": name,
                "unit": "bytes" if memory else "microseconds",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
    }
    return json_text.encode(document) + b"\n"


def _frame(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = {"name": frame.function or label(frame)}
    if frame.file:
        found["file"] = frame.file
    if frame.line:
        found["line"] = frame.line
    return found
