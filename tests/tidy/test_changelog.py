"""CHANGELOG.md is written by several hands, and merged by keeping the lines of both."""

from __future__ import annotations

import re
from collections import Counter

from tests.tidy.checks import ROOT

SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
_TEXT = (ROOT / "CHANGELOG.md").read_text("utf-8")
_RELEASES = re.split(r"^## ", _TEXT, flags=re.MULTILINE)[1:]


def test_each_release_has_each_section_once_and_in_order() -> None:
    for release in _RELEASES:
        found = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert found == [name for name in SECTIONS if name in found], release.splitlines()[0]


def test_nothing_is_said_twice() -> None:
    """A merge may bring an entry back that was moved; that of another release may be the same."""
    for release in _RELEASES:
        entries = re.split(r"^- |^### .+$", release, flags=re.MULTILINE)[1:]
        firsts = Counter(" ".join(entry.split())[:60] for entry in entries if entry.strip())
        assert [first for first, count in firsts.items() if count > 1] == []


def test_lines_belong_to_an_entry() -> None:
    body = _TEXT.split("## [Unreleased]", 1)[1]
    stray = [line for line in body.splitlines() if line and not re.match(r"- |  \S|##", line)]
    assert stray == []
