"""The lines of keys: the same paths as tomllib reads, on the lines on which they were written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from gwctl.config.positions import Path, locate
from tests.support.toml_documents import Document, documents


def paths(value: Any, prefix: Path = ()) -> Iterator[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, inner in items:
        yield (*prefix, part)
        yield from paths(inner, (*prefix, part))


@given(documents())
@settings(max_examples=40, deadline=None)
def test_any_document(document: Document) -> None:
    """Every key that tomllib reads is found, no other one is, and its line is where the writer put it."""
    found = locate(document.text)
    assert set(found) == set(paths(tomllib.loads(document.text)))
    assert found == document.lines


CASES = {
    "empty": ("", {}),
    "only comments": ("# [a]\n\n   # b = 1", {}),
    "no line at the end": ("a = 1", {("a",): 1}),
    "dotted keys share a table": (
        "a.b = 1\na.c = 2\n",
        {("a",): 1, ("a", "b"): 1, ("a", "c"): 2},
    ),
    "a table's own header wins": (
        "[a.b]\n[a]\nx = 1\n",
        {("a",): 2, ("a", "b"): 1, ("a", "x"): 3},
    ),
    "arrays of tables within arrays of tables": (
        "[[a]]\n[[a.b]]\n[[a.b]]\nx = 1\n[[a]]\n[a.c]\ny = 2\n[[a.b]]\n",
        {
            ("a",): 1,
            ("a", 0): 1,
            ("a", 0, "b"): 2,
            ("a", 0, "b", 0): 2,
            ("a", 0, "b", 1): 3,
            ("a", 0, "b", 1, "x"): 4,
            ("a", 1): 5,
            ("a", 1, "c"): 6,
            ("a", 1, "c", "y"): 7,
            ("a", 1, "b"): 8,
            ("a", 1, "b", 0): 8,
        },
    ),
    "strings that end in quotes": (
        'a = """\n"two"""""\nb = \'\'\'\nit\'s\'\'\'\'\'\nc = """\\\n  """\nd = 1\n',
        {("a",): 1, ("b",): 3, ("c",): 5, ("d",): 7},
    ),
    "a list over several lines": (
        'bind = [\n  "a", # ]\n\n  [1,\n   2],\n]\nx = 1\n',
        {
            ("bind",): 1,
            ("bind", 0): 2,
            ("bind", 1): 4,
            ("bind", 1, 0): 4,
            ("bind", 1, 1): 5,
            ("x",): 7,
        },
    ),
    "quoted names": (
        '["a b".\'c.d\']\n"\\u0065" = { "x" = 1, y.z = 2 }\r\n\r\nf = 1\n',
        {
            ("a b",): 1,
            ("a b", "c.d"): 1,
            ("a b", "c.d", "e"): 2,
            ("a b", "c.d", "e", "x"): 2,
            ("a b", "c.d", "e", "y"): 2,
            ("a b", "c.d", "e", "y", "z"): 2,
            ("a b", "c.d", "f"): 4,
        },
    ),
}


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES)
def test_a_case(text: str, lines: dict[Path, int]) -> None:
    tomllib.loads(text)
    assert locate(text) == lines
