"""A profile as a picture: one SVG file that any browser opens, with nothing from elsewhere.

Each box is a frame, as wide as its share; what it called is below it, the widest first. A script in the file
zooms, searches and tells more; without it the picture and its tooltips are there all the same. Places and
widths are percentages, so the picture is as wide as the window; each box is an svg element of its own, which
cuts the text that it has no room for.

All names come from the application: they are text in the file, and never anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final
from zlib import crc32

from gwctl.profile.collected import IDLE, WAITS, Folded, label
from gwctl.profile.lines import Frame, Kind
from gwctl.wording import memory as memory_of
from gwctl.wording import seconds

ROW: Final = 19
BOXES_MAX: Final = 6000
NODES_MAX: Final = 100_000
"""Of the tree, of which at most `BOXES_MAX` are drawn: some 50 MB."""
SHARE_MIN: Final = 0.0005
"""Of all; narrower boxes are not drawn."""
_HEAD: Final = 124
_HEAD_NARROW: Final = 206
_TEXT_SHARE: Final = 0.025
"""Without the script, narrower boxes show no text."""
_SHADES: Final = 3
_CLASSES: Final = {Kind.APPLICATION: "a", Kind.LIBRARY: "l", Kind.PYTHON: "p", Kind.GWCTL: "g"}
_KEYS: Final = (
    ("application", "var(--application0)"),
    ("libraries", "var(--library0)"),
    ("Python", "var(--python0)"),
    ("gwctl", "var(--gwctl0)"),
)
_WAITING: Final = "repeating-linear-gradient(135deg, var(--waits) 0 3px, var(--stripe) 3px 5px)"
_UNFIT: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no place for."""


@dataclass(slots=True)
class _Box:
    frame: Frame
    weight: int = 0
    own: int = 0
    inside: dict[Frame, _Box] = field(default_factory=dict)


def flame_graph(stacks: Folded, title: str, summary: str, *, memory: bool) -> str:
    """Draw ``stacks``.

    Args:
        stacks: With microseconds, or bytes.
        title: What was profiled.
        summary: A sentence about it.
        memory: The weights are bytes.
    """
    whole, cut = _tree(stacks)
    if cut:
        summary += f"; {cut:,} of {len(stacks):,} stacks, those that weigh least, are not drawn to their ends"
    drawn, rows = _boxes(whole, memory=memory)
    height = rows * ROW + 16
    keys = "".join(f'<span><i style="background:{colour}"/>{name}</span>' for name, colour in _KEYS)
    if not memory:
        keys += f'<span><i style="background:{_WAITING}"/>waiting</span>'
    style = (
        f"{_part('css')}#flame {{ height: {_HEAD + height}px; }} #top {{ height: {_HEAD}px; }}\n"
        f"@media (max-width: 700px) {{ #flame {{ height: {_HEAD_NARROW + height}px; }}"
        f" #top {{ height: {_HEAD_NARROW}px; }}"
        f" #frames {{ transform: translateY({_HEAD_NARROW - _HEAD}px); }} }}\n"
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" id="flame" width="100%" height="{_HEAD + height}">\n'
        f"<title>{_text(title)}</title>\n<style>{style}</style>\n"
        '<defs><pattern id="waiting" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="6" height="6" style="fill:var(--waits)"/>'
        '<rect width="2" height="6" style="fill:var(--stripe)"/></pattern></defs>\n'
        '<switch><foreignObject id="top" width="100%" height="124">'
        '<div xmlns="http://www.w3.org/1999/xhtml" id="head">'
        f"<h1>{_text(title)}</h1><p>{_text(summary)}</p>"
        f'<div class="keys">{keys}<form id="find"><input type="search" placeholder="Search ( / )" '
        'aria-label="Search the names"/><output></output><button type="button" id="whole" hidden="">'
        f'Show all</button></form></div><div id="told"></div></div></foreignObject>'
        f'<text id="plain" x="1%" y="30">{_text(title)}: {_text(summary)}</text></switch>\n'
        f'<g id="frames"><svg x="1%" y="{_HEAD}" width="98%" height="{height}">\n{drawn}</svg></g>\n'
        f"<script><![CDATA[{script()}]]></script>\n</svg>\n"
    )


def script() -> str:
    """The script of every picture: by the hash of it, a server's policy allows it and no other."""
    return _part("js").replace("ROW_HEIGHT", str(ROW))


@cache
def _part(kind: str) -> str:
    return files("gwctl.profile").joinpath(f"flame_graph.{kind}").read_text("utf-8")


def _tree(stacks: Folded) -> tuple[_Box, int]:
    """The boxes, and how many stacks are not in them to their ends: of too many the lightest."""
    whole = _Box(Frame("all", kind=Kind.ROOT))
    left, cut = NODES_MAX, 0
    for stack, weight in sorted(stacks.items(), key=lambda each: -each[1]):
        box = whole
        box.weight += weight
        for frame in stack:
            inside = box.inside.get(frame)
            if inside is None:
                if not left:
                    cut += 1
                    break
                left -= 1
                inside = box.inside[frame] = _Box(frame)
            box = inside
            box.weight += weight
        box.own += weight
    return whole, cut


def _boxes(whole: _Box, *, memory: bool) -> tuple[str, int]:
    """The boxes as elements, row by row, each from the left; and the number of rows."""
    total = max(1, whole.weight)
    floor = SHARE_MIN * total
    row = [(0, whole)]
    drawn: list[str] = []
    rows = 0
    while row:
        drawn += [_element(box, start, rows, total, memory=memory) for start, box in row]
        below = [each for start, box in row for each in _inside(start, box) if each[1].weight >= floor]
        while len(drawn) + len(below) > BOXES_MAX and below:
            floor *= 2
            below = [each for each in below if each[1].weight >= floor]
        row = below
        rows += 1
    return "\n".join(drawn) + "\n", rows


def _inside(start: int, box: _Box) -> Iterator[tuple[int, _Box]]:
    """What is below ``box``, the widest first; what it waited for comes last."""
    order = sorted(box.inside.values(), key=lambda each: (each.frame.kind is Kind.NOTE, -each.weight))
    for each in order:
        yield start, each
        start += each.weight


def _element(box: _Box, start: int, row: int, total: int, *, memory: bool) -> str:
    name, share = label(box.frame), box.weight / total
    about = f"{share:.1%}".replace("%", " %") + f", {_amount(box.weight, memory=memory)}"
    if 0 < box.own < box.weight:
        about += f"\nof it {_amount(box.own, memory=memory)} in itself"
    classes = _class(box.frame) + ("" if share >= _TEXT_SHARE else " n")
    return (
        f'<svg class="{classes.strip()}" x="{100 * start / total:.5f}%" y="{row * ROW}" '
        f'width="{100 * share:.5f}%" height="{ROW}"><title>{_text(name)}\n{about}</title>'
        f'<rect width="100%" height="100%"/><text x="4" y="13.5">{_text(name)}</text></svg>'
    )


def _class(frame: Frame) -> str:
    if frame in {WAITS, IDLE}:
        return "w"
    kind = _CLASSES.get(frame.kind)
    if kind is None:
        return ""
    return f"{kind}{crc32(label(frame).encode('utf-8', 'replace')) % _SHADES}"


def _amount(weight: int, *, memory: bool) -> str:
    return memory_of(weight) if memory else seconds(weight / 1e6)


def _text(text: str) -> str:
    return escape(_UNFIT.sub("\ufffd", text))
