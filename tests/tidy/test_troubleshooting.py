"""The page from log lines to what to do quotes what the code says: a line that was reworded is noticed."""

from __future__ import annotations

import re

import pytest

from tests.tidy.checks import ROOT

_PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
_SOURCES = "\n".join(
    path.read_text("utf-8")
    for folder in ("supervisor", "workers", "gwctl")
    for path in sorted((ROOT / folder).rglob("*.py"))
)
_JOINED = re.sub(r'"\s*\n\s*f?"', "", _SOURCES)
"""With literals that stand one after the other as the one string that they are."""


def quoted() -> list[str]:
    """What the page quotes in its headings, in pieces without what differs from line to line."""
    titles = re.findall(r"^\*\*(.+?)\.?\*\*", _PAGE, re.MULTILINE)
    phrases = [phrase for title in titles for phrase in re.findall(r"`([^`]+)`", title)]
    pieces = [
        piece.strip(" ,:.()") for phrase in phrases for piece in re.split(r"\.\.\.|\bN\b|\d+|: |; ", phrase)
    ]
    return sorted({piece for piece in pieces if len(piece) > 3})


@pytest.mark.parametrize("piece", quoted())
def test_what_the_page_quotes_the_code_says(piece: str) -> None:
    assert piece in _JOINED
