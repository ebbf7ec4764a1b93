"""The commands that docs/deploy-*.md give, for the tests that run them.

A test says which one it runs, by `from_page`; tests/tidy/test_pages.py finds those that none does. So neither can change without the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from tests.support.server import ROOT

_COMMENT: Final = re.compile(r"\s+#\s.*$")
_INDENT: Final = "    "


def from_page(page: str, command: str) -> str:
    """``command``, which stands so in a block of code of docs/``page``. AssertionError if it does not."""
    assert command in [line for block in blocks(page) for line in block], f"not in docs/{page}: {command}"
    return command


@cache
def blocks(page: str) -> list[list[str]]:
    """The blocks of code of a page, as lines without what is a comment at their end."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    return list(_blocks(text.splitlines()))


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    block: list[str] = []
    before = ""
    for line in [*lines, ""]:
        if line.startswith(_INDENT) and (block or not before):
            block.append(_COMMENT.sub("", line.removeprefix(_INDENT)))
        elif block and line:
            yield block
            block = []
        elif block:
            block.append("")
        before = line
    if any(block):
        yield block
