"""docs/http.md is made from the table, and is current."""

from __future__ import annotations

from tests.conformance.page import page
from tests.conformance.table import CASES
from tests.support.server import ROOT


def test_the_page_is_current() -> None:
    """`make docs` writes it."""
    assert (ROOT / "docs" / "http.md").read_text("utf-8") == page()


def test_every_case_has_its_row() -> None:
    rows = [
        line for line in page().splitlines() if line.startswith("| ") and line.endswith(tuple("0123456789 |"))
    ]
    assert len([row for row in rows if "``" in row]) == len(CASES)
    assert all(row.count(" | ") == 3 for row in rows if "``" in row)
