"""docs/security.md: each line of its tables names a test that tries it, and that test exists."""

from __future__ import annotations

import re

import pytest

from tests.tidy.checks import ROOT

_ROWS = [
    line
    for line in (ROOT / "docs" / "security.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| what |")
]


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[2:60])
def test_each_line_is_tried(row: str) -> None:
    references = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
    assert references, "no test"
    for path, name in references:
        source = (ROOT / path).read_text("utf-8")
        assert re.search(rf"^(async )?def {name or 'test_'}", source, re.MULTILINE), f"{path} has no {name}"


def test_the_page_has_lines() -> None:
    assert len(_ROWS) > 30
