"""``gwctl config diff``: what a reload would change, as the running master would read it now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import click
import msgspec

from gwctl.cli.targeted import targeted, write_json
from gwctl.config import toml_writer
from gwctl.config.problems import count
from gwctl.control.client import ControlClient
from gwctl.control.difference import Change, Difference, Differences, Effect
from gwctl.control.protocol import Diff
from gwctl.errors import ControlError, ExitStatus
from gwctl.log.text_lines import escaped

ANSWER_TIMEOUT_S: Final = 30.0
"""It reads files, and certificates, as a reload does."""
_HEADINGS: Final = {
    Effect.WORKERS: "with the workers that a reload starts:",
    Effect.ADOPTION: "when the new generation is adopted:",
    Effect.RESTART: "not by a reload, only when the master is started anew:",
}
_NAME_MAX: Final = 40
_VALUES_MAX: Final = 44
_NOT_TRIED: Final = (
    "Not tried: whether applications can be imported, and addresses be bound.\n"
    "Not compared: code, and what is in env_file and certificates. A reload reads them anew."
)


@click.command(short_help="Say what a reload would change.")
@targeted
def diff(client: ControlClient, *, as_json: bool) -> None:
    """Say what a reload of a running master would change: its settings on disk against those in force.

    \b
    gwctl config diff                        of the only master
    gwctl config diff -c /srv/shop/gw.toml   of the one that was started with this file
    gwctl config diff && echo nothing new

    The master reads them, with the variables and flags that it was started with; nothing is changed. Values
    of env are not shown.

    The exit status is 0 without differences; 1 with some, or when no master can be asked; 2 when what is on
    disk is wrong: then all mistakes are told, as by gwctl check.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    document = client.call("diff", Diff(), timeout_s=ANSWER_TIMEOUT_S)
    found = understood(document)
    if as_json:
        write_json({"ok": not found.problems} | document)
    elif found.problems:
        click.echo("\n".join(map(escaped, found.problems)), err=True)
        click.echo(f"{count(len(found.problems))}; a reload would be refused, and changes nothing", err=True)
    else:
        click.echo(escaped(render(found)))
        for warning in found.warnings:
            click.echo(escaped(f"warning: {warning}"), err=True)
    if found.problems:
        raise SystemExit(int(ExitStatus.SETTINGS))
    if found.differences:
        raise SystemExit(int(ExitStatus.FAILED))


def understood(document: dict[str, Any]) -> Differences:
    """Raises ControlError: It is no such document."""
    try:
        return msgspec.convert(document, Differences)
    except msgspec.ValidationError as error:
        raise ControlError(f"the master's answer is not understood ({error}); try --json") from None


def render(found: Differences) -> str:
    """The text, with the differences by when they take effect."""
    what = found.config or "what flags and variables say"
    if not found.differences:
        return f"{what} says what generation {found.generation} of {found.name} runs with.\n{_NOT_TRIED}"
    lines = [f"{what} against generation {found.generation} of {found.name}"]
    for effect, heading in _HEADINGS.items():
        rows = [_row(each) for each in found.differences if each.effect is effect]
        if rows:
            lines += ["", heading, *_columns(rows)]
    number = len(found.differences)
    return "\n".join([*lines, "", f"{number} difference{'s' * (number > 1)}. {_NOT_TRIED}"])


def _row(each: Difference) -> tuple[str, str, str]:
    if each.masked:
        values = each.change.value
    elif each.change is Change.CHANGED:
        values = f"{_value(each.old)} -> {_value(each.new)}"
    else:
        values = f"{each.change}: {each.new or each.old}"
    source = each.new_source
    if source == "default" and each.old_source != source:
        source = f"default (was set by {each.old_source})"
    return each.name, values, source


def _value(value: Any) -> str:
    if isinstance(value, float):
        return toml_writer.number(value)
    return toml_writer.value(value) if value is not None else "nothing"


def _columns(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Each as wide as it needs; what is too long for a column pushes the rest of its line."""
    widths = [
        max((len(row[place]) for row in rows if len(row[place]) <= most), default=0)
        for place, most in ((0, _NAME_MAX), (1, _VALUES_MAX))
    ]
    for name, values, source in rows:
        yield f"  {name:<{widths[0]}}  {values:<{widths[1]}}  {source}".rstrip()
