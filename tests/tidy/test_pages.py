"""Every command in docs/deploy-*.md is run by a test."""

from __future__ import annotations

import ast
import re
from typing import Final

from tests.support.pages import blocks
from tests.support.server import ROOT

PAGES: Final = [each.name for each in sorted((ROOT / "docs").glob("deploy-*.md"))]
NO_COMMANDS: Final = {
    "HEALTHCHECK CMD [": "of a Dockerfile: the images in tests/containers have it",
    "[Service]": "of a unit: compared by tests/unit/cli/unit",
    "[master]": "of gw.toml: tests/unit/cli/kubernetes/test_page.py has it",
    "rules:": "of prometheus-adapter, which cannot be had here",
    "web 8/8 ready g5,": "what systemd is told: tests/unit/supervisor/service",
}
"""Blocks of code that are something else, by how they begin."""
_OF_THE_LOG: Final = re.compile(r"\d\d:\d\d:\d\d\.\d\d\d ")
NOT_RUN: Final[dict[tuple[str, str], str]] = {}
"""Commands that no test runs, by page and line, and why."""


def test_a_command_is_run_by_a_test() -> None:
    run = set(_run())
    wanted = {(page, line) for page in PAGES for line in _commands(page)}
    assert len(wanted) > 10
    assert sorted(wanted - run - NOT_RUN.keys()) == []
    assert sorted(NOT_RUN.keys() - wanted) == [], "no longer there"
    assert sorted(NOT_RUN.keys() & run) == [], "run after all"


def test_what_is_no_command_is_there() -> None:
    begun = [block[0] for page in PAGES for block in blocks(page)]
    assert [start for start in NO_COMMANDS if not any(line.startswith(start) for line in begun)] == []


def _commands(page: str) -> list[str]:
    shell = [
        block
        for block in blocks(page)
        if not block[0].startswith(tuple(NO_COMMANDS)) and not _OF_THE_LOG.match(block[0])
    ]
    return [line for block in shell for line in block if line]


def _run() -> list[tuple[str, str]]:
    """Page and command of all calls of `from_page`."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text("utf-8")
        if "from_page(" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Call(
                    func=ast.Name("from_page"), args=[ast.Constant(str(page)), ast.Constant(str(line))]
                ):
                    found.append((page, line))
    return found
