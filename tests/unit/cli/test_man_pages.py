"""The manual pages are those of the help, and nothing in them is a mistake to roff."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from gwctl.cli import COMMANDS, cli, man_pages
from tests.tidy.checks import ROOT

PAGES = man_pages.pages()
FOLDER = ROOT / "docs" / "man"


def test_they_are_current() -> None:
    """`make docs` writes them."""
    assert {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()} == PAGES


def test_each_command_has_one() -> None:
    assert {"gwctl.1", "gwctl-config-diff.1", *(f"gwctl-{name}.1" for name in COMMANDS)} <= PAGES.keys()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_all_that_the_help_says(name: str) -> None:
    shown = rendered(name) if shutil.which("groff") else PAGES[name].replace("\\-", "-").replace("\\e", "\\")
    command: click.Command | None = cli
    for part in name.removesuffix(".1").split("-")[1:] if name != "gwctl-log-level.1" else ["log-level"]:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), part)
    assert command is not None
    said = re.sub(r"\s+", " ", shown)
    for option in command.params:
        assert all(each in said for each in option.opts if each.startswith("-")), option
    for line in (command.help or "").replace("\b", "").splitlines():
        assert re.sub(r"\s+", " ", line.strip()) in said


@pytest.mark.parametrize("name", PAGES)
def test_roff_finds_nothing_wrong(name: str) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not here")
    run = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"],
        input=PAGES[name],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""


def rendered(name: str) -> str:
    """As it is read in a wide terminal, so that no line is broken or hyphenated."""
    wide = ["groff", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u", "-rLL=400n"]
    run = subprocess.run(wide, input=PAGES[name], capture_output=True, text=True, check=True)
    return run.stdout


def test_what_is_not_text_in_a_help_is_text_in_a_page() -> None:
    @click.command(help="a\\b\n\n\b\n.TH x\n'quoted'\n-x")
    def odd() -> None:
        """Say nothing."""

    lines = list(man_pages._paragraphs(odd.help or ""))
    assert lines == ["a\\eb", ".PP", ".nf", "\\&.TH x", "\\&'quoted'", "\\-x", ".fi"]


def test_pages_of_commands_that_are_gone_go(tmp_path: Path) -> None:
    (tmp_path / "gwctl-gone.1").write_text("")
    man_pages.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == PAGES.keys()
