"""The page for operators names commands, options, settings and metrics that there are."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from gwctl.cli import cli
from gwctl.config import schema
from tests.tidy.checks import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
METRICS = (ROOT / "docs" / "metrics.md").read_text("utf-8")
COMMANDS = sorted(
    {found.strip() for found in re.findall(r"(?:`|\$ )(gwctl [a-z][^`|\n]*?)(?:`|\||  |\n)", PAGE)}
)
SETTINGS = sorted(
    {
        found
        for found in re.findall(r"`((?:[a-z]+\.)?[a-z]+_[a-z_]+)(?: = [^`]+)?`", PAGE)
        if "gwctl" not in found
    }
)
LEAVES = {".".join(path) for path in schema.pool_leaves()} | {
    f"{table}.{'.'.join(path)}" for table in schema.TABLES for path in schema.table_leaves(table)
}


def test_something_is_found() -> None:
    assert {"gwctl reload", "gwctl events --since 1h", "gwctl scale web +1"} <= set(COMMANDS)
    assert {"recycle.memory_soft_bytes", "queue_timeout_s", "master.keep_s"} <= set(SETTINGS)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_one(line: str) -> None:
    command: click.Command = cli
    words = shlex.split(line)[1:]
    context = click.Context(cli, info_name="gwctl")
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command, context = found, click.Context(found, parent=context, info_name=found.name)
    command.make_parser(context).parse_args(words)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_one(name: str) -> None:
    assert any(leaf == name or leaf.endswith(f".{name}") for leaf in LEAVES)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(gwctl_[a-z_]+)`", PAGE))))
def test_a_metric_is_one(name: str) -> None:
    assert f"`{name}`" in METRICS
