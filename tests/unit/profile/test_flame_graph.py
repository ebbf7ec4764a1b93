"""The picture: well-formed whatever the names are, its boxes where they belong, and bounded."""

from __future__ import annotations

import random
import re
import tracemalloc
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from gwctl.profile import flame_graph as drawing
from gwctl.profile.collected import WAITS, Folded
from gwctl.profile.flame_graph import flame_graph
from gwctl.profile.lines import DEPTH_MAX, Frame, Kind

SVG = "{http://www.w3.org/2000/svg}"
REQUESTS = Frame("requests", kind=Kind.ROOT)
CART, TOTAL = Frame("cart", "shop/views.py", 31), Frame("total", "shop/pricing.py", 88)
STACKS: Folded = {
    (REQUESTS, CART): 1_000_000,
    (REQUESTS, CART, TOTAL): 2_000_000,
    (REQUESTS, CART, TOTAL, WAITS): 1_000_000,
}
HOSTILE = [
    "</title></svg><script>alert(1)</script>",
    "]]><script>alert(1)</script><![CDATA[",
    '<lambda> & "co" \'',
    "\x00\x1b[2J\x0b",
    "￾￿",
    "caf\udce9",
    "&#0;",
]


def parsed(stacks: Folded, *, title: str = "web.2, pid 4134", memory: bool = False) -> ET.Element:
    text = flame_graph(stacks, title, "998 samples", memory=memory)
    return ET.fromstring(text.encode("utf-8", "backslashreplace"))


def boxes(root: ET.Element) -> list[dict[str, Any]]:
    found = []
    for box in root.findall(f"./{SVG}g/{SVG}svg/{SVG}svg"):
        title = (box.findtext(f"{SVG}title") or "").split("\n")
        place = {name: float(box.attrib[name].rstrip("%")) for name in ("x", "y", "width")}
        found.append({"name": title[0], "about": title[1:], "class": box.attrib["class"], **place})
    return found


def test_each_frame_is_a_box_below_its_caller_as_wide_as_its_share() -> None:
    found = boxes(parsed(STACKS))
    assert [(each["name"], each["x"], each["width"]) for each in found] == [
        ("all", 0, 100),
        ("requests", 0, 100),
        ("cart (shop/views.py:31)", 0, 100),
        ("total (shop/pricing.py:88)", 0, 75),
        ("(waits)", 0, 25),
    ]
    assert [each["y"] for each in found] == [0, 19, 38, 57, 76]
    assert found[3]["about"] == ["75.0 %, 3 s", "of it 2 s in itself"]
    assert found[4]["class"] == "w"


def test_what_is_beside_each_other_does_not_overlap_the_widest_first() -> None:
    frames = [Frame(f"f{number}", "x.py", number) for number in range(10)]
    found = boxes(parsed({(frame,): weight for weight, frame in enumerate(frames, 1)}))[1:]
    assert [each["name"].split()[0] for each in found] == [f"f{number}" for number in range(9, -1, -1)]
    for one, other in pairwise(found):
        assert one["x"] + one["width"] == pytest.approx(other["x"], abs=1e-4)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_anything_but_text(name: str) -> None:
    root = parsed({(Frame(name, name, 1), Frame(name, kind=Kind.ROOT)): 5}, title=name)
    assert [each.tag for each in root.iter(f"{SVG}script")] == [f"{SVG}script"]
    found = boxes(root)
    assert len(found) == 3
    readable = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", name)
    assert found[2]["name"] == readable.encode("utf-8", "backslashreplace").decode().replace(
        "\\udce9", "\ufffd"
    )


def test_nothing_is_from_elsewhere() -> None:
    text = flame_graph(STACKS, "web", "", memory=False)
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
    }


def test_what_is_too_small_is_not_drawn_and_what_is_drawn_is_bounded() -> None:
    many = {(Frame(f"f{number}", "x.py", 1), Frame(f"g{number}", "x.py", 2)): 10 for number in range(9000)}
    many[(Frame("large", "x.py", 1),)] = 90_000
    assert [each["name"] for each in boxes(parsed(many))] == ["all", "large (x.py:1)"]
    even = {(Frame(f"f{number}", "x.py", 1),) * 8: 10 for number in range(1500)}
    assert 1500 < len(boxes(parsed(even))) <= drawing.BOXES_MAX


def test_of_the_memory_it_says_bytes() -> None:
    (whole, _) = boxes(parsed({(Frame("", "shop/cache.py", 3),): 3 << 20}, memory=True))
    assert whole["about"] == ["100.0 %, 3.0 MiB"]


def test_nothing_at_all_is_a_picture_too() -> None:
    assert [each["name"] for each in boxes(parsed({}))] == ["all"]


def test_a_tree_of_too_many_boxes_is_cut_where_it_weighs_least_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drawing, "NODES_MAX", 10)
    heavy = tuple(Frame(f"heavy{depth}") for depth in range(8))
    light = {(Frame(f"light{number}"), Frame("end")): 1_000 for number in range(5)}
    text = flame_graph(light | {heavy: 1_000_000}, "web.2", "998 samples", memory=False)
    assert "998 samples; 4 of 6 stacks, those that weigh least, are not drawn to their ends" in text
    names = [each["name"] for each in boxes(ET.fromstring(text))]
    assert names.count("heavy7") == 1
    assert "not drawn" not in flame_graph(STACKS, "web.2", "998 samples", memory=False)


def test_the_deepest_and_most_different_stacks_take_little_memory() -> None:
    """What a worker may tell at most: that is two million boxes, of which few can be seen."""
    frames = [Frame(f"f{number}", "a.py", number) for number in range(DEPTH_MAX * 50)]
    chance = random.Random(7)
    stacks = {tuple(chance.choices(frames, k=DEPTH_MAX)): 1 for _ in range(2_000)}
    tracemalloc.start()
    try:
        flame_graph(stacks, "web.2", "998 samples", memory=False)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 80_000_000
