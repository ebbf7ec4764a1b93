"""Folded text and speedscope's JSON, as the tools that read them expect."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import validate

from gwctl.profile.collected import Folded
from gwctl.profile.formats import folded_text, speedscope
from gwctl.profile.lines import Frame, Kind

REQUESTS = Frame("requests", kind=Kind.ROOT)
CART, TOTAL = Frame("cart", "shop/views.py", 31), Frame("total", "shop/pricing.py", 88)
STACKS: Folded = {(REQUESTS, CART): 30, (REQUESTS, CART, TOTAL): 70}
# Of https://www.speedscope.app/file-format-schema.json what concerns sampled profiles.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["$schema", "profiles", "shared"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "activeProfileIndex": {"type": "number"},
        "exporter": {"type": "string"},
        "name": {"type": "string"},
        "shared": {
            "type": "object",
            "required": ["frames"],
            "properties": {
                "frames": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "file": {"type": "string"},
                            "line": {"type": "number"},
                            "col": {"type": "number"},
                        },
                        "additionalProperties": False,
                    },
                }
            },
        },
        "profiles": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "name", "unit", "startValue", "endValue", "samples", "weights"],
                "properties": {
                    "type": {"const": "sampled"},
                    "name": {"type": "string"},
                    "unit": {
                        "enum": ["none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"]
                    },
                    "startValue": {"type": "number"},
                    "endValue": {"type": "number"},
                    "samples": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
                    "weights": {"type": "array", "items": {"type": "number"}},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}


def test_speedscope_has_its_file_as_its_schema_says() -> None:
    document = json.loads(speedscope(STACKS, "web.2", memory=False))
    validate(document, SCHEMA)
    (profile,) = document["profiles"]
    names = [each["name"] for each in document["shared"]["frames"]]
    assert [[names[number] for number in stack] for stack in profile["samples"]] == [
        ["requests", "cart"],
        ["requests", "cart", "total"],
    ]
    assert (profile["weights"], profile["endValue"], profile["unit"]) == ([30, 70], 100, "microseconds")
    assert document["shared"]["frames"][2] == {"name": "total", "file": "shop/pricing.py", "line": 88}


def test_of_the_memory_and_of_names_that_are_no_text() -> None:
    document = json.loads(speedscope({(Frame("", "caf\udce9.py", 3),): 9}, "web", memory=True))
    validate(document, SCHEMA)
    assert document["profiles"][0]["unit"] == "bytes"
    assert document["shared"]["frames"] == [{"name": "caf\\udce9.py:3", "file": "caf\\udce9.py", "line": 3}]


def test_folded_text_is_a_line_for_each_stack() -> None:
    assert folded_text(STACKS) == (
        "requests;cart (shop/views.py:31) 30\nrequests;cart (shop/views.py:31);total (shop/pricing.py:88) 70\n"
    )
    assert folded_text({}) == ""


def test_no_name_ends_a_frame_or_a_line() -> None:
    text = folded_text({(Frame("a;b\n9", "x y;\tz.py", 1),): 5})
    assert text == "a b 9 (x y z.py:1) 5\n"
