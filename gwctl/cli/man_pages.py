r"""The manual pages, made from the help of the commands: ``make docs`` writes them to docs/man.

    python -m gwctl.cli.man_pages docs/man

A page for gwctl and one for each command, in the macros of man(7). They have no date and no version, so that
they change when the help does and not otherwise.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from gwctl.cli import cli
from gwctl.errors import ExitStatus

_NAME: Final = "gwctl"
_AS_IT_IS: Final = "\b"
"""Begins a paragraph that click does not wrap: examples."""
_MEANINGS: Final = {
    ExitStatus.OK: "Done.",
    ExitStatus.FAILED: "It failed, or was refused; the last line says why. Of status: a pool is not served.",
    ExitStatus.SETTINGS: "The settings or the command line are wrong.",
    ExitStatus.BOOT_FAILED: "A worker could not be made ready.",
    ExitStatus.APP_NOT_IMPORTED: "The application cannot be imported.",
    ExitStatus.INTERRUPTED: "Ended by Ctrl-C.",
}
_FILES: Final = {
    "gw.toml": "The settings, in the working directory unless --config names another file.",
    "/run/gwctl/NAME.sock": "The control socket of a master that root has started.",
}


def pages() -> dict[str, str]:
    """All of them, by the names of their files."""
    found = dict(_pages(cli, click.Context(cli, info_name=_NAME, **cli.context_settings)))
    return {f"{name}.1": _page(name, context, [*found]) for name, context in found.items()}


def write(folder: Path) -> None:
    """Write them, and remove those of commands that there are no more."""
    folder.mkdir(exist_ok=True)
    wanted = pages()
    for old in folder.glob("*.1"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, "utf-8")


def _pages(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Context]]:
    yield context.command_path.replace(" ", "-"), context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _pages(below, click.Context(below, info_name=name, parent=context))


def _page(name: str, context: click.Context, all_pages: list[str]) -> str:
    command = context.command
    short = command.get_short_help_str(limit=200).rstrip(".")
    lines = [
        f'.TH {_text(name.upper())} 1 "" "" "gwctl manual"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(short[:1].lower() + short[1:])}",
        ".SH SYNOPSIS",
        f".B {_text(context.command_path)}",
        _text(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_paragraphs(command.help or ""),
        *_listed("COMMANDS", _commands(command, context)),
        *_listed("OPTIONS", _options(command, context)),
    ]
    if name == _NAME:
        statuses = [(str(int(status)), meaning) for status, meaning in _MEANINGS.items()]
        lines += [*_listed("EXIT STATUS", statuses), *_listed("FILES", [*_FILES.items()])]
    others = [each for each in all_pages if _is_near(each, name)]
    lines.append(".SH SEE ALSO")
    lines += [f".BR {_text(each)} (1){',' if each != others[-1] else ''}" for each in others]
    return "\n".join(lines) + "\n"


def _is_near(other: str, name: str) -> bool:
    """A page that is named in this one: those above it and those below."""
    return other != name and (name.startswith(other) or other.startswith(f"{name}-"))


def _commands(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    if not isinstance(command, click.Group):
        return []
    names = command.list_commands(context)
    found = [(name, command.get_command(context, name)) for name in names]
    return [(name, each.get_short_help_str(limit=200)) for name, each in found if each is not None]


def _options(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    records = [each.get_help_record(context) for each in command.get_params(context)]
    return [each for each in records if each is not None]


def _listed(title: str, entries: list[tuple[str, str]]) -> Iterator[str]:
    if entries:
        yield f".SH {title}"
    for term, meaning in entries:
        yield from (".TP", f".B {_text(term)}", _text(meaning) or r"\&")


def _paragraphs(help_text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", help_text.strip())):
        if paragraph.lstrip(" ").startswith(_AS_IT_IS):
            examples = textwrap.dedent(paragraph.partition(_AS_IT_IS)[2].strip("\n"))
            yield from (".PP", ".nf", *map(_text, examples.split("\n")), ".fi")
        else:
            if number:
                yield ".PP"
            yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    """As roff has it: no line of it is a request, no backslash an escape, and hyphens can be copied."""
    plain = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{plain}" if plain.startswith((".", "'")) else plain


if __name__ == "__main__":
    write(Path(sys.argv[1]))
