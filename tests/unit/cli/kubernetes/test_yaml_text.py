"""The YAML that is written: any reader gets back what was meant, comments or not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gwctl.cli.kubernetes.yaml_text import Said, bare, documents

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | _TEXTS
_KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
"""A key of YAML that stands in a line has at most 1024 characters; those of Kubernetes have 316."""
_REASONS = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=300)


def _said(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.builds(Said, values, _REASONS)


_VALUES = st.recursive(
    _said(_SCALARS),
    lambda inner: _said(st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4)),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=4), max_size=3), st.booleans())
def test_what_was_written_is_read(values: list[dict[str, Any]], explain: bool) -> None:
    text = documents(values, explain=explain)
    assert list(yaml.safe_load_all(text)) == [bare(each) for each in values]
    assert text.isascii() or explain


AMBIGUOUS = [
    "no",
    "ON",
    "y",
    "null",
    "~",
    "",
    "1e3",
    "0x10",
    "1_000",
    "2026-01-01",
    "12:30",
    "-",
    "a: b",
    "a #b",
    ".5",
]
AMBIGUOUS += [
    "- a",
    "*a",
    "&a",
    "!a",
    "%a",
    "@a",
    "`a",
    "{a",
    "[a",
    "|",
    ">",
    "'a",
    " a",
    "a ",
    "a\n",
    "\t",
    "0.7",
    "TRUE",
]


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_could_be_something_else_is_quoted(text: str) -> None:
    assert documents([{"a": text}], explain=False).startswith('---\na: "')


def test_how_it_looks() -> None:
    value = {
        "name": "shop",
        "items": [Said({"a": Said(1, "One."), "b": []}, "First."), "two", [3, {}]],
        "map": Said({"on": True}, "Both."),
    }
    assert documents([value], explain=True) == (
        "---\nname: shop\nitems:\n  # First.\n  # One.\n  - a: 1\n    b: []\n  - two\n  - - 3\n    - {}\n"
        '# Both.\nmap:\n  "on": true\n'
    )
    assert "#" not in documents([value], explain=False)
